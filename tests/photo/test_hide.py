from __future__ import annotations

import pytest
import torch
from torch import Tensor

from facersa.photo.align import CLEAR_FACE, find_squares
from facersa.photo.blazeface import load_blazeface
from facersa.photo.faces import load_held_out_faces
from facersa.photo.hide import Hiding, hide
from facersa.photo.images import to_levels, to_uint8


@pytest.mark.parametrize("how", ["blur", "pixelate"])
def test_no_detector_finds_a_hidden_face(astronaut: Tensor, how: Hiding) -> None:
    photo, detectors = to_levels(astronaut), (load_held_out_faces(), load_blazeface())
    (face,) = find_squares(photo, detectors[0], (), detectors[1])
    hidden = hide(photo, face.box, how)
    assert detectors[0].detect(to_uint8(hidden)[0], CLEAR_FACE) == []
    if how == "blur":
        assert find_squares(hidden, detectors[0], (), detectors[1]) == []
    left, top, right, bottom = (round(side) for side in face.box)
    outside = torch.ones(512, 512, dtype=torch.bool)
    wide = round(0.36 * (right - left)) + 1
    outside[max(top - wide, 0) : bottom + wide, left - wide : right + wide] = False
    assert torch.equal(hidden[..., outside], photo[..., outside])
    inside = hidden[0, :, top:bottom, left:right].flatten(1).T
    if how == "pixelate":
        assert len(inside.unique(dim=0)) <= 49


def test_a_face_at_the_edge_is_hidden_as_far_as_the_picture_goes() -> None:
    photo = torch.randint(0, 256, (1, 3, 80, 70), dtype=torch.uint8)
    hidden = hide(photo, (-10.0, -5.0, 30.0, 40.0), "pixelate")
    assert hidden.shape == photo.shape
    assert not torch.equal(hidden[..., :40, :30], photo[..., :40, :30])
    assert torch.equal(hidden[..., 60:, 50:], photo[..., 60:, 50:])
