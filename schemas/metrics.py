"""Every metric, declared once: name, kind, labels and meaning. A misspelt name is a type error."""

from collections.abc import Mapping
from typing import Literal, NamedTuple, Protocol


class Metric(NamedTuple):
    """One declaration; the unit is the name's last word, in Prometheus base units."""

    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()


MetricName = Literal[
    "freshlens_events_total",
    "freshlens_dead_letters_total",
    "freshlens_retries_total",
    "freshlens_offers_ahead_total",
    "freshlens_encoded_items_total",
    "freshlens_encode_batch_seconds",
    "freshlens_text_tokens_total",
    "freshlens_embedding_cache_total",
    "freshlens_embedding_cache_bytes",
    "freshlens_ingest_stage_seconds",
    "freshlens_decode_seconds",
    "freshlens_picture_flags_total",
    "freshlens_views_refused_total",
    "freshlens_fetch_seconds",
    "freshlens_fetches_total",
    "freshlens_fetched_bytes_total",
    "freshlens_fetch_hosts_down_total",
    "freshlens_event_to_log_seconds",
    "freshlens_inflight_events",
    "freshlens_events_lost_total",
    "freshlens_own_faults",
    "freshlens_worker_paused",
    "freshlens_agreement_total",
    "freshlens_watch_alerts_total",
    "freshlens_watch_alarming_sources",
    "freshlens_records_applied_total",
    "freshlens_records_ignored_total",
    "freshlens_records_void_total",
    "freshlens_index_freshness_seconds",
    "freshlens_index_lag_records",
    "freshlens_index_skimming",
    "freshlens_index_products",
    "freshlens_index_rows",
    "freshlens_generation_number",
    "freshlens_generation_age_seconds",
    "freshlens_generations_refused_total",
    "freshlens_node_serving",
    "freshlens_shard_search_seconds",
    "freshlens_hot_searches_total",
    "freshlens_compactions_total",
    "freshlens_compaction_seconds",
    "freshlens_rejected_in_a_row",
    "freshlens_builds_deleted_total",
    "freshlens_requests_total",
    "freshlens_request_seconds",
    "freshlens_search_stage_seconds",
    "freshlens_search_warnings_total",
    "freshlens_no_match_total",
    "freshlens_rank_skipped_total",
    "freshlens_degraded_total",
    "freshlens_hedges_total",
    "freshlens_feedback_total",
    "freshlens_feedback_dropped_total",
]

