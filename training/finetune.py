"""Fine-tune an open_clip checkpoint on a catalogue's own clicks: docs/encoders.md has the whole way.

    python -m training.finetune --checkpoint DIR --pairs DIR --catalogue products.jsonl --out DIR

Writes an open_clip folder to `--out`/model, `run.json` and `run.svg`, and `checkpoint.pt`, from which the same command
goes on.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as fn
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from freshlens.evaluation import ranked_hits, recall_at
from processors import bundled
from processors.encoders.encoder import PictureForm
from processors.encoders.open_clip_encoder import AUTO, picture_form, space_of, torch_device
from schemas.errors import SettingsError
from topics.store import open_store
from training.augment import STUDIO, Strength, augmented, normalised
from training.clicks import Clicks, Pair, Shop, alike, load_clicks, load_shop
from training.guards import CollapseGuard
from training.records import write_record

ALIKE_COSINE = 0.95
"""More alike, and one is no wrong answer for the other."""
VIEWS_SHARE = 0.5
CONFIG = "open_clip_config.json"
WEIGHTS = "open_clip_model.safetensors"
_SAVED = ("model", "optimiser")
_OF_ITS_TRAINING = ("figures.json", "release.json", "run.json", "thresholds.json", "training_run.json")
"""What a folder says of the weights that were there."""


@dataclass(frozen=True)
class Settings:
    """Everything that decides the result beside the data."""

    steps: int = 500
    batch: int = 64
    learning_rate: float = 1e-5
    weight_decay: float = 0.05
    scale_max: float = 50.0
    seed: int = 1
    look_every_steps: int = 50


CATALOGUE = replace(STUDIO, faults=0.1)
"""A catalogue's pictures suffer less from cameras than its shoppers' photos, which are in the pairs as they came."""


class Form:
    """How the checkpoint wants its pictures: side, mean and deviation."""

    def __init__(self, model: Any, device: torch.device) -> None:
        config = open_clip.get_model_preprocess_cfg(model)
        self.pictures: PictureForm = picture_form(config)
        self._device = device
        self._mean, self._std = (torch.tensor(config[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
        black, white = (normalised(torch.full((1, 3, 1, 1), shade)) for shade in (0.0, 1.0))
        self._black, self._contrast = black, white - black

    def plain(self, pixels: NDArray[np.uint8]) -> Tensor:
        """(n, side, side, 3) uint8 → (n, 3, side, side) float32 on the device."""
        return self._formed(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255)

    def changed(self, pixels: NDArray[np.uint8], strength: Strength, generator: torch.Generator) -> Tensor:
        """The same, each picture changed at random as for training."""
        made = augmented(pixels, strength, self.pictures.size, generator)
        return self._formed((made - self._black) / self._contrast)

    def _formed(self, shades: Tensor) -> Tensor:
        return ((shades - self._mean) / self._std).to(self._device)


class Run:
    """The model, the optimiser and the curves; saved and restored as one."""

    def __init__(self, checkpoint: Path, settings: Settings, device: torch.device) -> None:
        torch.manual_seed(settings.seed)
        self.settings, self.device = settings, device
        self.model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{checkpoint}")
        self.model = self.model.to(device)
        self.tokenizer = open_clip.get_tokenizer(f"local-dir:{checkpoint}")
        self.form = Form(self.model, device)
        flat = [weights for weights in self.model.parameters() if weights.ndim < 2]
        deep = [weights for weights in self.model.parameters() if weights.ndim >= 2]
        groups = [{"params": deep, "weight_decay": settings.weight_decay}, {"params": flat, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=settings.learning_rate)
        self.guards = CollapseGuard("pictures"), CollapseGuard("texts")
        self.step = 0
        self.curves: list[dict[str, float]] = []

    def save(self, out: Path) -> None:
        """All that `restore` needs, replaced as a whole."""
        state = {name: getattr(self, name).state_dict() for name in _SAVED}
        torch.save(
            {**state, "step": self.step, "curves": self.curves, "settings": asdict(self.settings)}, out / "c.tmp"
        )
        (out / "c.tmp").replace(out / "checkpoint.pt")

    def restore(self, out: Path) -> None:
        """Continue where a saved run stopped.

        Raises:
            SettingsError: it was made with other settings; only more steps are the same run.
        """
        state = torch.load(out / "checkpoint.pt", weights_only=True, map_location=self.device)
        other = {k: v for k, v in asdict(self.settings).items() if k != "steps" and state["settings"].get(k) != v}
        if other:
            raise SettingsError(f"{out}/checkpoint.pt was made with other settings than {other}: use another --out")
        for name in _SAVED:
            getattr(self, name).load_state_dict(state[name])
        self.step, self.curves = state["step"], state["curves"]

    def learn(self, shop: Shop, pairs: list[Pair]) -> dict[str, float]:
        """One step on these pairs; returns the losses and spreads.

        Raises:
            Collapsed: see :class:`CollapseGuard`.
        """
        generator = torch.Generator().manual_seed(self.settings.seed * 1_000_003 + self.step)
        torch.manual_seed(self.settings.seed * 1_000_003 + self.step)
        self.model.train()
        for norm in (each for each in self.model.modules() if isinstance(each, nn.modules.batchnorm._BatchNorm)):
            norm.eval()  # a batch of clicks is no sample of what will be encoded
        rows = np.array([pair.product for pair in pairs])
        first, second = (self.form.changed(shop.pixels[rows], CATALOGUE, generator) for _ in range(2))
        raw = self.model.encode_image(torch.cat([first, second]))
        spreads = {"picture_spread": self.guards[0].see(raw)}
        images, views = fn.normalize(raw.float(), dim=-1).split(len(pairs))
        queries = self._queries(pairs, spreads)
        weights = torch.tensor([pair.weight for pair in pairs], device=self.device)
        asked = torch.tensor([pair.text is None for pair in pairs], device=self.device)
        same_text = torch.tensor([[one.text == other.text for other in pairs] for one in pairs], device=self.device)
        same = torch.from_numpy(alike(shop, rows, rows)).to(self.device)
        guarded = same | (same_text & ~asked[:, None]) | _near(queries) | _near(images)
        scale = self.model.logit_scale.exp().clamp(max=self.settings.scale_max)
        losses = {
            "clicked_loss": weighted_infonce(queries, images, guarded, weights, scale),
            "views_loss": VIEWS_SHARE
            * weighted_infonce(images, views, same | _near(images), torch.ones_like(weights), scale),
        }
        self.optimiser.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        return {**{name: loss.item() for name, loss in losses.items()}, **spreads}

    def _queries(self, pairs: list[Pair], spreads: dict[str, float]) -> Tensor:
        """(n, dim) unit vectors: of texts by the text tower, of photos as they were when they were asked."""
        texts = [pair.text for pair in pairs if pair.text is not None]
        spoken = iter(())
        if texts:
            raw = self.model.encode_text(self.tokenizer(texts).to(self.device))
            if len(set(texts)) > 1:
                spreads["text_spread"] = self.guards[1].see(raw)
            spoken = iter(fn.normalize(raw.float(), dim=-1))
        rows = [
            next(spoken) if pair.text is not None else torch.tensor(pair.embedding).to(self.device) for pair in pairs
        ]
        return torch.stack(rows)

    def recall(self, shop: Shop, pairs: list[Pair], k: int = 10) -> float:
        """Recall@k of these pairs among all products."""
        self.model.eval()
        with torch.inference_mode():
            parts = [
                self.model.encode_image(self.form.plain(shop.pixels[i : i + 64]))
                for i in range(0, len(shop.pixels), 64)
            ]
            catalogue = fn.normalize(torch.cat(parts).float(), dim=-1).cpu().numpy()
            queries = torch.cat([self._queries(pairs[i : i + 64], {}) for i in range(0, len(pairs), 64)]).cpu().numpy()
        wanted = np.array([pair.product for pair in pairs])
        return recall_at(ranked_hits(queries, wanted, catalogue, np.arange(len(catalogue)), k), k)


def _near(vectors: Tensor) -> Tensor:
    return vectors.detach() @ vectors.detach().T > ALIKE_COSINE


def weighted_infonce(one: Tensor, other: Tensor, guarded: Tensor, weights: Tensor, scale: Tensor) -> Tensor:
    """InfoNCE both ways: row i of ``one`` belongs to row i of ``other``.

    Args:
        guarded: (n, n) booleans: pairs that are no wrong answers; the diagonal does not matter.
        weights: (n,) above 0, how much each row counts.
    """
    own = torch.eye(len(one), dtype=torch.bool, device=one.device)
    logits = (scale * one @ other.T).masked_fill(guarded & ~own, -torch.inf)
    back = (scale * other @ one.T).masked_fill(guarded.T & ~own, -torch.inf)
    labels = torch.arange(len(one), device=one.device)
    losses = fn.cross_entropy(logits, labels, reduction="none") + fn.cross_entropy(back, labels, reduction="none")
    return (losses * weights).sum() / (2 * weights.sum())


def batch_of(pairs: list[Pair], settings: Settings, step: int) -> list[Pair]:
    """The pairs of a step: each pair once an epoch, in an order that seed and epoch decide."""
    size = min(settings.batch, len(pairs))
    each = len(pairs) // size
    order = np.random.default_rng((settings.seed, step // each)).permutation(len(pairs))
    return [pairs[row] for row in order[(step % each) * size :][:size]]


def finetune(run: Run, shop: Shop, clicks: Clicks, out: Path) -> None:
    """Learn until the last step, looking, recording and saving on the way.

    Raises:
        SettingsError: too few pairs.
        Collapsed: nothing of that step was saved.
    """
    learned = [pair for pair in clicks.pairs if not pair.is_held_out]
    kept = [pair for pair in clicks.pairs if pair.is_held_out]
    if len(learned) < 2 or not kept:
        raise SettingsError(f"{len(clicks.pairs)} pairs are too few (left out: {dict(clicks.left_out)})")
    counts = {
        "pairs": len(learned),
        "held_out": len(kept),
        "left_out": dict(clicks.left_out),
        "products": len(shop.product_ids),
    }
    every = run.settings.look_every_steps
    if not run.curves:
        _look(run, {"held_out_recall_10": run.recall(shop, kept)})
    sums, began = dict[str, float](), time.monotonic()
    while run.step < run.settings.steps:
        for name, value in run.learn(shop, batch_of(learned, run.settings, run.step)).items():
            sums[name] = sums.get(name, 0.0) + value
        if run.step % every == 0 or run.step == run.settings.steps:
            steps = run.step - int(run.curves[-1]["step"])
            means = {name: total / steps for name, total in sums.items()}
            pace = {"seconds_per_step": (time.monotonic() - began) / steps}
            _look(run, {**means, **pace, "held_out_recall_10": run.recall(shop, kept)})
            run.save(out)
            write_record(out, asdict(run.settings), run.curves, data=counts)
            sums, began = {}, time.monotonic()


def _look(run: Run, figures: dict[str, float]) -> None:
    run.curves.append({"step": run.step, **figures})
    print(json.dumps({name: round(value, 4) for name, value in run.curves[-1].items()}), flush=True)


def write_model(model: Any, checkpoint: Path, out: Path) -> None:
    """An open_clip folder: the checkpoint's configuration and tokenizer, the new weights, a space of its own."""
    out.mkdir(parents=True, exist_ok=True)
    for file in checkpoint.iterdir():
        if file.is_file() and file.suffix in (".json", ".txt", ".model") and file.name not in _OF_ITS_TRAINING:
            shutil.copy(file, out / file.name)
    config = json.loads((checkpoint / CONFIG).read_text())
    config.pop("space", None)  # other weights, other vectors: the space is named after them
    (out / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
    weights = {name: each.detach().cpu().contiguous().clone() for name, each in model.state_dict().items()}
    save_file(weights, out / WEIGHTS)


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="bundled", help="`bundled`, or an open_clip folder")
    parser.add_argument("--pairs", type=Path, required=True, help="folder of `freshlens export training-pairs --to`")
    parser.add_argument("--catalogue", type=Path, action="append", required=True, help="JSON lines; may be repeated")
    parser.add_argument("--store", help="URL of a store whose originals are named by content_hash in the lines")
    parser.add_argument("--tenant", default="default")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default=AUTO, help="auto, cpu, cuda or cuda:N")
    for name, value in asdict(Settings()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    given = vars(parser.parse_args(arguments))
    settings = Settings(**{name: given[name] for name in asdict(Settings())})
    checkpoint = bundled.FOLDER if given["checkpoint"] == "bundled" else Path(given["checkpoint"])
    space, out = space_of(given["checkpoint"]), given["out"]
    out.mkdir(parents=True, exist_ok=True)
    run = Run(checkpoint, settings, torch_device(given["device"]))
    if (out / "checkpoint.pt").exists():
        run.restore(out)
    shop = load_shop(given["catalogue"], run.form.pictures, open_store(given["store"]) if given["store"] else None)
    finetune(run, shop, load_clicks(given["pairs"], shop, space, given["tenant"]), out)
    write_model(run.model, checkpoint, out / "model")
    print(f"wrote {out / 'model'}; next: python -m training.release --candidate {out / 'model'}")


if __name__ == "__main__":
    main()
