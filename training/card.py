"""The model card, written from what was measured: no figure in it is typed by hand."""

from __future__ import annotations

from typing import Any

from training.batches import Sizes

_BASELINES = {"hsv_histogram": "colours", "hog": "edges", "untrained": "untrained", "imagenet": "ImageNet alone"}
_ROWS = (
    ("grocery_recall_1", "grocery phone photo → studio picture, among 81: recall@1", 0.60),
    ("grocery_recall_5", "recall@5", 0.88),
    ("grocery_recall_10", "recall@10", None),
    ("grocery_mrr", "mean reciprocal rank", None),
    ("grocery_tail_recall_1", "the 27 products with the fewest photos to learn from: recall@1", None),
    ("grocery_tail_recall_5", "recall@5", None),
    ("crowded_recall_1", "the same among 81 + 3,409 garments: recall@1", 0.50),
    ("crowded_recall_5", "recall@5", 0.78),
    ("clothing_precision_5", "garment category, precision@5 among validation photos", 0.80),
    ("clothing_train_precision_5", "precision@5 among training photos", None),
    ("clothing_map", "mean average precision among validation photos", None),
    ("drawn_recall_1", "drawn phone photo → product, among 20,000: recall@1", 0.90),
    ("drawn_recall_5", "recall@5", None),
    ("text_grocery_recall_5", "grocery title and category → studio picture, among 81: recall@5", 0.80),
    ("text_drawn_recall_1", "drawn title → studio picture, among 20,000: recall@1", None),
    ("text_drawn_recall_10", "recall@10", None),
    ("composed_precision_5", "“like this, in blue” on drawn products: precision@5", None),
)
_WORST_SHOWN = 10

_CARD = """# Bundled encoder

A small open_clip model (image and text tower, 256 numbers per picture or text) that makes Freshlens work without a
network. Set `FRESHLENS_ENCODER` to use another one. This card is written by `python -m training.export`.

| | |
| --- | --- |
| Image tower | timm `{trunk}`, {pixels} x {pixels} px, picture squashed to a square; begun with ImageNet's weights |
| Text tower | CLIP's vocabulary, {layers} layers of width {width}, {context} tokens; begun with the version before it |
| Parameters | {parameters:.1f} M, in fp16 {megabytes:.1f} MB; image trunk in int8 {trunk_megabytes:.1f} MB |
| Time | `docs/performance.md`, from `python -m benchmarks.encoder` |
| Load | `open_clip.create_model_and_transforms("local-dir:processors/bundled")`, tokenizer by the same name |

## Data

- Drawn products and phone photos of `freshlens.catalogue` (10,000 each of seeds 1001 and 1002, {drawn:,} of seed
  1003): made by this repository.
- GroceryStoreDataset, 2,640 `train` photos and 81 studio pictures with texts: MIT, (c) 2019 Marcus Klasson.
- clothing-dataset-small, 3,068 `train` photos in 10 categories: CC0.
- The image tower began with EfficientNet-Lite0 as Google learned it on ImageNet (weights: Apache-2.0; the pictures it
  learned from are ImageNet's, whose terms allow research). See `docs/adr/0012-the-trunk-begins-with-imagenet.md`;
  `--random-trunk` trains without.

`val` and `validation` pictures were never learned from, but the curves on them were watched, so the figures below are
slightly favourable.

## Recipe

{steps:,} steps of {pictures} pictures at {train_pixels} px, AdamW, moving average of the weights; the stem and the
first {frozen} stages stay as they began. One loss each for

- a learned point for every grocery product, garment category and drawn kind, and one for pictures without a product;
- a photo's studio picture first, among all studio pictures and the garments seen last;
- studio and phone picture of a drawn product, among 8,192 remembered ones; beside it in its batch are those that the
  model confuses it with;
- a drawn product's picture and words for another colour, whose answers are the products of its category in that colour;
- pictures and texts; pictures of nothing belong with words that mean nothing here, so that both lie away from products.

The run, its settings and curves: `training_run.json`, drawn in `docs/images/encoder-training.svg`.

Rows of the vocabulary that no text explained are zero: unknown words carry no meaning, other languages included.

## Figures

Measured on pictures not learned from, with the model as it is served where the processor multiplies eight bits itself
(elsewhere its trunk runs at float32, within these intervals): weights rounded to fp16, the trunk to eight bits,
which agree with float32 to {int8:.4f} in the hardest picture judged. In brackets the interval that holds 95 % of
bootstrap resamplings of the queries (296 grocery photos, 341 garments, 1,000 drawn photos). `figures.json` has all.

{figures}

Hardest products, recall@5: {worst}.

Photos made worse in five steps, recall@1 among 81: `docs/images/encoder-robustness.svg`. At the worst of five:
{faults}.
The same drawn product before four backgrounds: the same answer on all of them for {same:.0%}, recall@1 among 20,000
{swapped:.2f}.

## No match

`thresholds.json` holds the least cosine of the best answer: the least that turns down 99 % of foreign queries, but
never so much that over 2 % of good ones are turned down.

{no_match}

Where an answer is no match is asked for each kind of foreign picture, at that one threshold. *Known* are grocery and
drawn photos, and garments where garments are asked for:

{foreign}

A photo of a garment whose category the catalogue lacks mostly finds garments of other categories: to this model they
are alike. `freshlens calibrate` sets thresholds on a catalogue's own photos.

## Limits

Small print on packages is not read. Text works for the words of the training titles only, in English. A
picture with a word that changes it (“like this, in blue”) finds the other colour about every second time. Hard blur,
noise and JPEG at quality 4 cost a third of the recall. Faces and people mean nothing to it, by intent.

## Reproduce

    make setup && .venv/bin/pip install -e '.[training]' -c constraints.txt
    .venv/bin/python -m training.train  --datasets "$FRESHLENS_DATASETS" --out .work/encoder
    .venv/bin/python -m training.export --datasets "$FRESHLENS_DATASETS" --run .work/encoder --out processors/bundled

What ships was learned in three runs. The first, of 1,300 steps, begins as the command does; it was stopped and
continued: its moving average changed from 0.998 to 0.995 after 200 steps, the weight of the third loss from 0.3 to 0.8
and its memory from 4,096 to 8,192 after 650, and its text tower began with the version before. It saw neither shaking,
darkness and JPEG nor studio products before other backgrounds (`training/camera.py`, `training/backgrounds.py`). The
second begins with its weights and sees them
(`--start processors/bundled --steps 450 --learning-rate 0.001 --trunk-learning-rate 0.0004 --drawn-seed 1002`).
The third, whose curves these are, begins with the second's, and has look-alikes in its batches and wishes for another
colour (the same options but `--steps 700 --drawn-products 14000 --drawn-seed 1003 --seed 3`); its first 150 steps had
the learning rates of a run of 1,000.
So the command gives similar, not identical, weights.
"""


