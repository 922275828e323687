"""docs/metrics.md and docs/topics.md are what the declarations say.

After a change of a declaration: ``python -m tests.docs.test_reference`` writes both pages anew.
"""

from pathlib import Path

import pytest

from schemas.metrics import METRICS
from topics.declarations import DAY_MS, FOREVER_MS, TOPICS, Topic

DOCS = Path(__file__).parents[2] / "docs"


def metrics_page() -> str:
    rows = [
        f"| `{name}` | {metric.kind} | {', '.join(f'`{label}`' for label in metric.labels)} | {metric.help} |"
        for name, metric in METRICS.items()
    ]
    return "\n".join(
        [
            "# Metrics",
            "",
            "`/metrics` of the query API has these in Prometheus' text, under `freshlens up` of every process of the",
            "machine; with `FRESHLENS_METRICS_PORT` a process serves its own. The last word of a name is its unit, in",
            "base units; `_total` is a count that only grows.",
            "",
            "| Metric | Kind | Labels | What it tells |",
            "| --- | --- | --- | --- |",
            *rows,
            "",
        ]
    )


def kept(topic: Topic) -> str:
    if topic.cleanup == "compact":
        return "newest of each key"
    return "for ever" if topic.retention_ms == FOREVER_MS else f"{topic.retention_ms / DAY_MS:.2g} d"


def topics_page() -> str:
    rows = [
        f"| `{topic.name}` | {topic.description} | {topic.key} | [`{topic.schema}`](../schemas/{topic.schema}.avsc) "
        f"| {', '.join(topic.producers)} | {', '.join(topic.consumers)} | {topic.partitions} | {kept(topic)} |"
        for topic in TOPICS.values()
    ]
    return "\n".join(
        [
            "# Topics",
            "",
            "`freshlens topics create` makes them, `diff` and `verify` compare a cluster with this page. Names take",
            "`FRESHLENS_TOPIC_PREFIX`. All timestamps are the broker's. No topic that carries versions is compacted by",
            "Kafka: its cleaner would keep the last record of a key, not the one of the greatest version, and so bring",
            "deleted products back.",
            "",
            "| Topic | What it carries | Key | Value | Written by | Read by | Partitions | Kept |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
            *rows,
            "",
        ]
    )


PAGES = {"metrics.md": metrics_page, "topics.md": topics_page}


@pytest.mark.parametrize("name", sorted(PAGES))
def test_the_page_is_what_the_declarations_say(name: str) -> None:
    assert (DOCS / name).read_text() == PAGES[name](), "run: python -m tests.docs.test_reference"


if __name__ == "__main__":
    for name, page in PAGES.items():
        (DOCS / name).write_text(page())
