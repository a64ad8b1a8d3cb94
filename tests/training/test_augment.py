"""Tests of the encoder's training data."""

from __future__ import annotations

import pytest
import torch

from facersa.cipher.rotation import RotationCipher
from facersa.generator.base import Generator
from facersa.people import training_codes, varied_codes
from facersa.training.augment import (
    CHANGES,
    DAMAGE,
    SCENES,
    Change,
    augment,
    relight,
    warp,
)


def pictures(count: int = 4) -> torch.Tensor:
    """Smooth random pictures: (count, 3, 128, 128) within [-0.8, 0.8]."""
    small = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    grown = torch.nn.functional.interpolate(1.6 * small - 0.8, (128, 128))
    return torch.nn.functional.avg_pool2d(grown, 5, 1, 2)


def test_every_fourth_person_is_encrypted_and_all_repeat(generator: Generator) -> None:
    codes, plain = training_codes(generator, 8, 3), varied_codes(generator, 8, 3)
    torch.testing.assert_close(training_codes(generator, 6, 3), codes[:6])
    changed = (codes != plain).any(-1)
    rows = torch.zeros(16, dtype=torch.bool)
    rows[list(RotationCipher().layers)] = True
    for index in range(8):
        expected = rows if index % 4 == 3 else torch.zeros_like(rows)
        assert torch.equal(changed[index], expected)


@pytest.mark.parametrize(
    "change", list(dict.fromkeys(change for change, _ in (*CHANGES, *SCENES)))
)
def test_each_change_changes_but_keeps_what_it_is(change: Change) -> None:
    images = pictures()
    augmented = change(images, images, torch.Generator().manual_seed(0))
    again = change(images, images, torch.Generator().manual_seed(0))
    assert torch.equal(augmented, again)
    assert augmented.shape == images.shape and augmented.isfinite().all()
    difference = (augmented - images).abs().mean()
    assert 0.001 < difference < 0.4


def test_the_middle_of_the_face_keeps_its_scene_and_the_edge_does_not() -> None:
    images = pictures()
    swap = dict((change.__name__, change) for change, _ in CHANGES)["swap_background"]
    augmented = swap(images, images, torch.Generator().manual_seed(0))
    moved = (augmented - images).abs().mean((0, 1))
    assert moved[60:76, 60:76].max() < 0.01 < 0.1 < moved[:8, :8].mean()


def test_a_warp_moves_places_and_light_does_not() -> None:
    grid = torch.zeros(1, 3, 128, 128)
    grid[..., 64, :] = 1.0  # one bright line
    many = grid.expand(20, -1, -1, -1)
    bent = warp(many, many, torch.Generator().manual_seed(0))[:, 0].argmax(1).float()
    assert 1 < (bent - 64).std() < 4  # 2 % of the side are 2.6
    assert bent.diff().abs().max() <= 2  # smoothly
    lit = relight(grid, grid, torch.Generator().manual_seed(0))[0, 0]
    assert (lit.argmax(0) == 64).all()
    assert lit[0, 0] != lit[-1, -1]


def test_damage_is_what_is_to_be_undone_and_scenes_are_not() -> None:
    damage = {change for change, _ in DAMAGE}
    assert damage < {change for change, _ in CHANGES}
    assert not damage & {change for change, _ in SCENES}
    images, rng = pictures(), torch.Generator()
    assert torch.equal(augment(images, rng, ()), images)


def test_augmenting_repeats_and_leaves_some_pictures_alone() -> None:
    images = pictures(80)
    first = augment(images, torch.Generator().manual_seed(2))
    assert torch.equal(first, augment(images, torch.Generator().manual_seed(2)))
    assert not torch.equal(first, augment(images, torch.Generator().manual_seed(3)))
    untouched = (first == images).flatten(1).all(1)
    assert 0 < untouched.sum() < 20
    assert first.abs().max() <= 1


def test_pictures_that_are_not_square_are_refused() -> None:
    with pytest.raises(ValueError, match="images must have shape"):
        augment(torch.zeros(2, 3, 64, 32), torch.Generator())
