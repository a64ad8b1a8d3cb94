"""Alignment: where FFHQ puts a face, the way back, and photos that will not do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from facersa.errors import ImageError
from facersa.photo.align import align, choose, find_faces, find_squares
from facersa.photo.blazeface import Found, load_blazeface
from facersa.photo.faces import HeldOutFaces, load_held_out_faces
from facersa.photo.square import Aligned, same_face


@pytest.fixture(scope="module")
def faces() -> HeldOutFaces:
    return load_held_out_faces()


@pytest.fixture
def aligned(astronaut: Tensor, faces: HeldOutFaces) -> Aligned:
    return align(astronaut, 512, faces=faces)


def test_an_aligned_face_sits_where_ffhq_faces_sit(
    aligned: Aligned, faces: HeldOutFaces
) -> None:
    """Eyes level near .47 of the height, a quarter of the side apart."""
    points = faces.landmarks(aligned.image)[0]
    left, right = points[36:42].mean(0), points[42:48].mean(0)
    mouth = (points[48] + points[54]) / 2
    assert abs(left[1] - right[1]) < 0.02
    assert 0.2 < right[0] - left[0] < 0.27
    middle = (left + right) / 2
    assert middle.tolist() == pytest.approx([0.5, 0.475], abs=0.03)
    assert mouth.tolist() == pytest.approx([0.5, 0.71], abs=0.04)


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
    assert same_face(one.quad, [two.quad, one.quad + 5]).tolist() == [False, True]
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
    with pytest.raises(ImageError, match="only 4. pixels wide.*at least 64"):
        align(half, faces=faces)


class Pretended:
    """A second detector that sees what it is told."""

    def __init__(self, *found: Found) -> None:
        self.found = list(found)

    def detect(self, levels: np.ndarray) -> list[Found]:
        return self.found


def seen(quad: np.ndarray, **points: tuple[float, float]) -> Found:
    """What BlazeFace would say of a face in a square, with some points elsewhere.

    Points are in sides of the square.
    """
    usual = {"left": (0.38, 0.48), "right": (0.62, 0.48), "nose": (0.5, 0.6)}
    usual |= {"mouth": (0.5, 0.71), "ear": (0.2, 0.5), "other_ear": (0.8, 0.5)}
    (x, y), side = quad[0], float(quad[3, 0] - quad[0, 0])
    places = np.array(list((usual | points).values())) * side + [x, y]
    box = np.array([0.17, 0.26, 0.8, 0.91]) * side + [x, y, x, y]
    return Found(box, 0.9, places)


@pytest.mark.parametrize(
    ("points", "obstacle"),
    [
        ({}, ""),
        ({"nose": (0.2, 0.6)}, "seen from the side"),
        ({"left": (0.5, 0.48)}, "seen from the side"),
        ({"mouth": (0.2, 0.2), "nose": (0.5, 0.2)}, "covered or turned away"),
    ],
)
def test_the_second_detector_tells_which_faces_cannot_be_encrypted(
    astronaut: Tensor,
    aligned: Aligned,
    faces: HeldOutFaces,
    points: dict[str, tuple[float, float]],
    obstacle: str,
) -> None:
    second: Any = Pretended(seen(aligned.quad, **points))
    (face,) = find_squares(astronaut, faces, (), second)
    assert face.obstacle == obstacle
    assert np.abs(face.quad - aligned.quad).max() < 1
    if obstacle:
        with pytest.raises(ImageError, match=f"face 0.*{obstacle}"):
            choose([face], None)


def test_what_only_the_second_detector_sees_counts_too(
    astronaut: Tensor, aligned: Aligned, faces: HeldOutFaces
) -> None:
    """The face beside a patch of sky: smaller than what is encrypted."""
    quad = aligned.quad * 0.3 + [400.0, 10.0]
    second: Any = Pretended(seen(aligned.quad), seen(quad))
    first, other = find_squares(astronaut, faces, (), second)
    assert not first.obstacle and "pixels wide" in other.obstacle
    with pytest.raises(ImageError, match=r"2 face.*1: x 4.*pixels wide"):
        choose([first, other], None)
    covered = quad + [0.0, 3.0]
    (kept, known) = find_squares(astronaut, faces, [covered], second)
    assert np.array_equal(known.quad, covered) and not known.obstacle


def test_what_is_too_small_to_recognise_anybody_is_no_face(
    astronaut: Tensor, aligned: Aligned, faces: HeldOutFaces
) -> None:
    """In the sky above the astronaut, 26 and 20 pixels wide."""
    wide = aligned.side * 0.63
    for pixels, count in ((26, 2), (20, 1)):
        quad = aligned.quad * (pixels / wide) + [400.0, 10.0]
        second: Any = Pretended(seen(aligned.quad), seen(quad))
        assert len(find_squares(astronaut, faces, (), second)) == count


@pytest.mark.parametrize(("score", "obstacle"), [(0.63, "no face"), (0.7, "")])
def test_what_looks_little_like_a_face_is_not_painted(
    astronaut: Tensor,
    aligned: Aligned,
    faces: HeldOutFaces,
    score: float,
    obstacle: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first detector sees nothing there, the second not clearly."""
    monkeypatch.setattr("facersa.photo.align.find_faces", lambda *_, **__: [])
    second: Any = Pretended(seen(aligned.quad)._replace(score=score))
    (face,) = find_squares(astronaut, faces, (), second)
    assert obstacle in face.obstacle and bool(face.oval) != bool(obstacle)


@pytest.mark.parametrize(("share", "obstacle"), [(0.95, ""), (0.5, "cut by the edge")])
def test_a_face_that_the_edge_cuts_is_told(
    astronaut: Tensor,
    aligned: Aligned,
    faces: HeldOutFaces,
    share: float,
    obstacle: str,
) -> None:
    """None is left in the picture in clear, without a word."""
    (whole,) = find_squares(astronaut, faces)
    left, _, right, _ = whole.box
    photo = astronaut[..., : int(left + share * (right - left))]
    (face,) = find_squares(photo, faces, (), load_blazeface())
    assert obstacle in face.obstacle and bool(face.oval) != bool(obstacle)


@pytest.mark.parametrize(("side", "count"), [(60, 2), (40, 1)])
def test_what_an_edge_cuts_is_a_face_if_it_is_large(
    astronaut: Tensor, aligned: Aligned, faces: HeldOutFaces, side: int, count: int
) -> None:
    """Half of it lies above the sky."""
    quad = aligned.quad * (side / (aligned.side * 0.63))
    middle = seen(quad).box[[0, 1]] + seen(quad).box[[2, 3]]
    cut = seen(quad + [400.0, 0] - [0, middle[1] / 2])
    second: Any = Pretended(seen(aligned.quad), cut)
    found = find_squares(astronaut, faces, (), second)
    assert len(found) == count
    if count == 2:
        assert "cut by the edge" in found[1].obstacle
