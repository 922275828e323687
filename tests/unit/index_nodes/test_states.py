"""The life cycles: nothing happens that the tables do not have."""

import pytest

from index_nodes.states import (
    GENERATION,
    NODE,
    GenerationEvent,
    GenerationState,
    IllegalTransition,
    NodeEvent,
    NodeState,
    advance,
)


def test_every_state_has_its_row() -> None:
    assert set(NODE) == set(NodeState)
    assert set(GENERATION) == set(GenerationState)


def test_a_node_serves_only_after_it_caught_up() -> None:
    state = NodeState.STARTING
    for event in (NodeEvent.RESTORE, NodeEvent.LOADED, NodeEvent.CAUGHT_UP):
        assert not state.is_ready
        state = advance(NODE, state, event)
    assert state.is_ready
    assert advance(NODE, advance(NODE, state, NodeEvent.STOP), NodeEvent.DRAINED) is NodeState.STOPPED


def test_a_generation_is_published_only_after_it_was_verified() -> None:
    for state in set(GenerationState) - {GenerationState.READY}:
        with pytest.raises(IllegalTransition, match="publish"):
            advance(GENERATION, state, GenerationEvent.PUBLISH)


@pytest.mark.parametrize("state", [NodeState.STARTING, NodeState.RESTORING, NodeState.STOPPED])
def test_no_other_way_leads_to_serving(state: NodeState) -> None:
    with pytest.raises(IllegalTransition):
        advance(NODE, state, NodeEvent.CAUGHT_UP)
