"""Every error Freshlens raises on purpose, grouped by what the caller does about it.

FreshlensError            ``code``: stable kebab-case, used in dead letters, HTTP problems and metric labels
 x InvalidRecord          poison: dead-letter it, go on, never retry
   + UnsupportedSchema, UndecodableRecord, KeyMismatch, InvalidProduct, VersionOutOfRange, VersionMissing,
     UndecodableImage, ImageTooLarge, ImageRefused, PictureRejected, PictureBlocked, SpaceMismatch, InvalidVector,
     EncoderFailed, WorkerCrashed, SourceHeld, RetriesExhausted
 x TransientError         retry with backoff, do not advance
   + BrokerUnavailable, StoreUnavailable, ImageSourceUnavailable, EncoderUnavailable, ShardUnavailable, DeadlineExceeded
 x Backpressure           slow down; a signal, not a fault
   + Overloaded
 x StorageError           stop the process; the docstring says what the operator does
   + ManifestCorrupt, ChecksumMismatch, LogTruncated, LogChanged, LogRecordUnreadable, SpaceChanged, LayoutChanged,
     HeadExists, EventsLost, DigestMismatch, BuildRejected, DiskFull
 x QueryError             the client's to fix: 4xx
   + InvalidQuery, UnknownField, FilterType, UnsupportedMediaType, UploadTooLarge, NotFound, RulesChanged, Unauthorized,
     ScopeMissing, TenantRefused, FreshnessUnmet, UnknownLogToken, HostRefused, QueryAbstained, RateLimited,
     QuotaUsed
 x DeadLetterLimit        paused by a flood of our own faults, until the operator repairs or accepts
 x SettingsError          refuse to start, listing every problem at once

A subclass that stands for several codes takes ``code=`` at construction; ``docs/errors.md`` documents all of them.
"""

from typing import ClassVar


class FreshlensError(Exception):
    """Something failed here by our own fault; it is in the log. Try again, and report it if it stays.

    The root of all: each has a stable ``code``, and a message that says what happened and the way out.
    """

    code: str = "internal"
    codes: ClassVar[tuple[str, ...]] = ()
    """Further codes an instance of this class may carry."""

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            assert code in (type(self).code, *type(self).codes), f"{type(self).__name__} has no code {code!r}"
            self.code = code

    @property
    def message(self) -> str:
        return str(self)


# --- InvalidRecord: dead-letter and go on -------------------------------------------------------------------


class InvalidRecord(FreshlensError):
    """A record that can never be processed as it is: dead-letter it with code and reason, and go on."""

    code = "invalid-record"


class UnsupportedSchema(InvalidRecord):
    """Framed with a schema we do not know, or framed for a registry that is not configured."""

    code = "unsupported-schema"
    codes = ("schema-registry-not-configured",)


class UndecodableRecord(InvalidRecord):
    """The bytes have no known framing, or do not decode with the schema they name."""

    code = "undecodable-record"


class KeyMismatch(InvalidRecord):
    """The Kafka key names another product than the value."""

    code = "key-mismatch"


class InvalidProduct(InvalidRecord):
    """A field breaks a limit or a rule of identity."""

    code = "invalid-product"
    codes = (
        "content-without-view",
        "empty-event",
        "invalid-tenant",
        "invalid-product-id",
        "invalid-attribute",
    )


class VersionOutOfRange(InvalidRecord):
    """The version is of another kind than the tenant declared; it would freeze the product."""

    code = "version-out-of-range"


class VersionMissing(InvalidRecord):
    """The tenant declared ``sequence`` versions and this event has none."""

    code = "version-missing"


class UndecodableImage(InvalidRecord):
    """The bytes are no picture we can read: truncated, of an unknown kind, or hostile."""

    code = "undecodable-image"
    codes = ("decoder-crashed", "decoder-timeout", "undecodable-video")


class ImageTooLarge(InvalidRecord):
    """More bytes or more pixels than allowed."""

    code = "image-too-large"


class ImageRefused(InvalidRecord):
    """The place of the picture is one we do not read from: another scheme, a private address, outside the roots."""

    code = "image-refused"


