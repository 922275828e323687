"""``freshlens evaluate``: how well an encoder finds products by photos, on files, without a running product."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import click
import numpy as np
import numpy.typing as npt
from rich.progress import track

from freshlens import evaluation
from freshlens.cli.context import Context
from freshlens.publishing import read_products
from schemas.embeddings import Vector
from schemas.errors import InvalidProduct, SettingsError

_BATCH = 64
Entry: TypeAlias = dict[str, Any]


@click.command("evaluate")
@click.option(
    "--catalogue",
    "catalogues",
    multiple=True,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="JSON lines of products; several times for several files.",
)
@click.option(
    "--queries",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="JSON lines of photos: image, and product_id (recall, MRR) or category (P@5).",
)
@click.option("--where", help="Only queries whose KEY is VALUE, as in split=val.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def evaluate_command(
    context: Context, catalogues: tuple[Path, ...], queries: Path, where: str | None, as_json: bool
) -> None:
    """Encode catalogue and photos, search exactly, and print recall@1/5/10, MRR and category P@5.

    \b
    Example:
        freshlens evaluate --catalogue grocery/products.jsonl --queries grocery/photos.jsonl --where split=val
    """
    from processors.encoders import kept_model
    from processors.encoders.open_clip_encoder import load_encoder

    name = context.encoder()
    if name.startswith("none:"):
        raise SettingsError("FRESHLENS_ENCODER=none has no model to evaluate")
    encoder = load_encoder(name, kept_in=kept_model.user_cache())
    products = [entry for path in catalogues for entry in entries(path, None)]
    photos = list(entries(queries, where))
    if not photos:
        raise SettingsError(f"no query in {queries} has {where}" if where else f"{queries} is empty")
    catalogue_vectors = encoded_pictures(encoder, [entry["path"] for entry in products], "catalogue")
    query_vectors = encoded_pictures(encoder, [entry["path"] for entry in photos], "queries")
    figures = measures(query_vectors, photos, catalogue_vectors, products)
    if as_json:
        click.echo(json.dumps(figures, indent=2))
        return
    click.echo(f"encoder {encoder.encoder_id}, {len(products):,} products, {len(photos):,} queries")
    for measure, value in figures.items():
        click.echo(f"{measure:>12}  {value:.4f}")


def measures(
    query_vectors: Vector, queries: Sequence[Entry], catalogue_vectors: Vector, products: Sequence[Entry]
) -> dict[str, float]:
    """recall@1/5/10 and MRR where a product has the query's product_id, P@5 where it has its category.

    A query without a category has that of its product. A measure without any query that it applies to is left out. A
    picture that is itself in the catalogue says nothing by finding itself: it has no recall, and itself is no answer.
    """
    categories = {entry["product_id"]: entry.get("category") for entry in products}
    own = {entry["path"].resolve() for entry in products if "path" in entry}
    finds_itself = np.array(["path" in query and query["path"].resolve() in own for query in queries])
    figures: dict[str, float] = {}
    known = (row for row, query in enumerate(queries) if query.get("product_id") in categories)
    by_id = [row for row in known if not finds_itself[row]]
    if by_id:
        hits = _hits(query_vectors, queries, catalogue_vectors, products, by_id, lambda entry: entry["product_id"])
        figures |= {f"recall@{k}": evaluation.recall_at(hits, k) for k in (1, 5, 10)}
        figures["mrr"] = evaluation.mean_reciprocal_rank(hits)

    def category(entry: Entry) -> Any:
        return entry.get("category") or categories.get(entry.get("product_id"))

    by_category = [row for row, query in enumerate(queries) if category(query)]
    if by_category:
        hits = _hits(query_vectors, queries, catalogue_vectors, products, by_category, category)
        itself = finds_itself[by_category]
        hits[itself, :-1] = hits[itself, 1:]  # with a cosine of 1 it comes first, or a copy of it does
        hits[itself, -1] = False
        figures["p@5"] = evaluation.precision_at(hits, 5)
    return figures


def _hits(
    query_vectors: Vector,
    queries: Sequence[Entry],
    catalogue_vectors: Vector,
    products: Sequence[Entry],
    rows: Sequence[int],
    label: Callable[[Entry], Any],
) -> evaluation.Hits:
    numbers: dict[Any, int] = {}
    known = np.array([numbers.setdefault(label(entry), len(numbers)) for entry in products])
    asked = np.array([numbers.get(label(queries[row]), -1) for row in rows])
    return evaluation.ranked_hits(query_vectors[list(rows)], asked, catalogue_vectors, known, depth=100)


def entries(path: Path, where: str | None, *, pictured: bool = True) -> Iterator[dict[str, Any]]:
    """The lines of a file, each with the ``path`` of its first picture; ``pictured`` False: it need not have one."""
    key, _, value = (where or "").partition("=")
    for name, line in read_products(path):
        if isinstance(line, InvalidProduct):
            raise SettingsError(f"{path}, {name}: {line}")
        if where and str(line.get(key)) != value:
            continue
        picture = line.get("image") or next(iter(line.get("images") or []), None)
        if not pictured:
            yield dict(line)
            continue
        if not isinstance(picture, str):
            raise SettingsError(f"{path}, {name}: no image")
        yield {**line, "path": path.parent / picture}


def encoded_pictures(encoder: Any, paths: list[Path], label: str) -> Vector:
    """(n, dim) vectors of picture files; ``label`` names what is under way."""
    from processors.pictures.decode import decode

    batches: list[npt.NDArray[np.float32]] = []
    for start in track(range(0, len(paths), _BATCH), description=label, transient=True):
        pictures = [decode(path.read_bytes(), encoder.form).pixels for path in paths[start : start + _BATCH]]
        batches.append(encoder.encode_images(np.stack(pictures)))
    return np.concatenate(batches)
