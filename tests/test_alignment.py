"""Alignment: where FFHQ puts a face, the way back, and photos that will not do."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from facersa.alignment import align, find_faces, find_squares
from facersa.errors import ImageError
from facersa.heldout import HeldOutFaces, load_held_out_faces
from facersa.squares import Aligned, crop, ffhq_quad, same_face


@pytest.fixture(scope="module")
def faces() -> HeldOutFaces:
    return load_held_out_faces()


@pytest.fixture
def aligned(astronaut: Tensor, faces: HeldOutFaces) -> Aligned:
    return align(astronaut, 512, faces=faces)


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


def test_an_aligned_face_sits_where_ffhq_faces_sit(
    aligned: Aligned, faces: HeldOutFaces
) -> None:
    """Eyes level near .47 of the height, a quarter of the side apart."""
    points = faces.points(aligned.image)[0]
    left, right = points[36:42].mean(0), points[42:48].mean(0)
    mouth = (points[48] + points[54]) / 2
    assert abs(left[1] - right[1]) < 0.02
    assert 0.2 < right[0] - left[0] < 0.27
    middle = (left + right) / 2
    assert middle.tolist() == pytest.approx([0.5, 0.475], abs=0.03)
    assert mouth.tolist() == pytest.approx([0.5, 0.71], abs=0.04)


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


def test_the_size_of_the_photo_does_not_matter(
    astronaut: Tensor, aligned: Aligned, faces: HeldOutFaces
) -> None:
    """Six times larger, searched at reduced size: the same square."""
    large = F.interpolate(astronaut, (3072, 3072), mode="bilinear")
    found = align(large, 512, faces=faces)
    assert found.photo_size == (3072, 3072)
    assert np.abs(found.quad / 6 - aligned.quad).max() < 2.5


def test_several_faces_ask_for_a_choice(
    astronaut: Tensor, aligned: Aligned, faces: HeldOutFaces
) -> None:
    pair = torch.cat([astronaut, astronaut.flip(3)], dim=3)[:, :, :300]
    with pytest.raises(
        ImageError, match=r"2 face.*counted from the left \(0: x 17\d-2"
    ):
        align(pair, faces=faces)
    with pytest.raises(ImageError, match="none has number 2"):
        align(pair, faces=faces, face=2)
    first = align(pair, 64, faces=faces, face=0)
    second = align(pair, 64, faces=faces, face=1)
    assert np.abs(first.quad - aligned.quad).max() < 3
    mirrored = second.quad[[3, 2, 1, 0]] * [-1, 1] + [1024, 0]
    assert np.abs(mirrored - aligned.quad).max() < 6
    one = align(astronaut, 64, faces=faces, face=0)
    np.testing.assert_array_equal(one.quad, aligned.quad)


def test_a_face_knows_the_others_that_reach_into_its_square(
    astronaut: Tensor, aligned: Aligned, faces: HeldOutFaces
) -> None:
    pair = torch.cat([astronaut, astronaut.flip(3)], dim=3)[:, :, :300]
    first, second = find_squares(pair, faces)
    assert align(pair, 64, faces=faces, face=0).others == ()  # too far away
    near = torch.cat([astronaut[..., :290], astronaut[..., 150:]], dim=3)[:, :, :300]
    one, two = find_squares(near, faces)
    found = align(near, 64, faces=faces, face=0)
    np.testing.assert_array_equal(found.others, [two.quad])
    assert not same_face(one.quad, two.quad) and same_face(one.quad, one.quad + 5)
    # Known squares are not looked for again, and keep their place in the order.
    again = find_squares(near, faces, [two.quad + 3])
    np.testing.assert_array_equal(again[1].quad, two.quad + 3)
    assert len(again) == 2 and abs(again[1].box[0] - two.box[0]) < 0.3 * aligned.side
    assert found.beside([two.quad + 3, found.quad - 2]).others == found.others


def test_a_patch_of_cloth_is_no_face(astronaut: Tensor, faces: HeldOutFaces) -> None:
    """Enlarged, dlib also scores the suit above 0; the clear face wins."""
    assert len(find_faces(astronaut, faces)) == 1


@pytest.mark.parametrize(
    ("photo", "message"),
    [
        (torch.zeros(1, 3, 200, 200), "no face was found"),
        (torch.zeros(1, 3, 63, 500), "63 pixels; at least 64 x 64"),
        (torch.zeros(1, 3, 1, 1), "1 x 1 pixels"),
        (torch.zeros(2, 3, 200, 200), "one photo"),
        (torch.zeros(1, 1, 200, 200), "one photo"),
    ],
)
def test_photos_that_will_not_do(
    photo: Tensor, message: str, faces: HeldOutFaces
) -> None:
    with pytest.raises(ImageError, match=message):
        align(photo, faces=faces)


def test_a_tiny_face_is_refused(astronaut: Tensor, faces: HeldOutFaces) -> None:
    half = F.interpolate(astronaut, (256, 256), mode="area")
    with pytest.raises(ImageError, match="4. pixels wide.*closer photo"):
        align(half, faces=faces)


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
