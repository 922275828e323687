"""Read tokens against what the index has applied (HOLES 10 and 23). Pure.

A token names records of input topics, which facts translate into offsets of index-log, or offsets of index-log
directly. A node is then asked to have applied those.
"""

from bisect import bisect_right, insort
from collections import OrderedDict
from collections.abc import Iterable, Mapping

import msgspec

from schemas.errors import InvalidQuery, UnknownLogToken
from schemas.lane import Lane
from schemas.progress import Position, ProgressFact, ReadToken, required_offsets, token_of
from schemas.shard import ShardState
from topics.declarations import INDEX_LOG, INPUTS

FACTS_MAX = 2_048
"""Facts kept per source partition; at 20 a second and forgetting the oldest, tokens of the last minutes stay sharp."""
_FACTS_LOOKED_AT = 32


class Requirement(msgspec.Struct, frozen=True):
    """What an answer should have applied: index-log partition → next offset.

    ``is_covered`` is False while a position has no fact, so that nobody can say yet what it asks for.
    """

    min_applied: dict[int, int] = {}
    is_covered: bool = True


class FactIndex:
    """The useful facts, by log and source partition, ascending by watermark."""

    def __init__(self) -> None:
        self._facts: dict[tuple[str, int, str], list[ProgressFact]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._facts.values()))

    def add(self, fact: ProgressFact) -> None:
        """Keep the fact unless one that is known says more. Forgetting an old one only makes answers wait longer."""
        known = self._facts.setdefault((fact.topic, fact.partition, fact.log_id), [])
        place = bisect_right(known, fact.watermark, key=_watermark)
        if place and known[place - 1] == fact:
            return
        insort(known, fact, key=_watermark)
        # What vouches for less and asks for no less is of no use any more.
        while place and _asks_no_more(fact, known[place - 1]):
            place -= 1
            del known[place]
        if len(known) > FACTS_MAX:
            del known[0]

    def covering(self, position: Position) -> Iterable[ProgressFact]:
        """Facts that cover the position, those with the lowest watermark first."""
        for (topic, partition, log_id), known in self._facts.items():
            if topic == position.topic and partition == position.partition and position.log_id in ("", log_id):
                start = bisect_right(known, position.offset, key=_watermark)
                yield from known[start : start + _FACTS_LOOKED_AT]


def requirement(
    token: ReadToken, facts: FactIndex, *, lane: Lane, logs: Mapping[str, str], applied: Mapping[int, int]
) -> Requirement:
    """What an answer must have applied to be as fresh as the token.

    Args:
        token: positions of input topics or of this lane's index-log.
        facts: what workers published.
        lane: whose index-log is asked.
        logs: topic → identity of its log, as far as known.
        applied: next offsets a reader is known to have applied; the fact that asks least beyond them is chosen.

    Raises:
        UnknownLogToken: a position of another log. InvalidQuery: of a topic that carries no product.
    """
    needed: dict[int, int] = {}
    is_covered = True
    for position in token.positions:
        _check(position, lane, logs)
        if position.topic == INDEX_LOG:
            reach: Mapping[int, int] | None = {position.partition: position.offset + 1}
        else:
            reach = required_offsets(position, facts.covering(position), applied)
        is_covered = is_covered and reach is not None
        for partition, offset in (reach or {}).items():
            needed[partition] = max(needed.get(partition, 0), offset)
    return Requirement(needed, is_covered)


def answer_token(states: Iterable[ShardState]) -> ReadToken:
    """The token of an answer: everything that the shards who gave it had applied."""
    return token_of(
        Position(state.log_id, INDEX_LOG, partition, offset - 1)
        for state in states
        for partition, offset in state.applied.items()
        if offset > 0
    )


class SessionTokens:
    """The last token of each session, so that a session's reads never go back (HOLES 23); the oldest are forgotten."""

    def __init__(self, sessions_max: int = 10_000) -> None:
        self._max = sessions_max
        self._tokens: OrderedDict[tuple[str, str], ReadToken] = OrderedDict()

    def last(self, tenant: str, session: str | None) -> ReadToken:
        """What the session has seen; empty for a new one."""
        return self._tokens.get((tenant, session or ""), ReadToken())

    def remember(self, tenant: str, session: str | None, token: ReadToken) -> None:
        """Note what the session has now seen."""
        if not session:
            return
        key = (tenant, session)
        logs = {position.log_id for position in token.positions}
        kept = [position for position in self.last(tenant, session).positions if position.log_id in logs]
        self._tokens[key] = token_of([*kept, *token.positions])
        self._tokens.move_to_end(key)
        if len(self._tokens) > self._max:
            self._tokens.popitem(last=False)


def _check(position: Position, lane: Lane, logs: Mapping[str, str]) -> None:
    if position.topic != INDEX_LOG and position.topic not in INPUTS:
        raise InvalidQuery(
            f"min_offset names topic {position.topic[:100]!r}; it may be {', '.join(INPUTS)} or {INDEX_LOG}"
        )
    if position.partition < 0 or position.offset < 0:
        raise InvalidQuery("min_offset: partition and offset are 0 or more")
    if position.topic == INDEX_LOG and position.partition >= lane.layout.partitions:
        raise InvalidQuery(f"min_offset: {INDEX_LOG} has {lane.layout.partitions} partitions")
    known = logs.get(position.topic)
    if position.log_id and known and position.log_id != known:
        raise UnknownLogToken(
            f"the read token is of another log of {position.topic}: it was made before that topic was created anew, "
            "or by another cluster; search without it"
        )


def _watermark(fact: ProgressFact) -> int:
    return fact.watermark


def _asks_no_more(fact: ProgressFact, other: ProgressFact) -> bool:
    reach = other.reach_by_partition
    return all(offset <= reach.get(partition, 0) for partition, offset in fact.reach_by_partition.items())
