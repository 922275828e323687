"""Business rules: what a merchant wants at the top, higher or lower, for which searches and until when. Pure data.

Rules only move what a search may show. Nothing here can bring back what is deleted, filtered out or another tenant's:
pins are fetched by the search's own filter (see :mod:`query_api.ranking.ranker`).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Annotated, Any, Literal

import msgspec

from schemas.errors import FreshlensError, InvalidQuery
from schemas.filters import Filter, parse_filter
from schemas.identity import product_key

RULES_MAX = 50
PRODUCTS_MAX = 100
PINS_MAX = 20
"""Products pinned in one answer."""
_BY = {"boost": 0.25, "bury": 1.1, "pin": 0.0}


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One rule.

    Attributes:
        name: shown in explain.
        action: ``pin`` puts products at fixed positions; ``boost`` raises and ``bury`` lowers.
        products: what it is about, by id; a pin puts them at ``position`` and the following ones.
        where: what it is about, as a filter; not for pins.
        position: of a pin's first product, from 1.
        by: as a share of the distance between the best and the worst candidate; 0.25 for a boost, 1.1 for a bury,
            which is behind all that no rule touches.
        starts: from when it counts (ISO 8601 with a zone); None: at once.
        ends: until when; None: for good.
        words: only searches whose text has one of these words; none: every search.
        modalities: only searches of these kinds (image, text, image+text, product, vector, filter); none: all.
    """

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    action: Literal["pin", "boost", "bury"]
    products: Annotated[tuple[str, ...], msgspec.Meta(max_length=PRODUCTS_MAX)] = ()
    where: dict[str, Any] | None = None
    position: Annotated[int, msgspec.Meta(ge=1, le=PINS_MAX)] = 1
    by: Annotated[float, msgspec.Meta(gt=0, le=10)] | None = None
    starts: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    ends: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    words: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ()


class RuleFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an operator writes: ``{"rules": [...]}``."""

    rules: Annotated[tuple[Rule, ...], msgspec.Meta(max_length=RULES_MAX)]


class RuleSet(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a tenant's rules as it rests in the store; 0 before the first."""

    tenant: str
    version: int = 0
    rules: tuple[Rule, ...] = ()
    set_at_us: int = 0
    set_by: str = ""
    restores: int | None = None
    """The version that a rollback brought back."""


@dataclass(frozen=True)
class ActiveRule:
    """A rule that counts for a search."""

    rule: Rule

    @cached_property
    def products(self) -> frozenset[str]:
        return frozenset(self.rule.products)

    @cached_property
    def clause(self) -> Filter | None:
        return None if self.rule.where is None else parse_filter(self.rule.where)

    @property
    def by(self) -> float:
        return _BY[self.rule.action] if self.rule.by is None else self.rule.by


def parse_rules(raw: bytes) -> tuple[Rule, ...]:
    """The rules of a file.

    Raises:
        InvalidQuery: no JSON, an unknown key, or a rule that cannot be meant; the message names it.
    """
    try:
        rules = msgspec.json.decode(raw, type=RuleFile).rules
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidQuery(f"the rules are not what they should be: {error}") from None
    check_rules(rules)
    return rules


def check_rules(rules: tuple[Rule, ...]) -> None:
    """Do nothing if every rule can be meant; raises InvalidQuery, naming the rule."""
    for rule in rules:
        try:
            _check(rule)
        except FreshlensError as error:
            raise InvalidQuery(f"rule {rule.name!r}: {error.message}") from None
    if len({rule.name for rule in rules}) < len(rules):
        raise InvalidQuery("every rule has a name of its own: explain tells them apart by it")


def active(rules: Iterable[Rule], *, now_us: int, text: str | None, modality: str) -> tuple[ActiveRule, ...]:
    """The rules that count for a search at a moment, in their order."""
    words = set((text or "").casefold().split())
    return tuple(
        ActiveRule(rule)
        for rule in rules
        if _is_within(rule, now_us)
        and (not rule.words or words & {word.casefold() for word in rule.words})
        and (not rule.modalities or modality in rule.modalities)
    )


def pins(rules: Iterable[ActiveRule]) -> dict[str, tuple[int, str]]:
    """Product → (position, name of the rule), of at most PINS_MAX; the first rule that names a product decides."""
    found: dict[str, tuple[int, str]] = {}
    for each in rules:
        if each.rule.action == "pin":
            for place, product_id in enumerate(each.rule.products, each.rule.position):
                found.setdefault(product_id, (place, each.rule.name))
    return dict(list(found.items())[:PINS_MAX])


def _check(rule: Rule) -> None:
    if rule.action == "pin" and (not rule.products or rule.where is not None):
        raise InvalidQuery("a pin names products, and has no where")
    if rule.action != "pin" and not rule.products and rule.where is None:
        raise InvalidQuery("it is about no product: give it products or where")
    if rule.action == "pin" and rule.by is not None:
        raise InvalidQuery("a pin has a position, and no by")
    if rule.where is not None:
        parse_filter(rule.where)
    if rule.starts is not None and rule.ends is not None and rule.starts >= rule.ends:
        raise InvalidQuery("it ends before it starts")
    for product_id in rule.products:
        product_key("any", product_id)


def _is_within(rule: Rule, now_us: int) -> bool:
    starts = rule.starts is None or rule.starts.timestamp() * 1e6 <= now_us
    return starts and (rule.ends is None or now_us < rule.ends.timestamp() * 1e6)
