"""A body with nothing but a vector is read by a way of its own, and to the same query or refusal."""

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from query_api.query.request import Query, SearchBody, decode_body, query_of_body, query_of_json
from query_api.settings import ApiSettings, Limits
from schemas.errors import FreshlensError
from tests.unit.query_api.doubles import api_settings

SETTINGS = api_settings()
DIM = SETTINGS.lane.space.dim
_numbers = st.one_of(st.floats(-2, 2), st.integers(-3, 3), st.sampled_from([1e200, -1e308, 1e-300, 0.0]))
_bodies = st.fixed_dictionaries(
    {},
    optional={
        "vector": st.one_of(st.lists(_numbers, min_size=DIM, max_size=DIM), st.lists(_numbers, max_size=3), st.none()),
        "k": st.one_of(st.integers(-1, 1_100), st.just("ten"), st.just(2.5)),
        "session": st.sampled_from(["", "visit", None]),
        "text": st.sampled_from(["", "red"]),
        "exact": st.booleans(),
        "what": st.just(1),
    },
)
_searches = msgspec.json.Decoder(SearchBody)


def outcome(read: Any) -> tuple[Any, ...]:
    """The query as comparable values; or the refusal's code and words."""
    try:
        query: Query = read()
    except FreshlensError as error:
        return error.code, error.message
    values = msgspec.structs.asdict(query)
    vector, parts = values.pop("vector"), values.pop("parts")
    if vector is not None:
        assert vector.dtype == np.float32
    vectors = [None if each is None else each.tobytes() for each in (vector, *(part.vector for part in parts))]
    return values, vectors, [(part.kind, part.weight, part.text) for part in parts]


@given(body=_bodies)
def test_both_ways_say_the_same(body: dict[str, Any]) -> None:
    raw = msgspec.json.encode(body)
    expected = outcome(lambda: query_of_body(decode_body(raw, _searches), SETTINGS))
    assert outcome(lambda: query_of_json(raw, SETTINGS)) == expected


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'{"vector": [1, 2', b'{"vector": [' + b"[" * 5_000, b"\xff"])
def test_what_is_no_json_is_said_alike(raw: bytes) -> None:
    expected = outcome(lambda: query_of_body(decode_body(raw, _searches), SETTINGS))
    assert expected[0] == "invalid-query"
    assert outcome(lambda: query_of_json(raw, SETTINGS)) == expected


def test_what_the_process_is_set_to_counts_for_both() -> None:
    settings: ApiSettings = api_settings(limits=Limits(k_max=5))
    raw = msgspec.json.encode({"vector": [1.0] * DIM, "k": 6})
    assert outcome(lambda: query_of_json(raw, settings)) == ("invalid-query", "k is at most 5")
