"""Train the bundled encoder: `python -m training.train --datasets DIR --out DIR`.

Writes `checkpoint.pt` (continue with the same command) and `run.json` (settings and curves) to `--out`;
`python -m training.export` makes the files of `processors/bundled` from it.
"""

from __future__ import annotations

import argparse
import json
import math
import pickle
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import open_clip
import torch
import torch.nn.functional as fn
from safetensors.torch import load_file
from torch import Tensor, nn

from freshlens.catalogue import CATEGORIES
from training.batches import Batch, Batches
from training.embedding import embed_images
from training.evaluate import quick_figures
from training.guards import CollapseGuard
from training.losses import Memory, Prototypes, found_loss, text_loss, view_loss
from training.nothing import known_tokens, strange_words
from training.pack import Clothing, Drawn, Grocery, draw_products, load_clothing, load_grocery
from training.records import write_record
from training.texts import all_words
from training.trunk import encode_images, freeze, imagenet_weights

CONFIG = Path(__file__).parent
SERVED_PIXELS = 160
WIDTH = 256
_SAVED = ("model", "classes", "average", "optimiser")


@dataclass(frozen=True)
class Settings:
    """Everything that decides the result, and how often the run is looked at."""

    steps: int = 1300
    pixels: int = 128
    drawn_products: int = 10_000
    drawn_seed: int = 1001
    learning_rate: float = 2e-3
    trunk_learning_rate: float = 6e-4
    frozen_stages: int = 3
    weight_decay: float = 0.05
    average_decay: float = 0.995
    seed: int = 1
    threads: int = 1
    look_every_steps: int = 100


class Run:
    """The model, its moving average, the optimiser and the curves; saved and restored as one."""

    def __init__(self, settings: Settings, classes: int, categories: int, texts: list[str]) -> None:
        """`texts` hold every word that will be taught; other words of the vocabulary are zero and stay so."""
        torch.manual_seed(settings.seed)
        self.settings = settings
        self.model = open_clip.create_model(f"local-dir:{CONFIG}", load_weights=False)
        self.model = self.model.to(memory_format=torch.channels_last)
        self._first_category, self._first_kind = classes, classes + categories
        self._nothing = classes + categories + len(CATEGORIES)
        self.classes = Prototypes(self._nothing + 1, WIDTH)
        self.studio, self.crowd = Memory(4 * classes, WIDTH), Memory(2_048, WIDTH)
        self.drawn_studio, self.drawn_phone = Memory(8_192, WIDTH), Memory(8_192, WIDTH)
        self.looks = Memory(2_048, WIDTH)
        self.average = torch.optim.swa_utils.AveragedModel(
            self.model,
            multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(settings.average_decay),
            use_buffers=True,
        )
        self.tokenizer = open_clip.get_tokenizer(f"local-dir:{CONFIG}")
        self.known = known_tokens(self.tokenizer, texts)
        self.model.token_embedding.weight.register_hook(lambda gradient: gradient * self.known[:, None])
        self._forget_unknown_words()
        self.optimiser = torch.optim.AdamW(self._groups())
        self.guard = CollapseGuard("pictures")
        self.step = 0
        self.curves: list[dict[str, float]] = []

    def _groups(self) -> list[dict[str, Any]]:
        """Weights by how fast they learn and whether they decay."""
        modules = nn.ModuleDict({"model": self.model, "classes": self.classes})
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        freeze(self.model.visual.trunk, self.settings.frozen_stages)
        for name, parameter in modules.named_parameters():
            if not parameter.requires_grad:
                continue
            is_free = parameter.ndim < 2 or "embedding" in name or "points" in name
            rate = self.settings.trunk_learning_rate if ".trunk." in name else self.settings.learning_rate
            decay = 0.0 if is_free else self.settings.weight_decay
            groups.setdefault((rate, decay), []).append(parameter)
        return [
            {"params": parameters, "lr": rate, "peak": rate, "weight_decay": decay}
            for (rate, decay), parameters in groups.items()
        ]

    @torch.no_grad()
    def _forget_unknown_words(self) -> None:
        for model in (self.model, self.average.module):
            model.token_embedding.weight *= self.known[:, None]

    def state(self) -> dict[str, Any]:
        """All that `restore` needs."""
        parts = {name: getattr(self, name).state_dict() for name in _SAVED}
        return {**parts, "step": self.step, "curves": self.curves, "settings": asdict(self.settings)}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue where a saved run stopped; memories fill again within a hundred steps."""
        for name in _SAVED:
            getattr(self, name).load_state_dict(state[name])
        self.step, self.curves = state["step"], state["curves"]

    def begin_with(self, weights: dict[str, Tensor]) -> None:
        """Take these weights rather than random ones, wherever name and shape are the same."""
        own = self.model.state_dict()
        taken = {name: value for name, value in weights.items() if name in own and own[name].shape == value.shape}
        for model in (self.model, self.average.module):
            model.load_state_dict(taken, strict=False)
        self._forget_unknown_words()

    def learn(self, batches: Batches) -> dict[str, float]:
        """One step; returns the losses."""
        batch = batches.next(self.drawn_studio)
        for group in self.optimiser.param_groups:
            group["lr"] = group["peak"] * _share_of_peak(self.settings, self.step)
        images = encode_images(self.model, batch.images, self.settings.frozen_stages)
        with torch.autocast("cpu", torch.bfloat16):
            texts = self.model.encode_text(self.tokenizer(batch.texts + batch.wishes))
        width = self.guard.see(images)
        images, texts = fn.normalize(images.float(), dim=-1), fn.normalize(texts.float(), dim=-1)
        texts, wishes = texts.split([len(batch.texts), len(batch.wishes)])
        losses: dict[str, Tensor] = {
            **self._picture_losses(images, wishes, batch),
            "texts": 0.4 * text_loss(images, texts, batch.belongs, self.model.logit_scale.exp().clamp(max=50)),
        }
        self.optimiser.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimiser.step()
        self.average.update_parameters(self.model)
        self.step += 1
        return {**{name: loss.item() for name, loss in losses.items()}, "spread": width}

    def _picture_losses(self, images: Tensor, wishes: Tensor, batch: Batch) -> dict[str, Tensor]:
        labels = [batch.photo_labels, batch.studio_labels, batch.clothing_labels, batch.drawn, batch.drawn]
        sizes = [len(each) for each in labels]
        photos, studio, clothing, drawn_studio, drawn_phone, nothing = images.split([*sizes, len(images) - sum(sizes)])
        kinds = batch.drawn_kinds + self._first_kind
        nowhere = torch.full((len(nothing),), self._nothing)
        classes = torch.cat([*labels[:2], labels[2] + self._first_category, kinds, kinds, nowhere])
        self.studio.keep(studio, batch.studio_labels)
        self.looks.keep(drawn_studio, batch.looks)
        composed = fn.normalize(drawn_studio + wishes, dim=-1)
        losses = {
            "classes": self.classes(images, classes),
            "found": found_loss(photos, batch.photo_labels, self.studio, self.crowd),
            "views": 0.8 * view_loss(drawn_phone, drawn_studio, batch.drawn, self.drawn_studio)
            + 0.8 * view_loss(drawn_studio, drawn_phone, batch.drawn, self.drawn_phone),
            "composed": 0.3 * found_loss(composed, batch.wished, self.looks, self.crowd),
        }
        self.crowd.keep(clothing, batch.clothing_labels)
        self.drawn_studio.keep(drawn_studio, batch.drawn)
        self.drawn_phone.keep(drawn_phone, batch.drawn)
        return losses


def _share_of_peak(settings: Settings, step: int) -> float:
    warm = min(1.0, (step + 1) / (0.04 * settings.steps))
    return warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1, step / settings.steps))))


def train(run: Run, data: tuple[Grocery, Clothing, Drawn], out: Path) -> None:
    """Learn until the settings' last step, looking and saving on the way."""
    settings = run.settings
    strange = strange_words(run.tokenizer, run.known)
    batches = Batches(*data, strange, settings.pixels, settings.seed + run.step)
    started, sums = time.monotonic(), dict[str, float]()
    while run.step < settings.steps:
        run.model.train()
        freeze(run.model.visual.trunk, settings.frozen_stages)
        for name, loss in run.learn(batches).items():
            sums[name] = sums.get(name, 0.0) + loss / settings.look_every_steps
        if run.step % settings.look_every_steps == 0 or run.step == settings.steps:
            figures = quick_figures(partial(embed_images, run.average.module, pixels=SERVED_PIXELS), data[0], data[1])
            seconds = (time.monotonic() - started) / settings.look_every_steps
            run.curves.append({"step": run.step, "seconds_per_step": seconds, **sums, **figures})
            print(json.dumps({k: round(v, 4) for k, v in run.curves[-1].items()}), flush=True)
            started, sums = time.monotonic(), {}
            torch.save(run.state(), out / "checkpoint.tmp")
            (out / "checkpoint.tmp").replace(out / "checkpoint.pt")
            write_record(out, asdict(settings), run.curves, losses=("classes", "found", "views", "composed", "texts"))


