"""One training batch: which pictures and texts, in which order, and what belongs together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from freshlens.catalogue import CATEGORIES
from freshlens.catalogue.palette import COLOUR_NAMES
from training.augment import DRAWN, PHOTO, STUDIO, WORN, Strength, augmented
from training.backgrounds import before_another
from training.losses import Memory
from training.mining import LookAlikes
from training.nothing import pictures_of_nothing, texts_of_nothing
from training.pack import Clothing, Drawn, Grocery, Photos
from training.texts import clothing_text, drawn_text, grocery_text, wish


@dataclass(frozen=True)
class Sizes:
    """Pictures per batch, by source. Drawn products count twice: studio picture and phone photo.

    Beside some of them are so many others that the model confuses with them.
    """

    photos: int = 48
    staged: int = 8
    studio: int = 16
    clothing: int = 48
    drawn: int = 64
    drawn_categories: int = 4
    look_alikes: int = 3
    nothing: int = 8
    texts_of_nothing: int = 16

    @property
    def pictures(self) -> int:
        """Of a whole batch."""
        return self.photos + self.staged + self.studio + self.clothing + 2 * self.drawn + self.nothing


@dataclass(frozen=True)
class Batch:
    """Pictures in the order grocery photos, grocery studio, clothing, drawn studio, drawn phone, pictures of nothing.

    `drawn` numbers the drawn products, `looks` says which of them are of one category and colour; `belongs` pairs
    pictures with texts. `wishes` ask for each drawn product as it would be in another colour, and `wished` are the
    looks that would be right.
    """

    images: Tensor
    photo_labels: Tensor
    studio_labels: Tensor
    clothing_labels: Tensor
    drawn: Tensor
    drawn_kinds: Tensor
    looks: Tensor
    wished: Tensor
    wishes: list[str]
    texts: list[str]
    belongs: Tensor


class Batches:
    """An endless, seeded source of class-balanced batches; `strange` are words that training never explains."""

    def __init__(
        self, grocery: Grocery, clothing: Clothing, drawn: Drawn, strange: list[str], pixels: int, seed: int
    ) -> None:
        self._strange = strange
        self._grocery, self._clothing, self._drawn = grocery, clothing, drawn
        self._pixels = pixels
        self._sizes = Sizes()
        self.rng = np.random.default_rng(seed)
        self.torch_rng = torch.Generator().manual_seed(seed)
        self._kinds = np.array([item.number % len(CATEGORIES) for item in drawn.products])
        self._colours = np.array([COLOUR_NAMES.index(item.colour) for item in drawn.products])
        self._looks = self._kinds * len(COLOUR_NAMES) + self._colours
        self._by_kind = [np.flatnonzero(self._kinds == kind) for kind in range(len(CATEGORIES))]
        self._photos_by_class = _by_class(grocery.train, power=0.5)
        self._clothes_by_class = _by_class(clothing.train, power=0.5)

    def next(self, remembered: Memory | None = None) -> Batch:
        """The next batch.

        Args:
            remembered: drawn studio pictures as they were embedded last; None: look-alikes are drawn at random.
        """
        grocery, grocery_labels = self._grocery_part()
        worn = self._rng_choice(self._clothes_by_class, self._sizes.clothing)
        clothing_labels = self._clothing.train.labels[worn]
        shown = self._drawn_part(LookAlikes(remembered) if remembered is not None else None)
        shots = self._drawn.phone[shown, self.rng.integers(0, self._drawn.phone.shape[1], len(shown))]
        images = torch.cat([
            grocery,
            self._augmented(self._clothing.train.images[worn], WORN),
            self._augmented(self._drawn.studio[shown], DRAWN),
            self._augmented(shots, DRAWN),
            self._augmented(pictures_of_nothing(self._sizes.nothing, self.rng), STUDIO),
        ])  # fmt: skip
        texts, belongs = self._texts(grocery_labels, clothing_labels, shown)
        wished = self._wished(shown)
        in_shops = self._sizes.photos + self._sizes.staged
        labels = (grocery_labels[:in_shops], grocery_labels[in_shops:], clothing_labels, shown)
        of_drawn = (self._kinds[shown], self._looks[shown], self._looks[wished])
        return Batch(
            images.contiguous(memory_format=torch.channels_last),
            *map(torch.from_numpy, (*labels, *of_drawn)),
            [wish(self._drawn.products[number], self.rng) for number in wished],
            texts,
            belongs,
        )

    def _grocery_part(self) -> tuple[Tensor, NDArray[np.int64]]:
        grocery, sizes = self._grocery, self._sizes
        photos = self._rng_choice(self._photos_by_class, sizes.photos)
        staged = self.rng.integers(0, len(grocery.staged.labels), sizes.staged)
        studio = self.rng.choice(len(grocery.studio), sizes.studio, replace=False)
        images = torch.cat([
            self._augmented(grocery.train.images[photos], PHOTO),
            self._augmented(grocery.staged.images[staged], STUDIO),
            self._augmented(before_another(grocery.studio[studio], 0.5, grocery.train.images, self.rng), STUDIO),
        ])  # fmt: skip
        labels = [grocery.train.labels[photos], grocery.staged.labels[staged], studio]
        return images, np.concatenate(labels)

    def _drawn_part(self, known: LookAlikes | None) -> NDArray[np.int64]:
        """Products of a few categories, and beside each of the first of a category its look-alikes."""
        kinds = self.rng.choice(len(CATEGORIES), self._sizes.drawn_categories, replace=False)
        each = self._sizes.drawn // self._sizes.drawn_categories
        return np.concatenate([self._of_kind(self._by_kind[kind], each, known) for kind in kinds])

    def _of_kind(self, among: NDArray[np.int64], count: int, known: LookAlikes | None) -> NDArray[np.int64]:
        drawn = self.rng.permutation(among)[:count].tolist()
        if known is None:
            return np.array(drawn)
        seeds = drawn[: count // (1 + self._sizes.look_alikes)]
        confused = [other for seed in seeds for other in known.of(seed, among, self._sizes.look_alikes)]
        return np.array(list(dict.fromkeys([*seeds, *confused, *drawn]))[:count])

    def _wished(self, shown: NDArray[np.int64]) -> NDArray[np.int64]:
        """For each product another of the batch, of its category and where there is one of another colour."""
        return np.array([self._in_another_colour(number, shown) for number in shown.tolist()])

    def _in_another_colour(self, number: int, shown: NDArray[np.int64]) -> int:
        is_other = (self._kinds[shown] == self._kinds[number]) & (self._colours[shown] != self._colours[number])
        return int(self.rng.choice(shown[is_other])) if is_other.any() else number

    def _texts(
        self, grocery: NDArray[np.int64], clothing: NDArray[np.int64], shown: NDArray[np.int64]
    ) -> tuple[list[str], Tensor]:
        """One text per grocery product, garment category and drawn product of the batch, and some about nothing.

        Pictures of nothing and texts about nothing belong together, so that both lie away from every product.
        """
        named = [(0, int(c)) for c in np.unique(grocery)] + [(1, int(c)) for c in np.unique(clothing)]
        named += [(2, int(i)) for i in shown]
        texts = [self._text(*name) for name in named]
        keys = [(0, int(c)) for c in grocery] + [(1, int(c)) for c in clothing] + 2 * [(2, int(i)) for i in shown]
        wanted = dict(zip(named, texts, strict=True))
        strange = texts_of_nothing(self._sizes.texts_of_nothing, self._strange, self.rng)
        belongs = torch.zeros(len(keys) + self._sizes.nothing, len(texts) + len(strange), dtype=torch.bool)
        belongs[: len(keys), : len(texts)] = torch.tensor([[wanted[key] == text for text in texts] for key in keys])
        belongs[len(keys) :, len(texts) :] = True
        return texts + strange, belongs

    def _text(self, source: int, number: int) -> str:
        if source == 0:
            return grocery_text(self._grocery.texts[number], self.rng)
        if source == 1:
            return clothing_text(self._clothing.names[number], self.rng)
        return drawn_text(self._drawn.products[number], self.rng)

    def _augmented(self, images: NDArray[np.uint8], strength: Strength) -> Tensor:
        return augmented(images, strength, self._pixels, self.torch_rng)

    def _rng_choice(self, weights: NDArray[np.float64], count: int) -> NDArray[np.int64]:
        return self.rng.choice(len(weights), count, replace=False, p=weights)


def _by_class(photos: Photos, power: float) -> NDArray[np.float64]:
    """The chance of each photo when classes are drawn in proportion to their size to the `power`."""
    sizes = np.bincount(photos.labels).astype(np.float64)
    weights = (sizes ** (power - 1))[photos.labels]
    chances: NDArray[np.float64] = weights / weights.sum()
    return chances
