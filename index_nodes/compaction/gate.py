"""The gate before a build is published: read back as a node will read it, and asked what is asked of nodes."""

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import numpy as np

from index_nodes.compaction.build import digest_of_generation
from index_nodes.generations.generation import Generation
from index_nodes.generations.ivf import RECALL_FLOOR
from index_nodes.generations.manifest import Manifest
from index_nodes.products.digest import Digest, total
from index_nodes.replicas.applier import Applier
from index_nodes.rows.graph import NoGraphs
from index_nodes.views.search import search
from index_nodes.views.view import IndexView
from schemas.embeddings import Vector
from schemas.lane import Lane
from schemas.metrics import NullMetrics

QUERIES = 64
"""Each is answered exactly too, on both sides, which costs a scan of every row."""
_NEAREST = 10
_NOISE = 0.5
_ROUNDING = 1e-5
"""Equal vectors may score differently by less, depending on where they lie."""


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """Sampled queries, answered by the build and by what is served: the generation before it, and the log behind.

    ``served`` and ``built`` are the shares of the exact ten nearest found; ``differing`` counts queries whose exact
    answers are not the same on both sides.
    """

    queries: int = 0
    served: float = 1.0
    built: float = 1.0
    differing: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a build must not be served; empty: it may be."""

    reasons: tuple[str, ...]
    answers: Answers


def judge(written: Generation, manifest: Manifest, view: IndexView, lane: Lane, loss_max: float) -> Verdict:
    """Compare a build that was read back with the view that it was made of."""
    reasons = [*_content_reasons(written, manifest, view)]
    if reasons:
        return Verdict(tuple(reasons), Answers())  # what is not the same state cannot be asked the same questions
    answers = _compared(view, Applier(written, lane, NoGraphs(), NullMetrics()).view)
    reasons += _answer_reasons(answers, loss_max)
    if (recall := manifest.index.recall_at_10) < RECALL_FLOOR:
        reasons.append(f"finds {recall:.3f} of the ten nearest, not {RECALL_FLOOR}")
    return Verdict(tuple(reasons), answers)


def _content_reasons(written: Generation, manifest: Manifest, view: IndexView) -> Iterator[str]:
    built = (written.slots + manifest.dropped_tombstones, len(written), written.products)
    if built != (view.slots, view.live_rows, view.products):
        yield (
            f"holds {built[0]} slots, {built[1]} rows and {built[2]} products of a view that has "
            f"{view.slots}, {view.live_rows} and {view.products}"
        )
    declared, seen = total(map(Digest.parse, manifest.digests.values())), total(view.digests.values())
    if (found := digest_of_generation(written)) != declared:
        yield f"holds the state {found}, not {declared}"
    if declared.live != seen.live or (not manifest.dropped_tombstones and declared.tombstones != seen.tombstones):
        yield f"declares the state {declared}, but {seen} was folded"
    for slot in range(written.slots):
        if len(written.rows_of(slot)) != len(written.state(slot).views):
            yield f"lacks a view of product {written.keys.raw(slot)!r}"
            break


def _answer_reasons(answers: Answers, loss_max: float) -> Iterator[str]:
    if answers.differing:
        yield f"answers {answers.differing} of {answers.queries} exact queries otherwise than what is served"
    if answers.served - answers.built > loss_max:
        yield f"finds {answers.built:.3f} of the exact answers, what is served finds {answers.served:.3f}"


def _compared(served: IndexView, built: IndexView) -> Answers:
    queries = _sampled_queries(served)
    if not queries:
        return Answers()
    truths = [[_hits(view, tenant, query, exact=True) for view in (served, built)] for tenant, query in queries]
    found = [
        [
            _share(_hits(view, tenant, query, exact=False), truth)
            for view, truth in zip((served, built), both, strict=True)
        ]
        for (tenant, query), both in zip(queries, truths, strict=True)
    ]
    served_share, built_share = np.mean(found, axis=0).tolist()
    return Answers(
        queries=len(queries),
        served=round(served_share, 4),
        built=round(built_share, 4),
        differing=sum(not _agree(before, after) for before, after in truths),
    )


def _hits(view: IndexView, tenant: str, query: Vector, *, exact: bool) -> list[tuple[str, float]]:
    found = search(view, tenant=tenant, query=query, k=_NEAREST, exact=exact)
    return [(hit.product_id, hit.similarity) for hit in found.hits]


def _agree(before: list[tuple[str, float]], after: list[tuple[str, float]]) -> bool:
    """Whether two exact answers are the same, but for rounding and the choice among those that tie with the last."""
    if len(before) != len(after):
        return False
    scores = [(one, other) for (_, one), (_, other) in zip(before, after, strict=True)]
    if any(abs(one - other) > _ROUNDING for one, other in scores):
        return False
    return not before or _above(before, before[-1][1]) <= dict(after).keys()


def _above(hits: list[tuple[str, float]], least: float) -> set[str]:
    return {product_id for product_id, score in hits if score > least + 2 * _ROUNDING}


def _share(hits: list[tuple[str, float]], truth: list[tuple[str, float]]) -> float:
    """Of the exact answers, how many were found; one that scores as the last of them counts, as products may tie."""
    if not truth:
        return 1.0
    least = truth[-1][1] - _ROUNDING
    return min(len(truth), sum(score >= least for _, score in hits)) / len(truth)


def _sampled_queries(view: IndexView) -> list[tuple[str, Vector]]:
    """Products of the view, each moved by noise of half its length: near one, and like none exactly."""
    random = np.random.default_rng(1)
    queries: list[tuple[str, Vector]] = []
    for slot in random.permutation(view.slots).tolist():
        rows = view.rows(slot)
        if rows and view.state(slot).is_visible:
            vector = view.vector(rows[0]).astype(np.float32)
            noise = random.standard_normal(vector.shape).astype(np.float32)
            moved = vector + _NOISE * noise / np.linalg.norm(noise)
            queries.append((view.keys.key(slot).tenant, moved / np.linalg.norm(moved)))
            if len(queries) == QUERIES:
                break
    return queries