def written(
    figures: dict[str, Any],
    run: dict[str, Any],
    config: dict[str, Any],
    *,
    parameters: int,
    size_bytes: int,
    trunk_bytes: int,
) -> str:
    """The card.

    Args:
        figures: as `figures.json`.
        run: as `run.json`.
        config: as `open_clip_config.json`.
    """
    settings, model = run["settings"], config["model_cfg"]
    worst = [f"{name} {value:.2f}" for name, value in list(figures["by_product"].items())[:_WORST_SHOWN]]
    faults = [
        f"{name} {curve['recall_1'][-1]:.2f}" for name, curve in figures["robustness"].items() if name != "severities"
    ]
    return _CARD.format(
        trunk=model["vision_cfg"]["timm_model_name"],
        pixels=model["vision_cfg"]["image_size"],
        layers=model["text_cfg"]["layers"],
        width=model["text_cfg"]["width"],
        context=model["text_cfg"]["context_length"],
        parameters=parameters / 1e6,
        megabytes=size_bytes / 1e6,
        trunk_megabytes=trunk_bytes / 1e6,
        int8=figures["int8_cosine"],
        drawn=settings["drawn_products"],
        steps=run["curves"][-1]["step"],
        pictures=Sizes().pictures,
        train_pixels=settings["pixels"],
        frozen=settings["frozen_stages"],
        figures=_figures(figures),
        worst=", ".join(worst),
        faults=", ".join(faults),
        same=figures["background_swap"]["same_answer"],
        swapped=figures["background_swap"]["recall_1"],
        no_match=_levels("query", figures["no_match"]),
        foreign=_levels("foreign picture", figures["foreign"]),
    )


def _figures(figures: dict[str, Any]) -> str:
    beside = [name for name in _BASELINES if name in figures]
    head = ["", "model", "wanted", *(_BASELINES[name] for name in beside)]
    lines = [_row(head), _row(["---"] * len(head))]
    for name, said, target in _ROWS:
        mine = figures["model"][name]
        others = [f"{figures[each][name]['mean']:.2f}" if name in figures[each] else "" for each in beside]
        wanted = "" if target is None else f"{target:.2f}"
        lines.append(_row([said, f"**{mine['mean']:.2f}** ({mine['low']:.2f} – {mine['high']:.2f})", wanted, *others]))
    return "\n".join(lines)


def _levels(what: str, levels: dict[str, Any]) -> str:
    head = [what, "threshold", "good queries turned down", "foreign ones turned down", "AUROC"]
    lines = [_row(head), _row(["---"] * len(head))]
    for name, level in levels.items():
        rates = (level["false_reject_rate"], level["foreign_refused_rate"])
        lines.append(
            _row([name, f"{level['cosine_min']:.3f}", *(f"{rate:.1%}" for rate in rates), f"{level['auroc']:.2f}"])
        )
    return "\n".join(lines)


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
