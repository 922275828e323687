"""Which stages a search goes through, what they need to have retrieved, and running them."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial

import msgspec

from query_api.query.request import Query
from query_api.ranking import merchandising, stock
from query_api.ranking.clicks_seen import ClicksSeen
from query_api.ranking.diversity import diversify
from query_api.ranking.features import features
from query_api.ranking.learned import Model, rescore
from query_api.ranking.linear import linear
from query_api.ranking.options import RankOptions
from query_api.ranking.ranked import Ranked
from query_api.ranking.rule_store import RuleBook
from query_api.ranking.rules import ActiveRule, RuleSet, active, pins
from query_api.ranking.sessions import SessionProfiles
from query_api.ranking.settings import RankSettings
from query_api.ranking.stages import Asked, Outcome, Picture, Pool, Stage, run_stages
from query_api.ranking.verifier import VERIFIED_MAX, Verifier
from schemas.embeddings import Vector
from schemas.filters import And, AnyOf, Filter
from schemas.metrics import Metrics
from schemas.shard import ShardHit

_IN_STOCK = AnyOf("in_stock", (True,))
_SUBSTITUTES = 50
"""Candidates beyond k that rules and stock may put in the place of others, whatever else is left out."""
_LINEAR = Stage("linear", 0, linear, is_droppable=False)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How a search will be ranked.

    Attributes:
        retrieved: candidates to ask the shards for.
        at_least: so many stay where candidates are left out: the results, and what rules and stock, which are law, need
            to have something to put in the place of what they move down.
        with_vectors: whether they have to come with their vectors.
        filter: what passes: the caller's filter, and in stock where that is the rule.
        pins: product → (position, rule); fetched by that filter, if they are not retrieved anyway.
        is_personal: the session's clicks count.
        may_verify: pictures may be compared.
        collapse: of products with one duplicate group the best is shown.
    """

    retrieved: int
    at_least: int
    with_vectors: bool = False
    filter: Filter | None = None
    rule_set: RuleSet
    rules: tuple[ActiveRule, ...] = ()
    pins: dict[str, tuple[int, str]] = {}
    is_personal: bool = False
    may_verify: bool = False
    collapse: bool = False

    @property
    def needs_more(self) -> bool:
        """Whether something has to be fetched at the same time as the candidates."""
        return self.is_personal or self.may_verify


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranker:
    """Orders candidates; one per process."""

    settings: RankSettings
    metrics: Metrics
    rules: RuleBook = field(default_factory=RuleBook)
    profiles: SessionProfiles = field(default_factory=SessionProfiles)
    seen: ClicksSeen = field(default_factory=ClicksSeen)
    model: Model | None = None
    verifier: Verifier | None = None

    def plan(self, tenant: str, query: Query, now_us: int) -> Plan:
        """How to rank a search; without anything to do beyond similarity, k candidates will do."""
        options, rule_set = query.ranking, self.rules.of(tenant)
        rules: tuple[ActiveRule, ...] = ()
        if rule_set.rules:
            rules = active(rule_set.rules, now_us=now_us, text=query.text, modality=query.modality)
        is_personal = (
            options.personalise
            and options.weights.personal > 0
            and query.session is not None
            and self.profiles.knows(tenant, query.session)
        )
        may_verify = self._may_verify(options)
        law_moves = self.settings.out_of_stock == "last" or (
            bool(rules) and any(rule.rule.action != "pin" for rule in rules)
        )
        reorders = (
            law_moves
            or is_personal
            or self.model is not None
            or options.diversity > 0
            or options.weights.fresh > 0
            or options.weights.agreement > 0
            or (options.weights.attributes > 0 and (options.prefer is not None or bool(query.text)))
        )
        least = max(query.k, VERIFIED_MAX) if may_verify else query.k
        return Plan(
            retrieved=max(query.k, self.settings.retrieved) if reorders else least,
            at_least=query.k + _SUBSTITUTES if law_moves else query.k,
            with_vectors=is_personal or options.diversity > 0,
            filter=query.filter if self.settings.out_of_stock != "hidden" else _in_stock(query.filter),
            rule_set=rule_set,
            rules=rules,
            pins={name: place for name, place in pins(rules).items() if name != query.product_id} if rules else {},
            is_personal=is_personal,
            may_verify=may_verify,
            collapse=query.collapse or options.collapse,
        )

    async def rank(
        self,
        plan: Plan,
        hits: Sequence[ShardHit],
        asked: Asked,
        *,
        left_ms: Callable[[], float],
        skip: Collection[str] = (),
    ) -> Outcome:
        """All candidates in order.

        Args:
            hits: as merged: by similarity descending, then product_id, or newest first; pins that were fetched last.
            left_ms: how much of the search's time is left.
            skip: names of stages to leave out; rules and stock are law.
        """
        pool = [Ranked(hit) for hit in hits]
        stages = self._stages(plan, asked, pool)
        if len(stages) == 1:  # most searches: nothing to leave out, and it takes what ranking takes
            return Outcome(linear(pool, asked))
        return await run_stages(stages, pool, asked, left_ms=left_ms, metrics=self.metrics, skip=skip)

    def features_of(self, shown: Sequence[Ranked], asked: Asked, best: float) -> list[list[float]]:
        """What is logged of the results shown: what a model is, or would be, given. Empty when nobody wants it."""
        if not (self.settings.log_features or self.model is not None):
            return []
        rows: list[list[float]] = features(shown, asked, self.seen, best).tolist()
        self.seen.shown(asked.tenant, [each.hit.product_id for each in shown])
        return rows

    def _stages(self, plan: Plan, asked: Asked, pool: Pool) -> list[Stage]:
        options = asked.options
        weighing = [rule for rule in plan.rules if rule.rule.action != "pin"] if plan.rules else []
        best = pool[0].hit.similarity if pool else 0.0  # the most similar: those retrieved come first, in that order
        stages = [_LINEAR]
        if self.model is not None and asked.vector is not None and options.mode != "exact":
            stages.append(Stage("learned", 10, partial(self._learned, best=best)))
        if self.verifier is not None and self._verifies(asked, best):
            stages.append(Stage("geometry", 200, self._geometry))
        if weighing:
            stages.append(Stage("rules", 0, lambda pool, _: merchandising.weigh(pool, weighing), is_droppable=False))
        if options.diversity > 0:
            stages.append(Stage("diversity", 10, diversify))
        if self.settings.out_of_stock == "last":
            stages.append(Stage("stock", 0, stock.demote, is_droppable=False))
        if plan.pins:
            pinned = partial(_pinned, plan.pins)
            stages.append(Stage("pins", 0, pinned, is_droppable=False))
        if plan.collapse:
            stages.append(Stage("collapse", 0, merchandising.collapse, is_droppable=False))
        return stages

    def _learned(self, pool: Pool, asked: Asked, best: float) -> Pool:
        assert self.model is not None
        rows = features(pool, asked, self.seen, best)
        return rescore(pool, rows, self.model, expected_value=self.settings.expected_value)

    async def _geometry(self, pool: Pool, asked: Asked) -> Pool:
        assert self.verifier is not None
        return await self.verifier.verify(pool, asked)

    def _may_verify(self, options: RankOptions) -> bool:
        return self.verifier is not None and (options.verify is True or self.settings.verify_margin > 0)

    def _verifies(self, asked: Asked, best: float) -> bool:
        """On request; or because it is hardly clear whether there is a match at all."""
        if asked.options.verify is not None:
            return asked.options.verify
        margin = self.settings.verify_margin
        return asked.picture is not None and asked.threshold is not None and abs(best - asked.threshold) < margin


def asked_of(
    query: Query,
    *,
    tenant: str,
    now_us: int,
    settings: RankSettings,
    vector: Vector | None,
    profile: Vector | None,
    threshold: float | None,
    reference: bytes | None = None,
) -> Asked:
    """What stages may look at. ``reference``: content hash of the product that was asked about."""
    raw, crop = query.image, query.crop
    has_picture = raw is not None or reference is not None
    return Asked(
        tenant=tenant,
        modality=query.modality,
        k=query.k,
        now_us=now_us,
        settings=settings,
        options=query.ranking,
        vector=vector,
        text=query.text,
        profile=profile,
        picture=Picture(raw=raw, crop=crop, content_hash=reference) if has_picture else None,
        threshold=threshold,
    )


def _in_stock(asked: Filter | None) -> Filter:
    return _IN_STOCK if asked is None else And((asked, _IN_STOCK))


def _pinned(places: dict[str, tuple[int, str]], pool: Pool, asked: Asked) -> Pool:
    return merchandising.pin(pool, places, asked)