class PictureRejected(InvalidRecord):
    """The picture is readable and of no use by this installation's own rules (FRESHLENS_GATE_REJECT, a scorer)."""

    code = "picture-rejected"


class PictureBlocked(InvalidRecord):
    """The picture looks like one on the block list."""

    code = "picture-blocked"


class SpaceMismatch(InvalidRecord):
    """A vector of another embedding space than this lane's."""

    code = "space-mismatch"


class InvalidVector(InvalidRecord):
    """A vector that is not finite, is all zeros, or has another dimension."""

    code = "invalid-vector"


class EncoderFailed(InvalidRecord):
    """The model raised on this very item after it had been tried alone."""

    code = "encoder-failed"


class WorkerCrashed(InvalidRecord):
    """The worker crashed three times with this record alone in hand; it was not read again."""

    code = "worker-crashed"


class SourceHeld(InvalidRecord):
    """Its source is held, by the watch or by hand: nothing of it is indexed until somebody releases it."""

    code = "source-held"


class RetriesExhausted(InvalidRecord):
    """A picture that was not there for the whole of the retry period."""

    code = "image-source-unavailable"


# --- TransientError: retry with backoff ---------------------------------------------------------------------


class TransientError(FreshlensError):
    """May work later: retry with backoff and do not advance."""

    code = "transient"


class BrokerUnavailable(TransientError):
    """No broker answered."""

    code = "broker-unavailable"


class StoreUnavailable(TransientError):
    """The object store did not answer, or refused."""

    code = "store-unavailable"


class ImageSourceUnavailable(TransientError):
    """The host of a picture did not answer, or answered that it cannot now.

    ``why`` is a word for a metric; ``retry_after_s`` says when it may be asked again.
    """

    code = "image-source-unavailable"

    def __init__(
        self, message: str, *, code: str | None = None, why: str = "unavailable", retry_after_s: float = 0.0
    ) -> None:
        super().__init__(message, code=code)
        self.why, self.retry_after_s = why, retry_after_s


class EncoderUnavailable(TransientError):
    """The encoder process did not answer."""

    code = "encoder-unavailable"


class ShardUnavailable(TransientError):
    """No replica of a shard answered."""

    code = "shard-unavailable"


class DeadlineExceeded(TransientError):
    """The time allowed for the request is used up."""

    code = "deadline-exceeded"


class Backpressure(FreshlensError):
    """Too much is in flight: slow down. A signal, not a fault; never logged as an error."""

    code = "backpressure"


class Overloaded(Backpressure):
    """The process has as many requests in hand as it may have."""

    code = "overloaded"


# --- StorageError: stop, and tell the operator --------------------------------------------------------------


class StorageError(FreshlensError):
    """State on disk or in the log is not what it must be: the process stops rather than answer from it."""

    code = "storage"


class ManifestCorrupt(StorageError):
    """A manifest or head cannot be read. Operator: ``freshlens generations rollback`` to an older head."""

    code = "manifest-corrupt"


class ChecksumMismatch(StorageError):
    """A file of a generation differs from its manifest. Operator: as for ManifestCorrupt; check the disk."""

    code = "checksum-mismatch"


class LogTruncated(StorageError):
    """The log begins after the offset we must continue at. Operator: restore a newer generation."""

    code = "log-truncated"


class LogChanged(StorageError):
    """The topic is not the one these offsets belong to, or we stand beyond its end.

    Operator: point to the right cluster, or remove the data directory to rebuild from this log.
    """

    code = "log-changed"


class LogRecordUnreadable(StorageError):
    """A record of ``index-log`` is of a schema newer than this program.

    Operator: upgrade this process, or give the record up with ``freshlens log void``.
    """

    code = "log-record-unreadable"


class SpaceChanged(StorageError):
    """The data belongs to another embedding space. Operator: set the old encoder, or use another data directory."""

    code = "space-changed"


class LayoutChanged(StorageError):
    """``index-log`` has another number of partitions than the layout. Operator: restore the count; never alter it."""

    code = "partition-count-changed"


class HeadExists(StorageError):
    """Another compactor published first. Operator: nothing; the build is dropped and tried again later."""

    code = "head-exists"


