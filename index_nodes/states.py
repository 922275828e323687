"""Life cycles as tables: what may follow what, and nothing else may."""

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Any, TypeVar


class NodeState(Enum):
    """A node's life; ``/readyz`` is a function of this state alone."""

    STARTING = "starting"
    RESTORING = "restoring"
    CATCHING_UP = "catching-up"
    SERVING = "serving"
    DRAINING = "draining"
    STOPPED = "stopped"
    FAILED = "failed"

    @property
    def is_ready(self) -> bool:
        """Whether the node has applied everything that was in the log when it started."""
        return self is NodeState.SERVING


class NodeEvent(Enum):
    """What moves a node on."""

    RESTORE = "restore"
    LOADED = "loaded"
    CAUGHT_UP = "caught-up"
    STOP = "stop"
    DRAINED = "drained"
    FAIL = "fail"


class GenerationState(Enum):
    """A generation's life, from the decision to build it to the removal of its files."""

    PLANNED = "planned"
    BUILDING = "building"
    VERIFYING = "verifying"
    REJECTED = "rejected"
    READY = "ready"
    ACTIVE = "active"
    RETIRING = "retiring"
    DELETED = "deleted"


class GenerationEvent(Enum):
    """What moves a generation on."""

    BUILD = "build"
    BUILT = "built"
    VERIFIED = "verified"
    REJECT = "reject"
    PUBLISH = "publish"
    SUPERSEDE = "supersede"
    ROLL_BACK = "roll-back"
    ACCEPT = "accept"
    DELETE = "delete"


S = TypeVar("S", bound=Enum)
Table = Mapping[S, Mapping[Any, S]]


class IllegalTransition(AssertionError):
    """Our own bug: an event that cannot happen in this state."""


NODE: Table[NodeState] = MappingProxyType(
    {
        NodeState.STARTING: {
            NodeEvent.RESTORE: NodeState.RESTORING,
            NodeEvent.STOP: NodeState.STOPPED,
            NodeEvent.FAIL: NodeState.FAILED,
        },
        NodeState.RESTORING: {
            NodeEvent.LOADED: NodeState.CATCHING_UP,
            NodeEvent.STOP: NodeState.STOPPED,
            NodeEvent.FAIL: NodeState.FAILED,
        },
        NodeState.CATCHING_UP: {
            NodeEvent.CAUGHT_UP: NodeState.SERVING,
            NodeEvent.STOP: NodeState.DRAINING,
            NodeEvent.FAIL: NodeState.FAILED,
        },
        NodeState.SERVING: {NodeEvent.STOP: NodeState.DRAINING, NodeEvent.FAIL: NodeState.FAILED},
        NodeState.DRAINING: {NodeEvent.DRAINED: NodeState.STOPPED, NodeEvent.FAIL: NodeState.FAILED},
        NodeState.STOPPED: {},
        NodeState.FAILED: {},
    }
)

GENERATION: Table[GenerationState] = MappingProxyType(
    {
        GenerationState.PLANNED: {GenerationEvent.BUILD: GenerationState.BUILDING},
        GenerationState.BUILDING: {
            GenerationEvent.BUILT: GenerationState.VERIFYING,
            # Its compactor died: retention collects what it left.
            GenerationEvent.DELETE: GenerationState.DELETED,
        },
        GenerationState.VERIFYING: {
            GenerationEvent.VERIFIED: GenerationState.READY,
            GenerationEvent.REJECT: GenerationState.REJECTED,
            GenerationEvent.DELETE: GenerationState.DELETED,
        },
        GenerationState.READY: {
            GenerationEvent.PUBLISH: GenerationState.ACTIVE,
            # Another compactor's head came first.
            GenerationEvent.REJECT: GenerationState.REJECTED,
        },
        GenerationState.ACTIVE: {GenerationEvent.SUPERSEDE: GenerationState.RETIRING},
        GenerationState.RETIRING: {
            GenerationEvent.ROLL_BACK: GenerationState.ACTIVE,
            GenerationEvent.DELETE: GenerationState.DELETED,
        },
        GenerationState.REJECTED: {
            # By hand, with a reason: freshlens generations accept.
            GenerationEvent.ACCEPT: GenerationState.READY,
            GenerationEvent.DELETE: GenerationState.DELETED,
        },
        GenerationState.DELETED: {},
    }
)


def diagram(table: Table[S]) -> str:
    """The table as a Mermaid state diagram: its first state is where a life begins, those without events its ends."""
    lines = ["stateDiagram-v2", f"    [*] --> {_name(next(iter(table)))}"]
    for state, following in table.items():
        lines += [f"    {_name(state)} --> {_name(after)}: {event.value}" for event, after in following.items()]
        lines += [] if following else [f"    {_name(state)} --> [*]"]
    return "\n".join(lines)


def _name(state: Enum) -> str:
    return str(state.value).replace("-", "_")  # Mermaid reads a hyphen as part of an arrow


def advance(table: Table[S], state: S, event: Enum) -> S:
    """The state after the event; raises IllegalTransition where the table has none."""
    following = table[state].get(event)
    if following is None:
        raise IllegalTransition(f"{type(state).__name__}: {event.value!r} cannot happen in {state.value!r}")
    return following
