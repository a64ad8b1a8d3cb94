from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from facersa.photo.blazeface import BlazeFace, _starts, load_blazeface
from facersa.photo.images import resample, to_uint8


@pytest.fixture(scope="module")
def detector() -> BlazeFace:
    return load_blazeface()


@pytest.fixture
def photo(astronaut: Tensor) -> np.ndarray:
    return np.ascontiguousarray(to_uint8(astronaut)[0])


def test_one_face_is_found_with_its_points(
    detector: BlazeFace, photo: np.ndarray
) -> None:
    (face,) = detector.detect(photo)
    left, top, right, bottom = face.box
    assert 150 < left < 185 and 250 < right < 285 and 50 < top < 90 and bottom < 190
    eyes, nose, mouth = face.points[:2], face.points[2], face.points[3]
    assert eyes[0, 0] < nose[0] < eyes[1, 0] and eyes[:, 1].max() < nose[1] < mouth[1]
    assert face.score > 0.8


@pytest.mark.parametrize("size", [36, 64, 500])
def test_small_and_large_faces_are_found_wherever_they_are(
    detector: BlazeFace, photo: np.ndarray, size: int
) -> None:
    face = np.ascontiguousarray(photo[20:220, 110:310])  # about half of it is the face
    small = resample(face, (2 * size, 2 * size), "bicubic")
    canvas = np.full((1100, 1700, 3), 90, dtype=np.uint8)
    for left, top in ((5, 8), (1700 - 2 * size, 1100 - 2 * size), (633, 51)):
        shown = canvas.copy()
        shown[top : top + 2 * size, left : left + 2 * size] = small
        (found,) = detector.detect(shown)
        x, y = (found.box[:2] + found.box[2:]) / 2
        assert abs(x - left - size) < 0.4 * size and abs(y - top - size) < 0.4 * size


def test_nothing_is_found_where_nobody_is(detector: BlazeFace) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (300, 400, 3), dtype=np.uint8)
    assert detector.detect(noise) == []
    assert detector.detect(np.zeros((64, 64, 3), dtype=np.uint8)) == []


@pytest.mark.parametrize(
    ("side", "tile"), [(64, 100), (100, 100), (101, 100), (999, 160)]
)
def test_tiles_cover_a_side_and_share_a_third(side: int, tile: int) -> None:
    starts = _starts(side, tile)
    assert starts[0] == 0 and starts[-1] == max(side - tile, 0)
    gaps = torch.tensor(starts).diff()
    assert (gaps > 0).all() and (gaps <= tile * 2 / 3).all()
