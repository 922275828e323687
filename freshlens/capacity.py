"""How much machine a catalogue takes: a plan from what was measured, for the index tier (encoders are sized apart).

Every constant comes from ``measured.json``, which ``python -m benchmarks.measured`` copies from ``benchmarks/results``.
Times are of a core of the machine they were measured on. Beyond the rows measured they are extended by straight lines,
and :attr:`Plan.extrapolated` says how far.
"""

from dataclasses import dataclass, replace
from functools import cache
from math import ceil
from pathlib import Path

import msgspec

GIB = 1 << 30
_UTILISATION = 0.6
"""Share of a core that may be used before waiting shows in the p99."""
_SLOTS_MAX = (1 << 31) - 1
"""Slots and rows of a shard are 32-bit numbers."""
_CODE_BYTES_PER_DIM = 1 / 8
_LIST_ID_BYTES = 8
_DELTA_ROWS = 50_000
_DELTA_BYTES_PER_DIM = 6
"""A delta row is held as float32 under its graph, and as float16."""
_LOG_BYTES_BESIDE_VECTOR = 400


class Measured(msgspec.Struct, frozen=True):
    """What the benchmarks found, with ``dim`` dimensions and at most ``rows_max`` rows; times in core-milliseconds."""

    dim: int
    rows_max: int
    recall_at_10: float
    search_ms: float
    search_ms_per_million_rows: float
    anonymous_bytes_per_row: float
    column_bytes_per_row: float
    compactor_bytes_per_row: float
    compacted_rows_per_s: float
    apply_ms: float
    open_s_per_million_rows: float


@dataclass(frozen=True)
class Ask:
    """What is to be served.

    ``views``: vectors per product. ``shard_rows``: None takes the most that every limit allows. ``vectors_in_ram``: the
    share of full vectors that the page cache holds (1.0 is what was measured).
    """

    products: float
    views: float = 1.2
    dim: int = 256
    qps: float = 500.0
    events_per_s: float = 1000.0
    replicas: int = 2
    shard_rows: float | None = None
    vectors_in_ram: float = 1.0
    generations_kept: int = 3
    search_ms_max: float = 25.0
    compaction_h_max: float = 6.0
    compactor_gib_max: float = 256.0
    restart_s_max: float = 120.0

    @property
    def rows(self) -> float:
        return self.products * self.views


@dataclass(frozen=True)
class Prices:
    """Of one hour, in any currency: a core, a GiB of memory, a GiB of disk. The defaults are round list prices."""

    core_hour: float = 0.04
    ram_gib_hour: float = 0.005
    disk_gib_hour: float = 0.0001


@dataclass(frozen=True)
class Limit:
    """The most rows that a shard may have before something breaks, and what breaks."""

    rows: float
    what: str


@dataclass(frozen=True)
class Plan:
    """For the whole index tier, all replicas; sizes in GiB. ``extrapolated``: rows of a shard over rows measured."""

    rows: float
    shards: int
    rows_per_shard: float
    replicas: int
    limit: Limit
    ram_gib: float
    ram_gib_per_node: float
    disk_gib: float
    search_ms: float
    search_cores: float
    apply_cores: float
    compaction_cores: float
    compaction_h: float
    cost_per_hour: float
    cost_per_1000_queries: float
    extrapolated: float

    @property
    def cores(self) -> int:
        """Whole cores, at least one for each node."""
        return max(self.shards * self.replicas, ceil(self.search_cores + self.apply_cores + self.compaction_cores))


@dataclass(frozen=True)
class Lever:
    """One change of what is asked, and the plan with it."""

    what: str
    plan: Plan


@cache
def measured() -> Measured:
    """The figures that this release was measured with."""
    return msgspec.json.decode((Path(__file__).parent / "measured.json").read_bytes(), type=Measured)


