from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from large_photos import save_large_photo
from PIL import Image
from torch import Tensor
from torchvision.ops import box_iou

from facersa.photo.blazeface import BlazeFace, _starts, load_blazeface, share_inside
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


@pytest.mark.parametrize("share", [0.5, 0.65, 0.8])
@pytest.mark.parametrize("edge", ["left", "right", "bottom"])
def test_a_face_that_the_edge_cuts_is_found(
    detector: BlazeFace, photo: np.ndarray, edge: str, share: float
) -> None:
    """But few are where only the mouth and the chin are left."""
    (face,) = detector.detect(photo)
    x, y, right, bottom = face.box
    stop, low = int(x + share * (right - x)), int(y + share * (bottom - y))
    start = int(right - share * (right - x)) if edge == "left" else 0
    shown = {
        "left": photo[:, start:],
        "right": photo[:, :stop],
        "bottom": photo[:low],
    }[edge]
    (cut,) = detector.detect(np.ascontiguousarray(shown))
    whole = face.box - [start, 0, start, 0]
    assert box_iou(*(torch.tensor(box)[None] for box in (cut.box, whole))) > 0.4


@pytest.mark.parametrize(
    ("box", "share"),
    [
        ((2, 3, 6, 5), 1),
        ((-2, 0, 2, 4), 0.5),
        ((8, 4, 12, 8), 0.25),
        ((11, 0, 15, 4), 0),
    ],
)
def test_the_share_of_a_box_in_a_picture(box: tuple[int, ...], share: float) -> None:
    assert share_inside(box, (6, 10, 3)) == pytest.approx(share)


def test_nothing_is_found_where_nobody_is(detector: BlazeFace) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (300, 400, 3), dtype=np.uint8)
    assert detector.detect(noise) == []
    assert detector.detect(np.zeros((64, 64, 3), dtype=np.uint8)) == []


def test_a_mirror_makes_no_face_of_a_texture(
    detector: BlazeFace, tmp_path: Path
) -> None:
    """In blurred noise it made one once, of 15 of the network's pixels."""
    save_large_photo(tmp_path / "large.jpg", 6000, 4000)
    with Image.open(tmp_path / "large.jpg") as picture:
        (face,) = detector.detect(np.asarray(picture))
    assert face.score > 0.9


@pytest.mark.parametrize(
    ("side", "tile"), [(64, 100), (100, 100), (101, 100), (999, 160)]
)
def test_tiles_cover_a_side_and_share_a_third(side: int, tile: int) -> None:
    starts = _starts(side, tile)
    assert starts[0] == 0 and starts[-1] == max(side - tile, 0)
    gaps = torch.tensor(starts).diff()
    assert (gaps > 0).all() and (gaps <= tile * 2 / 3).all()
