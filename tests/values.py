"""Hypothesis strategies for values of our types, and for ranks that collide often."""

import types
import typing
from typing import Any, Literal, get_args, get_origin

import msgspec
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from schemas import events, feedback, framing, index_log, node_status, progress
from schemas.join import Rank, Ranks

TOPIC_TYPES: dict[str, type[msgspec.Struct]] = {
    "product-added": events.ProductAdded,
    "product-deleted": events.ProductDeleted,
    "product-retry": events.ProductRetry,
    "dead-letters": events.DeadLetter,
    "index-log": index_log.IndexLogRecord,
    "index-progress": progress.ProgressFact,
    "node-status": node_status.NodeStatus,
    "searches": feedback.Search,
    "clicks": feedback.Click,
    "search-quality": feedback.SearchQuality,
    "training-pairs": feedback.TrainingPair,
}
"""The frozen type of each topic's values."""

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_INT32_FIELDS = {"partition", "position", "k", "attempts", "shard", "replica"}
_PLAIN: dict[Any, SearchStrategy[Any]] = {
    bool: st.booleans(),
    int: st.integers(-(2**63), 2**63 - 1),
    float: st.floats(allow_nan=False),
    str: TEXT,
    bytes: st.binary(max_size=20),
    type(None): st.none(),
}


def values_of(kind: Any, field: str = "") -> SearchStrategy[Any]:
    """Any value that the annotation allows and the wire carries (32-bit numbers where the schema says so)."""
    if field in _INT32_FIELDS and kind is int:
        return st.integers(-(2**31), 2**31 - 1)
    if kind in _PLAIN:
        return _PLAIN[kind]
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin in (typing.Union, types.UnionType):
        return st.one_of([values_of(argument, field) for argument in arguments])
    if origin is tuple:
        width = 32 if field == "values" else 64  # a given vector travels as 32-bit floats
        items = st.floats(allow_nan=False, width=width) if arguments[0] is float else values_of(arguments[0])
        return st.lists(items, max_size=3).map(tuple)
    if origin is dict:
        return st.dictionaries(TEXT, values_of(arguments[1]), max_size=3)
    assert issubclass(kind, msgspec.Struct), kind
    hints = typing.get_type_hints(kind)
    return st.builds(kind, **{name: values_of(hints[name], name) for name in kind.__struct_fields__})


def topic_values(name: str) -> SearchStrategy[msgspec.Struct]:
    """Values of one topic."""
    assert name in framing.CODECS, name
    return values_of(TOPIC_TYPES[name])


ranks = st.builds(
    Rank,
    version=st.integers(0, 4),
    sequence=st.integers(0, 1),
    revision=st.integers(0, 2),
    digest=st.sampled_from([b"", b"\x01", b"\x02"]),
)
"""Few enough values that equal versions, revisions and digests meet all the time."""

records = st.builds(Ranks, *[st.one_of(st.none(), ranks)] * 3)
"""The ranks of one record: any of the three groups."""