def plan(ask: Ask, prices: Prices | None = None, figures: Measured | None = None) -> Plan:
    """What serves the ask.

    Args:
        ask: products > 0, qps > 0, replicas >= 1.
        prices: by default the round ones.
        figures: by default those of this release.
    """
    prices, figures = prices or Prices(), figures or measured()
    limit = limits(ask, figures)[0]
    shards = max(1, ceil(ask.rows / (ask.shard_rows or limit.rows)))
    rows = ask.rows / shards
    node_gib = ram_bytes(ask, figures, rows) / GIB
    disk_gib = shards * ask.replicas * generation_bytes(ask, figures, rows) * ask.generations_kept / GIB
    compaction_h = rows / figures.compacted_rows_per_s / 3600
    search = shards * search_ms(ask, figures, rows) / 1000 * ask.qps / _UTILISATION
    apply = ask.replicas * ask.events_per_s * figures.apply_ms / 1000 / _UTILISATION
    made = Plan(
        rows=ask.rows,
        shards=shards,
        rows_per_shard=rows,
        replicas=ask.replicas,
        limit=limit,
        ram_gib=shards * ask.replicas * node_gib,
        ram_gib_per_node=node_gib,
        disk_gib=disk_gib,
        search_ms=search_ms(ask, figures, rows),
        search_cores=search,
        apply_cores=apply,
        compaction_cores=shards * compaction_h / 24,
        compaction_h=compaction_h,
        cost_per_hour=0.0,
        cost_per_1000_queries=0.0,
        extrapolated=max(1.0, rows / figures.rows_max),
    )
    hourly = made.cores * prices.core_hour + made.ram_gib * prices.ram_gib_hour + disk_gib * prices.disk_gib_hour
    return replace(made, cost_per_hour=hourly, cost_per_1000_queries=hourly / (ask.qps * 3.6))


def limits(ask: Ask, figures: Measured) -> list[Limit]:
    """What breaks as a shard grows, first first."""
    steps = figures.search_ms_per_million_rows * ask.dim / figures.dim / 1e6
    first = figures.search_ms * ask.dim / figures.dim
    found = [
        Limit(ask.compactor_gib_max * GIB / figures.compactor_bytes_per_row, "memory of the compactor"),
        Limit(ask.compaction_h_max * 3600 * figures.compacted_rows_per_s, "time of a compaction"),
        Limit(max(1.0, (ask.search_ms_max - first) / steps), "time of a search"),
        Limit(ask.restart_s_max / figures.open_s_per_million_rows * 1e6, "time of a restart"),
        Limit(_SLOTS_MAX, "32-bit row numbers"),
    ]
    return sorted(found, key=lambda limit: limit.rows)


def search_ms(ask: Ask, figures: Measured, rows: float) -> float:
    """Core-milliseconds of one search of one shard; codes are read dimension by dimension."""
    measured_ms = figures.search_ms + figures.search_ms_per_million_rows * rows / 1e6
    return measured_ms * ask.dim / figures.dim


def ram_bytes(ask: Ask, figures: Measured, rows: float) -> float:
    """Of one node: anonymous memory, a full delta, and the mapped pages that searches touch."""
    codes = rows * (ask.dim * _CODE_BYTES_PER_DIM + _LIST_ID_BYTES)
    vectors = rows * 2 * ask.dim * ask.vectors_in_ram
    delta = _DELTA_ROWS * (ask.dim * _DELTA_BYTES_PER_DIM + figures.column_bytes_per_row)
    return rows * figures.anonymous_bytes_per_row + codes + vectors + delta


def generation_bytes(ask: Ask, figures: Measured, rows: float) -> float:
    """The files of one generation of one shard."""
    return rows * (2 * ask.dim + ask.dim * _CODE_BYTES_PER_DIM + _LIST_ID_BYTES + figures.column_bytes_per_row)


def log_gib_per_day(ask: Ask) -> float:
    """What the events of a day add to index-log, if each carries its vectors; the broker's copies come on top."""
    return ask.events_per_s * 86_400 * (2 * ask.dim * ask.views + _LOG_BYTES_BESIDE_VECTOR) / GIB


def levers(ask: Ask, prices: Prices | None = None, figures: Measured | None = None) -> list[Lever]:
    """Plans with one thing changed each, cheapest first."""
    changes = {
        "half the dimensions": replace(ask, dim=max(1, ask.dim // 2)),
        "one view per product": replace(ask, views=1.0),
        "a tenth of the vectors in memory, the rest read from NVMe": replace(ask, vectors_in_ram=0.1),
        "one replica less": replace(ask, replicas=max(1, ask.replicas - 1)),
        "one generation kept": replace(ask, generations_kept=1),
    }
    made = [Lever(what, plan(changed, prices, figures)) for what, changed in changes.items() if changed != ask]
    return sorted(made, key=lambda lever: lever.plan.cost_per_hour)
