"""``freshlens calibrate``: the least similarity of a match, measured on queries with and without a product."""

from pathlib import Path
from typing import Any

import click
import msgspec

from freshlens import lane_file
from freshlens.calibration import calibrated, check_enough
from freshlens.cli.context import Context
from freshlens.cli.evaluate import encoded_pictures, entries
from query_api.search.no_match import Calibration, ModalityCalibration, calibration_key, read_calibration
from schemas.embeddings import Space, Vector
from schemas.errors import SettingsError, SpaceChanged

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_BATCH = 64


@click.command("calibrate")
@click.option("--catalogue", "catalogues", multiple=True, required=True, type=_FILE, help="JSON lines of products.")
@click.option("--known", required=True, type=_FILE, help="JSON lines of queries for what the catalogue has.")
@click.option("--foreign", required=True, type=_FILE, help="JSON lines of queries for what it has not.")
@click.option("--modality", type=click.Choice(["image", "text"]), default="image", show_default=True)
@click.option("--where", help="Only known queries whose KEY is VALUE, as in split=val.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Write calibration.json and .svg here.")
@click.option("--apply", is_flag=True, help="Put it into the store; an API that starts from now on goes by it.")
@click.pass_obj
def calibrate_command(
    context: Context,
    catalogues: tuple[Path, ...],
    known: Path,
    foreign: Path,
    modality: str,
    where: str | None,
    out: Path | None,
    apply: bool,
) -> None:
    """Choose the least similarity of a match for the encoder, and say how well it tells.

    Queries are lines with an image, or with a text or title for --modality text.

    \b
    Example:
        freshlens calibrate --catalogue products.jsonl --known photos.jsonl --foreign others.jsonl --out report --apply
    """
    from processors.encoders import kept_model
    from processors.encoders.open_clip_encoder import load_encoder

    name = context.encoder()
    if name.startswith("none:"):
        raise SettingsError("FRESHLENS_ENCODER=none has no model to calibrate")
    products = [entry["path"] for path in catalogues for entry in entries(path, None)]
    asked, others = _queries(known, modality, where), _queries(foreign, modality, None)
    check_enough(known=len(asked), foreign=len(others), catalogue=len(products))
    encoder = load_encoder(name, kept_in=kept_model.user_cache())
    if apply:
        _check_is_searched(context, encoder.space)
    measured = calibrated(
        _encoded(encoder, asked, known.name),
        _encoded(encoder, others, foreign.name),
        encoded_pictures(encoder, products, "catalogue"),
    )
    click.echo(in_words(measured, modality))
    if out is not None:
        _report(out, Calibration(str(encoder.space), {modality: measured}))
    if apply:
        _put(context, encoder.space, modality, measured)


def _check_is_searched(context: Context, space: Space) -> None:
    """An API reads the calibration of its own space: of another one it would never be read."""
    made_for = lane_file.read(context.data)
    if made_for is not None and made_for.space != str(space):
        raise SpaceChanged(
            f"{context.data} holds vectors of space {made_for.space} (encoder {made_for.encoder}), and this is {space}"
        )


def in_words(measured: ModalityCalibration, modality: str) -> str:
    """One line: the threshold and what it does."""
    areas = ", ".join(f"{name} {area:.3f}" for name, area in measured.auroc.items())
    return (
        f"{modality}: no match below {measured.threshold:.4f} ({measured.score}); turns down "
        f"{measured.false_rejects:.1%} of {measured.known:,} known and {measured.refused:.1%} of "
        f"{measured.foreign:,} foreign queries; AUROC {areas}"
    )


def _queries(path: Path, modality: str, where: str | None) -> list[Path] | list[str]:
    """Pictures, or texts."""
    if modality == "image":
        return [entry["path"] for entry in entries(path, where)]
    texts = []
    for entry in entries(path, where, pictured=False):
        text = entry.get("text") or entry.get("title")
        if not isinstance(text, str):
            raise SettingsError(f"{path}: a line has neither text nor title")
        texts.append(text)
    return texts


def _encoded(encoder: Any, queries: list[Path] | list[str], label: str) -> Vector:
    """(n, dim), n > 0."""
    if isinstance(queries[0], Path):
        return encoded_pictures(encoder, queries, label)
    import numpy as np

    batches = [encoder.encode_texts(queries[start : start + _BATCH]) for start in range(0, len(queries), _BATCH)]
    return np.concatenate(batches)


def _put(context: Context, space: Space, modality: str, measured: ModalityCalibration) -> None:
    store = context.store()
    before = read_calibration(store, space)
    modalities = {**(before.modalities if before else {}), modality: measured}
    store.put(calibration_key(space), msgspec.json.encode(Calibration(str(space), modalities)))
    click.echo(f"in the store as {calibration_key(space)}; restart the API to go by it")


def _report(folder: Path, calibration: Calibration) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "calibration.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(calibration), indent=1))
    written = [str(path)]
    try:
        import matplotlib as mpl
    except ImportError:
        click.echo("no plot: matplotlib is not installed")
    else:
        mpl.use("svg")
        written.append(str(_plot(folder, calibration)))
    click.echo(f"wrote {' and '.join(written)}")


def _plot(folder: Path, calibration: Calibration) -> Path:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(calibration.modalities), figsize=(5.0, 3.4), squeeze=False)
    for axis, (modality, measured) in zip(axes[0], calibration.modalities.items(), strict=True):
        for name in ("precision", "recall", "refused"):
            levels = [point.threshold for point in measured.curve]
            axis.plot(levels, [getattr(point, name) for point in measured.curve], label=name)
        axis.axvline(measured.threshold, color="grey", linestyle="--", linewidth=0.8, label="threshold")
        axis.set(
            xlabel=measured.score, ylim=(-0.02, 1.02), title=f"{modality}, AUROC {measured.auroc[measured.score]:.2f}"
        )
        axis.legend()
    figure.tight_layout()
    path = folder / "calibration.svg"
    figure.savefig(path)
    pyplot.close(figure)
    return path
