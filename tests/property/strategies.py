"""What the index can be told, drawn so that versions, pictures and products meet again and again."""

from hypothesis import strategies as st

from schemas.filters import And, AnyOf, Filter, Not, Or, Range
from schemas.index_log import IndexLogRecord
from tests.unit.index_nodes import records

TENANTS = ("a", "b")
PRODUCTS = ("p0", "p1", "p2", "p3")
PICTURES = tuple(records.picture(seed) for seed in range(6))

tenants = st.sampled_from(("a", "a", "a", "b"))
product_ids = st.sampled_from(PRODUCTS)
versions = st.integers(1, 12)
pictures = st.sampled_from(range(len(PICTURES)))
_VIEWS = ((0,), (1,), (2, 3), (0, 1, 2), (3, 3), (5, 4, 0), (), (4,))
_colours = st.sampled_from(["red", "blue", "green"])
_mixed = st.booleans() | st.integers(0, 2) | st.just(0.5) | st.sampled_from(["1", "red"])
_attributes = st.fixed_dictionaries(
    {},
    optional={
        "colour": _colours,
        "tags": st.lists(_colours, min_size=1, max_size=3).map(tuple),
        "size": st.integers(0, 3) | st.sampled_from([0.5, 1.5]),
        "new": st.booleans(),
        "mixed": _mixed | st.lists(_colours, min_size=1, max_size=2).map(tuple),
    },
)
_groups = st.sampled_from([b"", b"", b"g1", b"g2"])
_prices = st.none() | st.sampled_from([1.0, 2.0, 3.5])
_stocks = st.none() | st.integers(0, 2)


@st.composite
def contents(draw: st.DrawFn) -> IndexLogRecord:
    """A content group of up to three views, the same picture twice now and then."""
    return records.content(
        draw(product_ids),
        draw(versions),
        [PICTURES[number] for number in draw(st.sampled_from(_VIEWS))],
        tenant=draw(tenants),
        title=draw(st.none() | _colours),
        attributes=draw(_attributes),
        dup_group=draw(_groups),
    )


@st.composite
def offers(draw: st.DrawFn) -> IndexLogRecord:
    return records.offer(
        draw(product_ids), draw(versions), draw(_prices), tenant=draw(tenants), stock=draw(_stocks),
        attributes=draw(st.fixed_dictionaries({}, optional={"sale": st.booleans()})),
    )  # fmt: skip


@st.composite
def deletes(draw: st.DrawFn) -> IndexLogRecord:
    return records.delete(draw(product_ids), draw(versions), tenant=draw(tenants))


index_records = st.sampled_from("cccccood").flatmap({"c": contents(), "o": offers(), "d": deletes()}.__getitem__)
"""Any record; contents most often, so that there is something to find."""

_leaves: st.SearchStrategy[Filter] = st.one_of(
    st.builds(AnyOf, st.sampled_from(["colour", "tags", "title"]), st.lists(_colours, min_size=1).map(tuple)),
    st.builds(AnyOf, st.just("product_id"), st.lists(product_ids, min_size=1).map(tuple)),
    st.builds(AnyOf, st.sampled_from(["new", "in_stock", "sale"]), st.lists(st.booleans(), min_size=1).map(tuple)),
    st.builds(AnyOf, st.sampled_from(["size", "price", "stock"]), st.lists(st.integers(0, 3), min_size=1).map(tuple)),
    st.builds(Range, st.sampled_from(["size", "price", "stock"]), gte=st.none() | st.integers(0, 3), lt=st.just(3.25)),
    st.builds(AnyOf, st.just("mixed"), st.lists(_mixed, min_size=1, max_size=3).map(tuple)),
    st.builds(Range, st.just("mixed"), gte=st.integers(0, 2)),
    st.builds(Range, st.sampled_from(["colour", "title", "mixed"]), gt=st.none() | _colours, lte=_colours),
)
filters: st.SearchStrategy[Filter] = st.recursive(
    _leaves,
    lambda parts: st.one_of(
        st.builds(Not, parts),
        st.builds(And, st.lists(parts, min_size=1, max_size=3).map(tuple)),
        st.builds(Or, st.lists(parts, min_size=1, max_size=3).map(tuple)),
    ),
    max_leaves=5,
)
"""Trees over fields that products have, each of its kinds."""
