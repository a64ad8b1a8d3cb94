"""The held-out judge on its own; test_networks compares both families."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from facersa.judges import networks
from facersa.judges.heldout import HeldOutIdentity, load_held_out_identity
from facersa.photo import faces
from facersa.photo.square import crop


@pytest.fixture(scope="module")
def held_out() -> HeldOutIdentity:
    return load_held_out_identity()


@pytest.fixture
def face(astronaut: Tensor) -> Tensor:
    """The astronaut's face, cut as FFHQ cuts (``align`` finds this square too)."""
    quad = np.array([[143.3, 15.8], [134.3, 189.1], [307.6, 198.0], [316.6, 24.7]])
    return crop(astronaut, quad, 256).image


def test_points_of_the_model_face_give_its_rotation_back() -> None:
    yaw, pitch = torch.tensor([0.3]), torch.tensor([-0.2])
    turn = networks._rotation(yaw, 1) @ networks._rotation(pitch, 0)
    model = torch.tensor(list(faces.RIGID_POINTS.values()), dtype=torch.float32)
    placed = model @ turn[0].T + torch.tensor([5.0, -10.0, 700.0])
    points = torch.zeros(1, 68, 2)
    seen = faces.FOCAL_LENGTH * placed[:, :2] / placed[:, 2:] + 0.5
    points[0, list(faces.RIGID_POINTS)] = seen
    found = faces.rotations_from_points(points)
    torch.testing.assert_close(found, turn, atol=1e-3, rtol=0)


def test_held_out_identity_knows_the_same_face(
    held_out: HeldOutIdentity, face: Tensor
) -> None:
    batch = torch.cat([face, (face * 0.8).clamp(-1, 1), face.flip(3)])
    embeddings = held_out.embed(batch)
    darker, mirrored = (embeddings[1:] - embeddings[0]).norm(dim=1).tolist()
    assert darker < 0.2
    assert darker < mirrored < 0.6
