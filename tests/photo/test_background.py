"""The background of a pasted face: no halo, and nothing to store."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from facersa.photo.align import align
from facersa.photo.background import _at, _colours, match_background
from facersa.photo.faces import load_held_out_faces
from facersa.photo.images import to_float, to_levels
from facersa.photo.paste import paste
from facersa.photo.square import Aligned, roundness, units

SIDE = 160
SIZE = (220, 300)


def aligned(*others: np.ndarray) -> Aligned:
    return Aligned(torch.zeros(1, 3, 8, 8), square(60, 30), SIZE).beside(others)


def square(x: float, y: float) -> np.ndarray:
    return np.array([[x, y], [x, y + SIDE], [x + SIDE, y + SIDE], [x + SIDE, y]])


def head() -> Tensor:
    """Shares of background (1, 1, 64, 64): none in a disc in the middle."""
    axis = (torch.arange(64) + 0.5) / 64 - 0.5
    away = (axis[:, None] ** 2 + axis**2).sqrt()
    return (away > 0.3).float()[None, None]


def flat(level: float, *size: int) -> Tensor:
    return torch.full((1, 3, *size), float(level))


def test_a_plain_background_takes_the_photos_colour() -> None:
    face = flat(-0.2, 128, 128)
    matched = match_background(face, head(), flat(0.3, *SIZE), aligned())
    background = matched[
        0, :, head()[0, 0].repeat_interleave(2, 0).repeat_interleave(2, 1) > 0.5
    ]
    assert (background - 0.3).abs().median() < 0.02
    assert torch.equal(matched[0, :, 50:78, 50:78], face[0, :, 50:78, 50:78])


def test_each_side_takes_the_colour_next_to_it() -> None:
    photo = flat(0.3, *SIZE)
    photo[..., :140] = -0.4  # the square's middle
    matched = match_background(flat(0.0, 64, 64), head(), photo, aligned())
    left, right = matched[0, 0, 32, 4], matched[0, 0, 32, -5]
    assert left == pytest.approx(-0.4, abs=0.08)
    assert right == pytest.approx(0.3, abs=0.08)


def test_colours_are_read_between_the_pixels_of_a_photo_of_grey_levels() -> None:
    photo = to_levels(torch.rand(1, 3, *SIZE) * 2 - 1)
    size = torch.tensor(SIZE[::-1])
    pixels = torch.rand(500, 2, dtype=torch.float64) * (size - 2) + 1
    found, expected = _colours(photo, pixels), _at(to_float(photo), pixels / size)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)


def test_where_no_background_comes_to_the_edge_nothing_changes() -> None:
    face = torch.rand(1, 3, 64, 64) - 0.5
    none = torch.zeros(1, 1, 64, 64)
    photo = flat(0.9, *SIZE)
    assert torch.equal(match_background(face, none, photo, aligned()), face)
    # Clothes that fill the lower half: what is around them says nothing.
    half = torch.ones(1, 1, 64, 64)
    half[:, :, 32:] = 0
    photo[:, :, 110:] = -0.9
    matched = match_background(flat(0.0, 64, 64), half, photo, aligned())
    assert (matched[..., 2:20, :] - 0.9).abs().max() < 0.1
    assert matched[..., 36:, :].abs().max() == 0


def test_a_photo_within_the_square_has_nothing_to_say() -> None:
    where = Aligned(flat(0, 8, 8), square(-50, -50), (60, 60))
    face = torch.rand(1, 3, 64, 64)
    assert match_background(face, head(), flat(0, 60, 60), where) is face


@pytest.mark.parametrize("left", [150, 220, 222])
def test_only_places_that_no_paste_touches_are_looked_at(left: int) -> None:
    """Own square and neighbours, over it or just beside it, may look like anything."""
    neighbour = square(left, 40)
    where, other = aligned(neighbour), Aligned(flat(0, 8, 8), neighbour, SIZE)
    other = other.beside([where.quad])
    photo = torch.rand(1, 3, *SIZE) - 0.5
    face = torch.rand(1, 3, 64, 64) - 0.5
    once = match_background(face, head(), photo, where)
    pasted = paste(paste(photo, once, where), flat(0.9, 64, 64), other)
    assert (pasted != photo).any(1).float().mean() > 0.25
    assert torch.equal(match_background(face, head(), pasted, where), once)


def test_it_stands_where_the_square_stands(astronaut: Tensor) -> None:
    """In a turned square, from the definition: the ring just outside of it."""
    where = align(astronaut, 64, faces=load_held_out_faces())
    y, x = torch.meshgrid(*(torch.arange(512) + 0.5,) * 2, indexing="ij")
    away = roundness(units(where.quad, torch.stack([x, y], -1).double()))
    photo = torch.where((away > 1.005) & (away < 1.12), 0.5, -0.9).float()
    photo = photo.expand(1, 3, -1, -1)
    everywhere = torch.ones(1, 1, 64, 64)
    matched = match_background(flat(0, 64, 64), everywhere, photo, where)
    assert (matched - 0.5).abs().max() < 0.05
