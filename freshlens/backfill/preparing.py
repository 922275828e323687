"""What a back-fill does before its first row: everything that can be refused is refused here."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

import msgspec

from freshlens.backfill.dates import DumpDate, parse_as_of
from freshlens.backfill.dump import open_dump
from freshlens.backfill.job import Job
from freshlens.backfill.journal import fingerprint_of
from freshlens.backfill.lines import Lines
from freshlens.backfill.rows import Loaded, Row, Slice
from freshlens.backfill.slices import by_popularity, popularity_of, rows_of, slices_of
from index_nodes.replicas.log import KafkaLog, check_bounds
from processors.added import DeclarationOf
from schemas.environment import Environment
from schemas.errors import InvalidRecord, SettingsError
from schemas.layout import LogId
from streams.settings import StreamsSettings
from topics.settings import tombstone_ms
from topics.store import open_store
from topics.tenants import TenantDirectory

_FIRST_ROWS = 20
_CARRIED = ("AWS_", "FRESHLENS_S3_ENDPOINT", "FRESHLENS_DATA")


@dataclass(frozen=True)
class Prepared:
    """A back-fill that may begin: its job, its slices in order, and its name in the folder of journals."""

    job: Job
    slices: tuple[Slice, ...]
    fingerprint: str
    declaration_of: DeclarationOf

    @property
    def rows(self) -> int:
        return sum(each.rows for each in self.slices)

    def checked(self) -> Iterator[tuple[str, Loaded]]:
        """Every row with its file's name, as the load would judge it before its pictures; nothing is sent."""
        job = self.job
        lines = Lines(job.dump, job.tenant, job.date, self.declaration_of, started_at_ms=job.started_at_ms)
        for each in self.slices:
            for row in rows_of(job.dump, each, job.popularity):
                yield job.dump.files[each.file].name, _judged(lines, each.file, row)


def prepare(
    place: str,
    tenant: str,
    settings: StreamsSettings,
    environ: Mapping[str, str],
    *,
    as_of: str | None = None,
    popularity: str | None = None,
    embeddings: str | None = None,
) -> Prepared:
    """Look at the dump, the tenant and the log, and refuse what must not be loaded.

    Raises:
        SettingsError: nothing to load, an age that is not safe, or versions that are not said.
        LayoutChanged: index-log is not divided as the lane is.
    """
    declaration_of = TenantDirectory(open_store(settings.store, environ)).declaration
    kind = declaration_of(tenant).versions
    log, now_us = KafkaLog(settings.kafka), time.time_ns() // 1000
    check_bounds(log.bounds(), settings.lane)
    env = Environment(environ)
    horizon_us = tombstone_ms(env) * 1000
    env.finish()
    forgets = _forgets(log, now_us - horizon_us)
    date = DumpDate(kind, None if as_of is None else parse_as_of(as_of, kind), forgets, horizon_us)
    date.check(now_us)
    dump = open_dump(place, environ)
    slices = slices_of(dump)
    if not slices:
        raise SettingsError(f"{place} has no rows")
    if popularity is not None:
        slices = by_popularity(slices, [popularity_of(dump, each, popularity) for each in slices])
    job = Job(
        dump=dump,
        tenant=tenant,
        settings=settings,
        date=date,
        embeddings=embeddings or str(settings.data / "backfill" / "embeddings"),
        started_at_ms=now_us // 1000,
        popularity=popularity,
        environ={name: value for name, value in environ.items() if name.startswith(_CARRIED)},
    )
    _check_versions(job, slices[0])
    return Prepared(job, tuple(slices), _fingerprint(job, log.log_id()), declaration_of)


def _judged(lines: Lines, file: int, row: Row) -> Loaded:
    try:
        incoming = lines.read(file, row)
    except InvalidRecord as error:
        return Loaded(row.number, "refused", "", error.code, error.message)
    outcome = "indexed" if incoming.event.content is not None else "offer"
    return Loaded(row.number, outcome, incoming.key.product_id)


def _forgets(log: KafkaLog, since_us: int) -> bool:
    """Whether a delete may have been forgotten: not while the log still has its first record, and that one is young."""
    bounds = log.bounds()
    return any(bounds.begin.values()) or any(log.offsets_at(since_us // 1000).values())


def _check_versions(job: Job, first: Slice) -> None:
    """A whole dump without versions is refused at once rather than row by row."""
    if job.date.as_of is not None:
        return
    rows = islice(rows_of(job.dump, first), _FIRST_ROWS)
    if not any(_has_version(row.line) for row in rows):
        raise SettingsError(
            "the rows have no version: say with --as-of when the dump was made, so that it overwrites nothing newer"
        )


def _has_version(line: bytes) -> bool:
    try:
        found = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return isinstance(found, dict) and found.get("version") is not None


def _fingerprint(job: Job, log_id: LogId) -> str:
    files = [(file.path, file.bytes, file.stamp) for file in job.dump.files]
    return fingerprint_of(job.tenant, log_id, job.date.as_of, job.popularity, job.settings.lane, files)