class EventsLost(StorageError):
    """Events were removed from an input topic before they were processed. Operator: re-publish them; see the range."""

    code = "events-lost"


class DigestMismatch(StorageError):
    """What a node serves is not what the log says (HOLES 24). Operator: it starts again from the store; look why."""

    code = "digest-mismatch"


class BuildRejected(StorageError):
    """A built generation failed a gate of its verification and was not published. Operator: read its report."""

    code = "build-rejected"


class DiskFull(StorageError, OSError):
    """A disk, or the store's quota, has no room. Operator: make room, or use a larger one; nothing half is kept.

    An OSError too, as whoever waits for a disk that cannot be written waits for this one.
    """

    code = "disk-full"


# --- QueryError: the client's to fix ------------------------------------------------------------------------


class QueryError(FreshlensError):
    """The request cannot be answered as it is; ``status`` is the HTTP status to say so with."""

    code = "invalid-query"
    status: ClassVar[int] = 400


class InvalidQuery(QueryError):
    """A value of the request is missing, contradictory or out of range."""


class UnknownField(QueryError):
    """A body field, or an attribute in a filter, that does not exist."""

    code = "unknown-field"


class FilterType(QueryError):
    """A filter compares an attribute with a value of another type than the attribute has."""

    code = "filter-type"


class Unauthorized(QueryError):
    """No key, or one that is not valid.

    Unknown, wrong, revoked or expired: which of these is not said.
    """

    code = "unauthorized"
    status = 401


class ScopeMissing(QueryError):
    """The key is valid and lacks the scope that the route needs."""

    code = "scope-missing"
    status = 403


class TenantRefused(QueryError):
    """The key belongs to one tenant, and the request is for another one or for all of them."""

    code = "tenant-refused"
    status = 403


class HostRefused(QueryError):
    """Without API keys only loopback is served, and the Host header names something else."""

    code = "host-refused"
    status = 403


class NotFound(QueryError):
    """No such product, thumbnail or route."""

    code = "not-found"
    status = 404


class RulesChanged(QueryError):
    """Business rules were to be written over a version that is not the newest any more: look at it, decide again."""

    code = "rules-changed"
    status = 409


class FreshnessUnmet(QueryError):
    """``require`` was set and the index has not reached the offset within ``wait_ms``."""

    code = "freshness-unmet"
    status = 412


class UnknownLogToken(QueryError):
    """A read token of another log."""

    code = "token-unknown-log"


class UploadTooLarge(QueryError):
    """The body is larger than allowed."""

    code = "upload-too-large"
    status = 413


class UnsupportedMediaType(QueryError):
    """A body that is neither JSON nor a picture we read."""

    code = "unsupported-media-type"
    status = 415


class QueryAbstained(QueryError):
    """This installation's policy has no answer to such a query."""

    code = "query-abstained"
    status = 422


class RateLimited(QueryError):
    """The key sends requests faster than it may.

    ``retry_after_s`` says when it may come again.
    """

    code = "rate-limited"
    status = 429

    def __init__(self, message: str, *, code: str | None = None, retry_after_s: float = 1.0) -> None:
        super().__init__(message, code=code)
        self.retry_after_s = retry_after_s


class QuotaUsed(RateLimited):
    """The key has used its requests of this day; the next day begins at midnight UTC."""

    code = "quota-used"


# --- DeadLetterLimit ---------------------------------------------------------------------------------------


class DeadLetterLimit(FreshlensError):
    """Too many records failed by our own fault: the worker is paused before the next one.

    Operator: repair and restart it, or let them become dead letters with ``freshlens dead-letters accept``.
    """

    code = "dead-letter-limit"


# --- SettingsError ------------------------------------------------------------------------------------------


class SettingsError(FreshlensError):
    """The process refuses to start; ``problems`` lists everything that is wrong at once."""

    code = "settings"
    codes = (
        "already-running",
        "port-in-use",
        "broker-start-failed",
        "processes-not-ready",
        "broker-jars-unavailable",
        "store-not-conditional",
    )

    def __init__(self, problems: "list[str] | str", *, code: str | None = None) -> None:
        self.problems = [problems] if isinstance(problems, str) else problems
        super().__init__("; ".join(self.problems), code=code)
