"""The losses fall when what belongs together lies together."""

import pytest
import torch
import torch.nn.functional as fn

from training.losses import Prototypes, spread, text_loss, view_loss


def _unit(rows: int, seed: int = 0) -> torch.Tensor:
    return fn.normalize(torch.randn(rows, 16, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_equal_views_cost_less_than_shuffled_ones() -> None:
    views = _unit(8)
    assert view_loss(views, views) < view_loss(views, views.roll(1, 0))


def test_a_picture_at_its_prototype_costs_less_than_at_anothers() -> None:
    prototypes = Prototypes(5, 16)
    at = fn.normalize(prototypes.points.detach(), dim=-1)
    labels = torch.arange(5)
    assert prototypes(at, labels) < prototypes(at, labels.roll(1))


def test_every_text_that_fits_counts_as_right() -> None:
    images = _unit(1).repeat(2, 1)
    texts = torch.cat([images[:1], _unit(1, seed=3)])
    both = torch.tensor([[True, False], [True, False]])
    none_of_them = torch.tensor([[False, True], [False, True]])
    scale = torch.tensor(10.0)
    assert text_loss(images, texts, both, scale) < text_loss(images, texts, none_of_them, scale)


def test_a_text_without_a_picture_costs_nothing_but_stays_finite() -> None:
    belongs = torch.tensor([[True, False]])
    assert torch.isfinite(text_loss(_unit(1), _unit(2), belongs, torch.tensor(10.0)))


def test_spread_tells_a_collapse() -> None:
    assert spread(_unit(1).repeat(50, 1)) == pytest.approx(0, abs=1e-6)
    assert spread(_unit(500)) == pytest.approx(1, abs=0.1)
