"""The held-out judge on its own; test_networks compares both families."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from facersa.judges.heldout import HeldOutIdentity, load_held_out_identity
from facersa.photo.square import crop


@pytest.fixture(scope="module")
def held_out() -> HeldOutIdentity:
    return load_held_out_identity()


@pytest.fixture
def face(astronaut: Tensor) -> Tensor:
    """The astronaut's face, cut as FFHQ cuts (``align`` finds this square too)."""
    quad = np.array([[143.3, 15.8], [134.3, 189.1], [307.6, 198.0], [316.6, 24.7]])
    return crop(astronaut, quad, 256).image


def test_held_out_identity_knows_the_same_face(
    held_out: HeldOutIdentity, face: Tensor
) -> None:
    batch = torch.cat([face, (face * 0.8).clamp(-1, 1), face.flip(3)])
    embeddings = held_out.embed(batch)
    darker, mirrored = (embeddings[1:] - embeddings[0]).norm(dim=1).tolist()
    assert darker < 0.2
    assert darker < mirrored < 0.6
