"""What a back-fill is: everything that a worker of it, on this machine or another, has to know."""

from dataclasses import dataclass, field

from freshlens.backfill.dates import DumpDate
from freshlens.backfill.dump import Dump
from streams.settings import StreamsSettings


@dataclass(frozen=True)
class Job:
    """What a worker of a back-fill is told; it pickles.

    Attributes:
        embeddings: URL of the store of embeddings.
        started_at_ms: the broker's or this machine's time when the load began.
        popularity: the column that orders the rows, if any.
        environ: what the worker's environment must have besides, such as the way to a bucket.
    """

    dump: Dump
    tenant: str
    settings: StreamsSettings
    date: DumpDate
    embeddings: str
    started_at_ms: int
    popularity: str | None = None
    environ: dict[str, str] = field(default_factory=dict, repr=False)
