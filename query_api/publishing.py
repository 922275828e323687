"""From JSON to catalogue events, item by item: what is good goes out, what is not is told. Pure."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from schemas.answers import ItemProblem, PublishAnswer, PublishedItem
from schemas.errors import FreshlensError, ImageRefused
from schemas.events import Picture, ProductAdded
from schemas.product_lines import product_added
from schemas.progress import Position, ReadToken, token_of
from schemas.tenants import TenantDeclaration
from schemas.versions import resolve

_WEB = ("http://", "https://")


def event_of(line: Any, declaration: TenantDeclaration, *, now_us: int, with_stored: bool = True) -> ProductAdded:
    """The event that one JSON product stands for; ``with_stored`` as for :func:`locate`.

    Raises:
        InvalidRecord: a rule is broken; told now rather than found among dead letters later.
    """
    volatile = frozenset(declaration.volatile)
    located = partial(locate, with_stored=with_stored)
    event = product_added(line, tenant=declaration.tenant, volatile=volatile, locate=located)
    check_version(event.version, declaration, now_us=now_us)
    return event


def check_version(version: int | None, declaration: TenantDeclaration, *, now_us: int) -> None:
    """Do nothing if the worker will accept the version; raises VersionMissing or VersionOutOfRange."""
    resolve(declaration.versions, version, appended_at_ms=now_us // 1000, offset=0)


def locate(uri: str, *, with_stored: bool = True) -> Picture:
    """The picture at a URI that callers over HTTP may name; files of this machine are none of theirs.

    Args:
        with_stored: whether originals in our store may be named. They are kept by content alone, so that whoever
            learnt the hash of another tenant's picture would see it as a product of their own.
    """
    if not uri.startswith((*_WEB, "store://") if with_stored else _WEB):
        raise ImageRefused(f"{uri[:200]!r}: a picture is an http(s):// address or inline base64 here")
    return Picture(uri=uri)


def accepted(index: int, product_id: str, position: Position) -> PublishedItem:
    """What is said of an item that Kafka has."""
    token = ReadToken((position,)).encode()
    return PublishedItem(index, "accepted", product_id=product_id, read_token=token)


def rejected(index: int, line: Any, error: FreshlensError) -> PublishedItem:
    """What is said of an item that was refused, or that Kafka did not take."""
    named = line.get("product_id") if isinstance(line, dict) else None
    problem = ItemProblem(error.code, error.message)
    return PublishedItem(index, "rejected", product_id=named if isinstance(named, str) else None, problem=problem)


def summary(items: Sequence[PublishedItem], positions: Sequence[Position]) -> PublishAnswer:
    """The answer over all items, in the order given."""
    return PublishAnswer(
        accepted=len(positions),
        rejected=len(items) - len(positions),
        read_token=token_of(positions).encode(),
        items=sorted(items, key=lambda item: item.index),
    )
