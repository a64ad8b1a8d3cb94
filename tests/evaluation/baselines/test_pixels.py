"""Tests of the systems that change pixels."""

from __future__ import annotations

import pytest
import torch

from facersa.evaluation.baselines.pixels import (
    GALLERY,
    Blur,
    KSame,
    Mask,
    Pixelation,
    oval,
)
from facersa.generator.base import Generator
from facersa.people import MEASURED


@pytest.mark.parametrize("system", [Mask(), Pixelation(), Blur()])
def test_only_the_oval_changes(system: Mask | Pixelation | Blur) -> None:
    pictures = torch.rand(2, 3, 256, 256) * 2 - 1
    changed = system(pictures)
    outside = (oval(256) == 0).expand_as(pictures)
    assert torch.equal(changed[outside], pictures[outside])
    assert (changed[~outside] - pictures[~outside]).abs().mean() > 0.3
    assert changed.abs().max() <= 1


def test_the_oval_lies_around_the_middle_of_an_aligned_face() -> None:
    shape = oval(100)[0, 0]
    assert shape[54, 50] == 1 and shape[5, 50] == 0 and shape[54, 5] == 0
    assert 0.2 < shape.mean() < 0.4


def test_squares_have_one_colour_and_a_mask_has_one_grey() -> None:
    picture = torch.rand(1, 3, 256, 256) * 2 - 1
    square = Pixelation(16)(picture)[0, :, 128:144, 128:144]
    assert (square - square[:, :1, :1]).abs().max() == 0
    mean = picture[0, :, 128:144, 128:144].mean((1, 2))
    torch.testing.assert_close(square[:, 0, 0], mean)
    assert Mask()(picture)[0, :, 138, 128].abs().max() == 0


def test_blur_keeps_a_flat_picture_and_smooths_an_edge() -> None:
    flat = torch.full((1, 3, 256, 256), 0.3)
    torch.testing.assert_close(Blur()(flat), flat)
    edge = torch.ones(1, 3, 256, 256)
    edge[..., 128:] = -1
    steps = Blur()(edge)[0, 0, 138].diff().abs()
    assert steps[100:156].max() < 0.2


def test_k_same_is_the_mean_of_faces_of_the_gallery(generator: Generator) -> None:
    assert set(GALLERY) <= set(MEASURED)
    system = KSame(generator, k=1)
    system._gallery = torch.rand(4, 3, 256, 256) * 2 - 1
    near = (system.gallery[2:3] + 0.01).clamp(-1, 1)
    middle = (oval(256) > 0).expand_as(near)
    assert torch.equal(system(near)[middle], system.gallery[2:3][middle])
    system.k = 4
    mean = system.gallery.mean(0, keepdim=True)
    torch.testing.assert_close(system(near)[middle], mean[middle])
