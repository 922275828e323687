"""Do compiled schemas pay? Values of three topics written and read by them and by fastavro alone, by turns.

Both must give the same bytes and values. What is timed is a whole encode or decode of ``schemas.framing``.

    python -m benchmarks.framing [--rounds 15]
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any, NoReturn

import msgspec
import numpy as np

from benchmarks.report import save
from schemas.compiled import Unusual
from schemas.events import Content, GivenVector, Offer, Picture, ProductAdded, Source
from schemas.feedback import Search, Shown
from schemas.framing import CODECS, Codec
from schemas.index_log import IndexedContent, IndexedOffer, IndexedView, IndexLogRecord
from schemas.join import Rank

_TIMES = 300
_NOW = 1_795_000_000_000_000


class _Fastavro(Codec):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._read = self._write = _unusual


def _unusual(*_: object) -> NoReturn:
    raise Unusual


def values() -> dict[str, tuple[str, msgspec.Struct]]:
    """What is timed, by name: its topic, and a value as it is there by the thousand."""
    vector = tuple(np.random.default_rng(1).normal(size=384).tolist())

    def product(content: Content) -> ProductAdded:
        return ProductAdded("shop", "p-1", content=content, offer=Offer(price=12.5, currency="EUR", stock=3))

    rank = Rank(_NOW, 0, 1 << 16, os.urandom(16))
    view = IndexedView(os.urandom(16), "image", os.urandom(768), os.urandom(16), os.urandom(8))
    content = IndexedContent(rank, "space-384", "Red dress", None, {"color": "red", "size": 38}, (view,), os.urandom(8))
    shown = tuple(Shown(f"product-{place}", place, 1 - place / 100) for place in range(1, 11))
    timings = dict.fromkeys(("wait", "encode", "search", "rank", "total", "linear"), 0.125)
    return {
        "a product with its picture": (
            "product-added",
            product(Content("Red dress", pictures=(Picture(inline=os.urandom(11_000)),))),
        ),
        "a product with its vector": (
            "product-added",
            product(Content("Red dress", vectors=(GivenVector("space-384", vector),))),
        ),
        "a record of the index log": (
            "index-log",
            IndexLogRecord(
                "shop", "p-1", Source("product-added", 0, 12_345, _NOW // 1000), content,
                IndexedOffer(rank, 12.5, "EUR", 3, None, {}),
            ),
        ),
        "a search with ten results": (
            "searches",
            Search(
                "ab" * 16, "shop", _NOW, "vector", 10, shown, False, "space-384", True, timings,
                embedding=os.urandom(768),
            ),
        ),
    }  # fmt: skip


def main() -> None:
    """Measure, and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    figures = [{"value": name, **_measured(topic, value, rounds)} for name, (topic, value) in values().items()]
    save("framing", str(__doc__).splitlines()[0], {"values": figures})


def _measured(topic: str, value: msgspec.Struct, rounds: int) -> dict[str, Any]:
    compiled, plain, kind = CODECS[topic], _Fastavro(topic), type(value)
    raw = plain.encode(value)
    assert compiled.encode(value) == raw
    assert compiled.decode(raw, kind) == plain.decode(raw, kind)
    ways: dict[str, Callable[[], object]] = {
        "fastavro_write_us": lambda: plain.encode(value),
        "compiled_write_us": lambda: compiled.encode(value),
        "fastavro_read_us": lambda: plain.decode(raw, kind),
        "compiled_read_us": lambda: compiled.decode(raw, kind),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            taken[name].append(_us(way))
    return {name: round(statistics.median(each), 1) for name, each in taken.items()}


def _us(way: Callable[[], object]) -> float:
    began = time.perf_counter()
    for _ in range(_TIMES):
        way()
    return (time.perf_counter() - began) / _TIMES * 1e6


if __name__ == "__main__":
    main()
