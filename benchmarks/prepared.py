"""Generations that benchmarks start from, built once by the compactor's own code and kept in the cache.

The name of a kept generation holds a hash of the code that made it, so that changed code is measured, never an old
build.
"""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import msgspec

from benchmarks.cache import cache_folder
from benchmarks.in_memory import MemoryLog
from benchmarks.products import Products
from index_nodes.compaction.compaction import compact_once
from index_nodes.generations.generation import Generation
from index_nodes.generations.heads import Head, newest_head
from index_nodes.generations.manifest import Manifest, build_key, read_manifest
from index_nodes.replicas.replica import Replica, load_generation, restore
from index_nodes.rows.graph import GraphBuilder, NoGraphs
from schemas.lane import Lane
from schemas.metrics import NullMetrics
from topics.store import FileStore

_SOURCES = ("index_nodes", "schemas")
_KEPT_MAX = 6


@dataclass(frozen=True)
class Prepared:
    """A store with one head. ``build_s``: what the compaction took when it was made."""

    store: FileStore
    lane: Lane
    head: Head
    build_s: float

    @property
    def manifest(self) -> Manifest:
        return read_manifest(self.store, 0, self.head.build, self.head.manifest_checksum)

    @property
    def folder(self) -> Path:
        """Where the generation's files are."""
        return self.store.local_path(build_key(0, self.head.build))

    def log(self) -> MemoryLog:
        """A log that starts where the generation ends."""
        return MemoryLog(self.lane, {int(partition): offset for partition, offset in self.head.next_offsets.items()})

    def replica(self, log: MemoryLog, builder: GraphBuilder | None = None) -> Replica:
        """A replica at the end of the log."""
        return restored(self.store, self.lane, log, builder)

    def generation(self) -> Generation:
        return load_generation(self.store, self.lane, 0, self.head)


def restored(store: FileStore, lane: Lane, log: MemoryLog, builder: GraphBuilder | None = None) -> Replica:
    """What a node does when it starts: the newest head, and the log behind it."""
    return restore(
        newest_head(store, lane, 0),
        log.bounds().end,
        log=log,
        store=store,
        lane=lane,
        shard=0,
        builder=builder or NoGraphs(),
        metrics=NullMetrics(),
    )


def prepared(name: str, products: Products, rows: int) -> Prepared:
    """The first ``rows`` products as a generation."""
    folder = cache_folder() / f"generation-{name}-{rows}-{_hash_of_sources()}"
    facts = folder / "built.json"
    if not facts.exists():
        _forget_old(folder.parent)
        shutil.rmtree(folder, ignore_errors=True)
        log = MemoryLog(products.lane)
        for number in range(rows):
            log.append(*products.added(number))
        report = compact_once(log, FileStore(folder), products.lane, 0)
        facts.write_text(json.dumps({"build_s": report.seconds}))
    store = FileStore(folder)
    head = newest_head(store, products.lane, 0)
    assert head is not None
    return Prepared(store, products.lane, head, float(json.loads(facts.read_text())["build_s"]))


def facts_of(manifest: Manifest) -> dict[str, object]:
    """How the rows are indexed, for the report."""
    return {"rows": manifest.rows, "index": msgspec.to_builtins(manifest.index)}


def _hash_of_sources() -> str:
    root, hasher = Path(__file__).parent.parent, hashlib.blake2b(digest_size=6)
    files = [path for folder in _SOURCES for path in sorted((root / folder).rglob("*.py"))]
    for path in [*files, Path(__file__).parent / "products.py", Path(__file__).parent / "clustered_vectors.py"]:
        hasher.update(path.read_bytes())
    return hasher.hexdigest()


def _forget_old(folder: Path) -> None:
    """Keep the newest few: each is some hundred megabytes."""
    known = sorted(folder.glob("generation-*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in known[_KEPT_MAX - 1 :]:
        shutil.rmtree(path, ignore_errors=True)
