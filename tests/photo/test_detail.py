"""Tests of the photograph's own face beside its code."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from facersa.errors import ImageError
from facersa.photo.blend import ovalness
from facersa.photo.detail import SIDE, detail_of, read_detail
from facersa.photo.images import jpeg_bytes, resize, webp_bytes
from facersa.photo.square import Aligned, crop, unit_grid

OVAL = (127, 130, 60, 60, 70, 80)


@pytest.fixture(scope="module")
def aligned(astronaut: torch.Tensor) -> Aligned:
    quad = np.array([[130.0, 20], [130, 220], [330, 220], [330, 20]])
    return replace(crop(astronaut, quad), oval=OVAL)


def test_the_oval_comes_back_and_nothing_else(aligned: Aligned) -> None:
    face = read_detail(detail_of(aligned))
    side = face.shape[-1]
    assert side == 200  # no larger than in the photograph
    away = ovalness(unit_grid(side), OVAL)
    wanted = resize(aligned.image, side)
    inside = away < 1
    error = (face[..., inside] - wanted[..., inside]).square().mean()
    assert error < 4 / 10**3.8  # 38 dB
    assert face[..., away > 1.2].abs().max() < 0.1 < wanted[..., away > 1.2].std()


def test_neighbours_are_left_out(aligned: Aligned) -> None:
    beside = replace(aligned, others=(aligned.quad + [60.0, 0],))
    face = read_detail(detail_of(beside))
    assert face[..., -40:].abs().max() < 0.1 < face[..., 60:100, 60:80].std()


def test_a_large_face_is_kept_small(aligned: Aligned) -> None:
    large = replace(aligned, quad=aligned.quad * 5)
    data = detail_of(large)
    assert read_detail(data).shape == (1, 3, SIDE, SIDE) and len(data) < 60_000


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no WebP picture"),
        (jpeg_bytes(torch.zeros(1, 3, 8, 8)), "no WebP picture"),
        (b"RIFF0000WEBPdamaged", "or is damaged"),
        (webp_bytes(torch.zeros(1, 3, 8, 9)), "9 x 8 pixels"),
        (webp_bytes(torch.zeros(1, 3, 600, 600)), "at most 512"),
    ],
    ids=["nothing", "JPEG", "damaged", "no square", "too large"],
)
def test_anything_else_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        read_detail(data)
