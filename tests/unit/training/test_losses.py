"""The losses fall when what belongs together lies together."""

import pytest
import torch
import torch.nn.functional as fn

from training.losses import Memory, Prototypes, found_loss, spread, text_loss, view_loss


def _unit(rows: int, seed: int = 0) -> torch.Tensor:
    return fn.normalize(torch.randn(rows, 16, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_equal_views_cost_less_than_shuffled_ones() -> None:
    views, owners, others = _unit(8), torch.arange(8), Memory(4, 16)
    assert view_loss(views, views, owners, others) < view_loss(views, views.roll(1, 0), owners, others)


def test_what_is_remembered_of_others_is_a_wrong_answer_and_of_ones_own_is_none() -> None:
    view, owner, others = _unit(1), torch.tensor([7]), Memory(8, 16)
    others.keep(view, owner)
    assert view_loss(view, view, owner, others) == 0
    others.keep(view, owner + 1)
    assert view_loss(view, view, owner, others) == pytest.approx(0.693, abs=0.001), "one of two equal ones"


def test_memory_keeps_the_newest() -> None:
    memory = Memory(3, 16)
    memory.keep(_unit(2), torch.tensor([0, 1]))
    memory.keep(_unit(2), torch.tensor([2, 3]))
    assert memory.owners.tolist() == [2, 3, 0]


def test_a_photo_beside_its_studio_picture_costs_less_than_beside_another_or_the_crowd() -> None:
    studio, crowd = Memory(4, 16), Memory(4, 16)
    studio.keep(_unit(4), torch.arange(4))
    crowd.keep(_unit(4, seed=1), torch.zeros(4, dtype=torch.int64))
    labels = torch.arange(4)
    right, wrong, lost = (found_loss(at, labels, studio, crowd) for at in (_unit(4), _unit(4).roll(1, 0), crowd.points))
    assert right < wrong
    assert right < lost
    assert found_loss(_unit(2), torch.tensor([8, 9]), studio, crowd) == 0, "nothing is known of these products"


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