def load_data(datasets: Path, settings: Settings, cache: Path) -> tuple[Grocery, Clothing, Drawn]:
    """All training pictures, kept in `cache` after the first time."""
    if cache.exists():
        with cache.open("rb") as file:
            cached: tuple[Grocery, Clothing, Drawn] = pickle.load(file)  # written by the lines below
            return cached
    data = load_grocery(datasets), load_clothing(datasets), draw_products(settings.drawn_products, settings.drawn_seed)
    with cache.open("wb") as file:
        pickle.dump(data, file, 4)
    return data


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datasets", type=Path, required=True, help="folder with grocery/ and clothing/")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="an open_clip folder whose weights to begin with, where they fit")
    parser.add_argument("--random-trunk", action="store_true", help="begin without the weights learned on ImageNet")
    for name, value in asdict(Settings()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    given = vars(parser.parse_args())
    datasets, out, start = given.pop("datasets"), given.pop("out"), given.pop("start")
    if is_random := given.pop("random_trunk"):
        given["frozen_stages"] = 0
    settings = Settings(**given)
    torch.set_num_threads(settings.threads)
    out.mkdir(parents=True, exist_ok=True)
    data = load_data(datasets, settings, out / "pack.pkl")
    run = Run(settings, len(data[0].studio), len(data[1].names), all_words(data))
    if not is_random:
        run.begin_with(imagenet_weights(run.model.visual.trunk, "visual.trunk."))
    if start is not None:
        run.begin_with(load_file(start / "open_clip_model.safetensors"))
    if (out / "checkpoint.pt").exists():
        run.restore(torch.load(out / "checkpoint.pt", weights_only=True))
    train(run, data, out)


if __name__ == "__main__":
    main()
