"""What a dead letter keeps, and what goes to the store."""

from schemas.errors import InvalidProduct
from schemas.events import DeadLetter, Source
from schemas.framing import DEAD_LETTERS
from schemas.hashing import content_hash
from schemas.versions import ResolvedVersion
from streams.dead_letters import VALUE_BYTES_MAX, dead_letter
from topics.declarations import MESSAGE_BYTES_MAX
from topics.store import checked_key

SOURCE = Source("product-added", 1, 2, 3)
ERROR = InvalidProduct("no such thing " * 1000, code="invalid-attribute")


def test_small_records_are_kept_whole_with_their_resolved_version() -> None:
    letter = dead_letter(b"k", b"v", SOURCE, ERROR, attempts=3, failed_at=9, resolved=ResolvedVersion(7, 8))
    assert (letter.code, letter.key, letter.value, letter.stored_at) == ("invalid-attribute", b"k", b"v", None)
    assert (letter.version, letter.sequence, letter.attempts) == (7, 8, 3)
    assert len(letter.reason) == 1000
    assert DEAD_LETTERS.decode(DEAD_LETTERS.encode(letter), DeadLetter) == letter


def test_large_ones_are_referred_to() -> None:
    raw = b"x" * (VALUE_BYTES_MAX + 1)
    letter = dead_letter(b"k" * 10_000_000, raw, SOURCE, ERROR, attempts=1, failed_at=9)
    assert letter.value is None
    assert letter.stored_at is not None
    assert checked_key(letter.stored_at)
    assert letter.value_hash == content_hash(raw)
    assert len(DEAD_LETTERS.encode(letter)) < MESSAGE_BYTES_MAX