METRICS: dict[MetricName, Metric] = {
    "freshlens_events_total": Metric("counter", "Input events finished, by what became of them.", ("topic", "outcome")),
    "freshlens_dead_letters_total": Metric("counter", "Records dead-lettered.", ("topic", "code")),
    "freshlens_retries_total": Metric("counter", "Events handed to product-retry.", ("code",)),
    "freshlens_offers_ahead_total": Metric(
        "counter", "Price changes put on index-log before their turn, from behind a flood.", ("topic",)
    ),
    "freshlens_encoded_items_total": Metric("counter", "Pictures and texts the model encoded.", ("kind",)),
    "freshlens_encode_batch_seconds": Metric("histogram", "Time of one encoder call."),
    "freshlens_text_tokens_total": Metric(
        "counter", "Tokens of encoded texts: seen by the model, or cut as beyond its context.", ("part",)
    ),
    "freshlens_embedding_cache_total": Metric("counter", "Look-ups in the embedding cache.", ("result",)),
    "freshlens_embedding_cache_bytes": Metric("gauge", "What the embedding cache holds on disk."),
    "freshlens_ingest_stage_seconds": Metric("histogram", "Time of an event in one stage of its ingest.", ("stage",)),
    "freshlens_decode_seconds": Metric("histogram", "Time to decode and check one picture."),
    "freshlens_picture_flags_total": Metric("counter", "Pictures by what the quality gate found.", ("flag",)),
    "freshlens_views_refused_total": Metric(
        "counter", "Pictures, frames and videos that were left out of a product, by the code that says why.", ("code",)
    ),
    "freshlens_fetch_seconds": Metric("histogram", "Time to fetch one picture.", ("scheme",)),
    "freshlens_fetches_total": Metric("counter", "Pictures asked for, by what came of it.", ("scheme", "result")),
    "freshlens_fetched_bytes_total": Metric("counter", "Bytes of pictures fetched.", ("scheme",)),
    "freshlens_fetch_hosts_down_total": Metric(
        "counter", "Times a host of pictures was found down, or busy by its word."
    ),
    "freshlens_event_to_log_seconds": Metric("histogram", "Append time of an event to its confirmation on index-log."),
    "freshlens_inflight_events": Metric("gauge", "Events delivered and not finished."),
    "freshlens_events_lost_total": Metric("counter", "Input events removed before they were processed.", ("topic",)),
    "freshlens_own_faults": Metric(
        "gauge", "Records among the last 1,000 of a worker that failed by our own fault.", ("role",)
    ),
    "freshlens_worker_paused": Metric("gauge", "1 while a worker is paused by too many of them.", ("role",)),
    "freshlens_agreement_total": Metric(
        "counter", "Products whose pictures and text were compared, by what came of it.", ("result",)
    ),
    "freshlens_watch_alerts_total": Metric("counter", "Sources that became alarming, by what is wrong.", ("measure",)),
    "freshlens_watch_alarming_sources": Metric("gauge", "Sources that are alarming in their present window."),
    "freshlens_records_applied_total": Metric("counter", "Records of index-log that changed something."),
    "freshlens_records_ignored_total": Metric("counter", "Records of index-log that lost.", ("reason",)),
    "freshlens_records_void_total": Metric("counter", "Records of index-log that mean nothing.", ("code",)),
    "freshlens_index_freshness_seconds": Metric("histogram", "Append time of an index-log record to visible."),
    "freshlens_index_lag_records": Metric("gauge", "Records of index-log not yet applied."),
    "freshlens_index_skimming": Metric("gauge", "1 while the delta is full and content is withheld."),
    "freshlens_index_products": Metric("gauge", "Products that can be found."),
    "freshlens_index_rows": Metric("gauge", "Live rows, by where they lie.", ("part",)),
    "freshlens_generation_number": Metric("gauge", "Sequence number of the head served."),
    "freshlens_generation_age_seconds": Metric("gauge", "Age of the generation served."),
    "freshlens_generations_refused_total": Metric(
        "counter", "Heads that a node could not restore; what it served before it serves on.", ("code",)
    ),
    "freshlens_node_serving": Metric("gauge", "1 while the node is SERVING."),
    "freshlens_shard_search_seconds": Metric("histogram", "Time of one search within a node.", ("plan",)),
    "freshlens_hot_searches_total": Metric(
        "counter",
        "Searches of a generation's rows: known from before (hit), known but too much has changed, or not known.",
        ("result",),
    ),
    "freshlens_compactions_total": Metric("counter", "Compactions, by how they ended.", ("outcome",)),
    "freshlens_compaction_seconds": Metric("histogram", "Time of one compaction."),
    "freshlens_rejected_in_a_row": Metric(
        "gauge", "Builds rejected since the newest head; from 2 on, somebody has to look.", ("shard",)
    ),
    "freshlens_builds_deleted_total": Metric("counter", "Builds that retention removed from the store."),
    "freshlens_requests_total": Metric("counter", "HTTP requests.", ("route", "status")),
    "freshlens_request_seconds": Metric("histogram", "Time of one HTTP request.", ("route",)),
    "freshlens_search_stage_seconds": Metric("histogram", "Time of one stage of a search.", ("stage",)),
    "freshlens_search_warnings_total": Metric("counter", "Warnings in answers.", ("warning",)),
    "freshlens_no_match_total": Metric("counter", "Searches answered with no match."),
    "freshlens_rank_skipped_total": Metric("counter", "Stages of ranking that were left out.", ("stage",)),
    "freshlens_degraded_total": Metric("counter", "Searches that left something out to save time.", ("step",)),
    "freshlens_hedges_total": Metric("counter", "Second replicas asked because the first was slow.", ("outcome",)),
    "freshlens_feedback_total": Metric("counter", "Searches and clicks handed to Kafka.", ("topic",)),
    "freshlens_feedback_dropped_total": Metric("counter", "Searches and clicks dropped.", ("topic", "reason")),
}


class Metrics(Protocol):
    """Where code reports to; ``freshlens.telemetry`` binds it to Prometheus."""

    def count(self, name: MetricName, amount: float = 1, **labels: str) -> None: ...

    def observe(self, name: MetricName, value: float, **labels: str) -> None: ...

    def observe_each(self, name: MetricName, label: str, values: Mapping[str, float]) -> None:
        """As ``observe`` for each value; the keys are those of its only label."""

    def gauge(self, name: MetricName, value: float, **labels: str) -> None: ...


class NullMetrics:
    """Reports to nobody."""

    def count(self, name: MetricName, amount: float = 1, **labels: str) -> None:
        pass

    def observe(self, name: MetricName, value: float, **labels: str) -> None:
        pass

    def observe_each(self, name: MetricName, label: str, values: Mapping[str, float]) -> None:
        pass

    def gauge(self, name: MetricName, value: float, **labels: str) -> None:
        pass


class RecordingMetrics:
    """Keeps what was reported, for tests: values by (name, sorted labels)."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}

    def count(self, name: MetricName, amount: float = 1, **labels: str) -> None:
        key = (name, tuple(sorted(labels.items())))
        self.values[key] = self.values.get(key, 0) + amount

    def observe(self, name: MetricName, value: float, **labels: str) -> None:
        self.values[name, tuple(sorted(labels.items()))] = value

    def observe_each(self, name: MetricName, label: str, values: Mapping[str, float]) -> None:
        for key, value in values.items():
            self.observe(name, value, **{label: key})

    def gauge(self, name: MetricName, value: float, **labels: str) -> None:
        self.values[name, tuple(sorted(labels.items()))] = value
