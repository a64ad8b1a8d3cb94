"""Squares of faces: where FFHQ lays them, what they cut out, how they are stored."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import Tensor

from facersa.errors import ImageError
from facersa.photo import images
from facersa.photo.images import resize, to_float, to_levels
from facersa.photo.square import (
    SAME_FACE,
    Aligned,
    crop,
    ffhq_quad,
    rescale,
    roundness,
    same_face,
    units,
)


@pytest.fixture
def aligned(astronaut: Tensor) -> Aligned:
    return crop(astronaut, ffhq_quad(upright_face(60.0) + [220, 90]), 512)


def upright_face(scale: float = 1.0) -> np.ndarray:
    """Eye centres at (-1, 0) and (1, 0), corners of the mouth at (+-.8, 2)."""
    points = np.zeros((68, 2))
    points[36:42], points[42:48] = (-1, 0), (1, 0)
    points[48], points[54] = (-0.8, 2), (0.8, 2)
    return points * scale


def test_the_quad_of_an_upright_face_by_hand() -> None:
    """Reach max(2 * 2, 1.8 * 2) = 4 about the point a tenth of the way down."""
    expected = np.array([[-4, -3.8], [-4, 4.2], [4, 4.2], [4, -3.8]])
    np.testing.assert_allclose(ffhq_quad(upright_face()), expected, atol=1e-12)


def test_the_quad_turns_scales_and_moves_with_the_face() -> None:
    angle = np.radians(30)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = upright_face(7.0) @ turn.T + [100, 50]
    expected = 7 * ffhq_quad(upright_face()) @ turn.T + [100, 50]
    np.testing.assert_allclose(ffhq_quad(moved), expected, atol=1e-9)


def test_points_in_one_place_are_refused() -> None:
    with pytest.raises(ImageError, match="degenerate"):
        ffhq_quad(np.zeros((68, 2)))


def test_the_crop_is_exact_where_nothing_is_turned() -> None:
    """An upright crop at the photo's own scale copies its pixels."""
    photo = torch.rand(1, 3, 90, 120) * 2 - 1
    quad = np.array([[20.0, 10], [20, 74], [84, 74], [84, 10]])
    cut = crop(photo, quad, 64)
    torch.testing.assert_close(cut.image, photo[:, :, 10:74, 20:84], atol=1e-4, rtol=0)
    small = crop(photo, quad, 32).image
    torch.testing.assert_close(
        small.mean((2, 3)), photo[:, :, 10:74, 20:84].mean((2, 3)), atol=0.01, rtol=0
    )


def test_beyond_the_photo_it_is_mirrored_and_fades() -> None:
    photo = torch.rand(1, 3, 100, 100) * 2 - 1
    quad = np.array([[-40.0, 10], [-40, 90], [40, 90], [40, 10]])
    cut = crop(photo, quad, 80).image
    torch.testing.assert_close(
        cut[..., 41:], photo[:, :, 10:90, 1:40], atol=1e-4, rtol=0
    )
    roughness = (cut[:, :, 1:] - cut[:, :, :-1]).abs().mean((0, 1, 2))
    assert roughness[:30].mean() < 0.3 * roughness[45:].mean()
    assert torch.isfinite(cut).all()


@pytest.mark.parametrize("left", [30.0, -80.0])
def test_a_photo_of_grey_levels_is_cut_in_bands(
    left: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = to_levels(torch.rand(1, 3, 300, 280) * 2 - 1)
    quad = np.array([[left, 10], [left, 210], [left + 200, 210], [left + 200, 10]])
    whole = crop(to_float(photo), quad, 64).image
    monkeypatch.setattr(images, "BAND_PIXELS", 1)
    torch.testing.assert_close(crop(photo, quad, 64).image, whole, atol=1e-6, rtol=0)


def test_what_is_filled_in_is_the_same_before_and_after_reduction() -> None:
    """It is filled in after the photo is reduced: before, it would take minutes."""
    rng = torch.Generator().manual_seed(0)
    photo = resize(torch.rand(1, 3, 12, 12, generator=rng) * 2 - 1, 480)
    quad = np.array([[-200.0, 40], [-200, 360], [120, 360], [120, 40]])
    slow = rescale(crop(photo, quad, 320).image, 1 / 4)
    assert (crop(photo, quad, 80).image - slow).abs().max() < 3 / 127.5


def test_squares_of_one_face_are_those_whose_centres_are_near() -> None:
    quad = np.array([[0.0, 0], [0, 80], [80, 80], [80, 0]])
    assert not same_face(quad, []).any()
    # Half of a half side is 20.
    moved = [quad + shift for shift in ([-90, 0], [21, 0], [70, 0], [0, -19])]
    assert same_face(quad, moved).tolist() == [False, False, False, True]
    turned = np.array([[40.0, 10], [10, 40], [40, 70], [70, 40]])  # a smaller one
    middle = torch.tensor([[40.0, 40]])
    for shift in range(0, 40, 3):
        other = turned + [shift, 0]
        places = units(quad, middle + torch.tensor([shift, 0])), units(other, middle)
        near = min(float(roundness(unit)) for unit in places) < SAME_FACE
        assert same_face(quad, [other]) == same_face(other, [quad]) == near


def test_geometry_survives_json(aligned: Aligned) -> None:
    text = json.dumps(aligned.to_dict())
    assert len(text) < 300 and "others" not in text
    again = Aligned.from_dict(json.loads(text), aligned.image)
    np.testing.assert_array_equal(again.quad, aligned.quad)
    assert (again.photo_size, again.others) == (aligned.photo_size, ())
    near = aligned.beside([aligned.quad + [90, 0]])
    again = Aligned.from_dict(json.loads(json.dumps(near.to_dict())), aligned.image)
    np.testing.assert_allclose(again.others, near.others, atol=1e-3)


@pytest.mark.parametrize(
    "change",
    [
        {"quad": [[0, 0], [0, 9], [9, 9], [5, 0]]},
        {"quad": [[0, 0]] * 4},
        {"quad": [[float("nan"), 0]] * 4},
        {"quad": "here"},
        {"quad": [[0, 0], [0, 9], [9, 9]]},
        {"quad": [[0, 0], [0, 9e9], [9e9, 9e9], [9e9, 0]]},
        {"quad": [[0, 0], [0, 9], [30, 9], [30, 0]]},
        {"others": [[0, 0]]},
        {"others": [[[0, 0], [0, 9], [9, 9], [5, 0]]]},
        {"others": 7},
        {"photo_size": [512]},
        {"photo_size": [0, 512]},
        {"photo_size": None},
    ],
)
def test_damaged_geometry_is_refused(
    aligned: Aligned, change: dict[str, object]
) -> None:
    with pytest.raises(ImageError, match="place of the face is damaged"):
        Aligned.from_dict(aligned.to_dict() | change, aligned.image)
