"""What a build is: its manifest, written last, and the checks under which it is loaded."""

import hashlib
from pathlib import Path

import msgspec

from schemas.embeddings import Space
from schemas.errors import ChecksumMismatch, LayoutChanged, ManifestCorrupt, SpaceChanged
from schemas.lane import Lane
from schemas.layout import LogId, NextOffset
from topics.store import ObjectStore

FORMAT = 2
MANIFEST = "manifest.json"


class FileFacts(msgspec.Struct, frozen=True):
    """Size and BLAKE2b-256 of one file, in hexadecimal."""

    size: int
    checksum: str


class IndexFacts(msgspec.Struct, frozen=True, kw_only=True):
    """How the rows are indexed, and what was measured at build time.

    ``nlist`` 0: scanned exactly. ``rescored``: candidates that are scored again by the full vectors. The codebook was
    trained once and is re-used until it drifts: ``residual`` (mean squared error of the codes, as a share of the mean
    squared length) and ``imbalance`` (of the lists, 1.0: all of one length) are of these rows, ``trained_*`` of the
    rows that it was trained for.
    """

    nlist: int = 0
    nprobe: int = 0
    rescored: int = 0
    recall_at_10: float = 1.0
    codebook_epoch: int = 0
    trained_at_us: int = 0
    trained_rows: int = 0
    trained_residual: float = 0.0
    trained_imbalance: float = 1.0
    residual: float = 0.0
    imbalance: float = 1.0


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """One immutable build: the fold of index-log up to ``next_offsets``, by partition as decimal strings.

    ``parent_build`` and ``parent_seq`` ("" and 0: none) name what it was made from; ``retrained`` says why its codebook
    is new, None where it is that of its parent, or there is none.
    """

    format: int
    build: str
    parent_build: str
    parent_seq: int
    reason: str
    shard: int
    layout_id: str
    lane: str
    space: str
    log_id: str
    next_offsets: dict[str, int]
    slots: int
    rows: int
    first_rows: int
    products: int
    tombstones: int
    dropped_tombstones: int
    index: IndexFacts
    retrained: str | None
    digests: dict[str, str]
    """By partition, see :class:`index_nodes.products.digest.Digest`."""
    newest_append_ms: int
    """The greatest append time among all records folded in, by the broker's clock."""
    record_bytes_mean: float
    created_at_us: int
    files: dict[str, FileFacts]

    @property
    def positions(self) -> dict[int, NextOffset]:
        return {int(partition): NextOffset(offset) for partition, offset in self.next_offsets.items()}

    def to_bytes(self) -> bytes:
        return msgspec.json.format(msgspec.json.encode(self), indent=2)


def builds_prefix(shard: int) -> str:
    """The folder of a shard's builds, those of all lanes and layouts."""
    return f"builds/{shard}"


def build_key(shard: int, build: str, file: str = "") -> str:
    """Where a build, or a file of it, is in the store."""
    return f"{builds_prefix(shard)}/{build}" + (f"/{file}" if file else "")


def file_facts(path: Path) -> FileFacts:
    """Size and checksum of a file as it is now."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=32))
    return FileFacts(path.stat().st_size, digest.hexdigest())


def checksum(raw: bytes) -> str:
    """BLAKE2b-256 in hexadecimal."""
    return hashlib.blake2b(raw, digest_size=32).hexdigest()


def read_manifest(store: ObjectStore, shard: int, build: str, expected_checksum: str) -> Manifest:
    """The manifest that a head points to.

    Raises:
        ManifestCorrupt: missing, altered, or of another format.
    """
    key = build_key(shard, build, MANIFEST)
    try:
        raw = store.get(key)
    except FileNotFoundError:
        raise ManifestCorrupt(f"{key} is not in the store: {_WAY_OUT}") from None
    if checksum(raw) != expected_checksum:
        raise ManifestCorrupt(f"{key} is not what its head was published for: {_WAY_OUT}")
    return _decoded(key, raw)


_WAY_OUT = "restore it, or `freshlens generations rollback`"
_NEWER = "upgrade this program"
_OLDER = "set its head aside, and `freshlens compact` makes a new one of what lies in index-log"


class _Format(msgspec.Struct):
    format: int


def _decoded(key: str, raw: bytes) -> Manifest:
    try:
        # The format first: of another one, the rest may be anything.
        found = msgspec.json.decode(raw, type=_Format).format
        if found != FORMAT:
            way_out = _NEWER if found > FORMAT else _OLDER
            raise ManifestCorrupt(f"{key} has format {found}, this program reads {FORMAT}: {way_out}")
        return msgspec.json.decode(raw, type=Manifest)
    except msgspec.DecodeError as error:
        raise ManifestCorrupt(f"{key}: {error}: {_WAY_OUT}") from error


def check_files(store: ObjectStore, manifest: Manifest) -> Path:
    """The local folder of the build, every file of which was compared with the manifest.

    Raises:
        ChecksumMismatch: a file is missing, or differs in size or content.
        DiskFull: no room for a local copy. StoreUnavailable: try again.
    """
    return store.local_folder(build_key(manifest.shard, manifest.build), lambda folder: _check(folder, manifest))


def _check(folder: Path, manifest: Manifest) -> None:
    for name, facts in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise ChecksumMismatch(f"{path} is missing: {_WAY_OUT}")
        if file_facts(path) != facts:
            raise ChecksumMismatch(f"{path} differs from its manifest: {_WAY_OUT}")


def check_lane(manifest: Manifest, lane: Lane) -> None:
    """Do nothing if the build is of this lane's space and layout.

    Raises:
        SpaceChanged, LayoutChanged.
    """
    if Space.parse(manifest.space) != lane.space:
        raise SpaceChanged(f"build {manifest.build} is of space {manifest.space}, this lane holds {lane.space}")
    if manifest.layout_id != lane.layout.layout_id:
        raise LayoutChanged(f"build {manifest.build} has layout {manifest.layout_id}, not {lane.layout.layout_id}")


def log_id_of(manifest: Manifest) -> LogId:
    """The log that the manifest's offsets belong to."""
    return LogId.parse(manifest.log_id)
