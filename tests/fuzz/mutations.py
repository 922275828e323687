"""Ways to break a file: each takes bytes and gives others, and is a function of its random numbers only."""

from collections.abc import Callable
from random import Random

from tests.fuzz.seeds import Seed, seeds

BYTES_MAX = 1 << 20
_WORDS = (
    b"\xff\xd8", b"\xff\xd9", b"\xff\xda", b"\xff\xc4", b"\xff\xdd\x00\x04", b"\xff\xe1", b"IHDR", b"IDAT", b"IEND",
    b"PLTE", b"tRNS", b"iCCP", b"acTL", b"fcTL", b"fdAT", b"eXIf", b"zTXt", b"RIFF", b"WEBP", b"VP8X", b"VP8L",
    b"ALPH", b"ANIM", b"ANMF", b"GIF89a", b"\x21\xf9\x04", b"\x21\xff\x0b", b"II*\x00", b"MM\x00*", b"BM", b"ftyp",
    b"avif", b"ispe", b"iloc", b"moov", b"mdat", b"trak", b"stsd", b"stsz", b"stco", b"dref", b"url ",
    b"\x1aE\xdf\xa3", b"\x00\x00\x01\xb3", b"http://127.0.0.1/", b"file:///etc/passwd",
)  # fmt: skip
_NUMBERS = (0, 1, 2, 7, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)

Mutation = Callable[[Random, bytearray], bytearray]


def mutated(seed: int, number: int) -> tuple[Seed, bytes]:
    """The input of this number: a seed file, and what became of it by one to five mutations."""
    random = Random(f"{seed}:{number}")
    chosen = random.choice(seeds())
    raw = bytearray(chosen.raw)
    for _ in range(random.randint(1, 5)):
        raw = random.choice(MUTATIONS)(random, raw)
    return chosen, bytes(raw[:BYTES_MAX])


def flip_bits(random: Random, raw: bytearray) -> bytearray:
    """Single bits, few or many."""
    for _ in range(random.choice((1, 2, 4, 32)) if raw else 0):
        raw[random.randrange(len(raw))] ^= 1 << random.randrange(8)
    return raw


def set_bytes(random: Random, raw: bytearray) -> bytearray:
    """A run of one value, or of noise."""
    at, length = _span(random, raw)
    raw[at : at + length] = (
        random.randbytes(length) if random.random() < 0.5 else bytes([random.randrange(256)]) * length
    )
    return raw


def cut_off(random: Random, raw: bytearray) -> bytearray:
    """The end is missing."""
    return raw[: random.randint(0, len(raw))]


def cut_out(random: Random, raw: bytearray) -> bytearray:
    """A part is missing."""
    at, length = _span(random, raw)
    del raw[at : at + length]
    return raw


def repeat(random: Random, raw: bytearray) -> bytearray:
    """A part comes many times."""
    at, length = _span(random, raw)
    return raw[:at] + raw[at : at + length] * random.choice((2, 3, 100)) + raw[at + length :]


def splice(random: Random, raw: bytearray) -> bytearray:
    """The beginning of one file and the end of another, often of another kind."""
    other = random.choice(seeds()).raw
    return raw[: random.randint(0, len(raw))] + other[random.randint(0, len(other)) :]


def set_number(random: Random, raw: bytearray) -> bytearray:
    """A length, a width or a count becomes one that programs get wrong; more often near the beginning."""
    width = random.choice((1, 2, 4, 8))
    if len(raw) <= width:
        return raw
    at = random.randrange(min(len(raw) - width, random.choice((64, 1024, len(raw)))))
    value = random.choice(_NUMBERS) & ((1 << 8 * width) - 1)
    raw[at : at + width] = value.to_bytes(width, random.choice(("big", "little")))
    return raw


def insert_word(random: Random, raw: bytearray) -> bytearray:
    """A marker of some format, put over what is there or before it."""
    word, at = random.choice(_WORDS), random.randint(0, len(raw))
    return raw[:at] + word + raw[at + (len(word) if random.random() < 0.5 else 0) :]


MUTATIONS: tuple[Mutation, ...] = (
    flip_bits, flip_bits, set_bytes, cut_off, cut_out, repeat, splice, set_number, set_number, set_number, insert_word,
)  # fmt: skip


def _span(random: Random, raw: bytearray) -> tuple[int, int]:
    at = random.randint(0, len(raw))
    return at, min(len(raw) - at, random.choice((1, 4, 16, 256, 4096)))
