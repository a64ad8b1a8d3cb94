"""Tests of a recognition network behind insightface's loader."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch.nn.functional as F
from torch import Tensor

from facersa.errors import AssetError
from facersa.judges.arcface import load_insightface
from facersa.judges.networks import load_identity
from facersa.photo.align import align
from facersa.photo.faces import load_held_out_faces


def test_insightface_loader_agrees_on_the_same_crop(astronaut: Tensor) -> None:
    """Its 127.5 scaling instead of 128 hardly moves the embedding."""
    faces = load_held_out_faces()
    face = align(astronaut, faces=faces, size=256).image
    identity, theirs = load_identity(), load_insightface()
    cut = theirs.crop(face, faces.landmarks(face))
    assert cut.shape == (1, 3, 112, 112)
    ours = identity.embed_crop(cut)
    assert F.cosine_similarity(ours, theirs.embed_crop(cut)) > 0.98
    # The fixed crop and the five-point template show the same person.
    assert F.cosine_similarity(ours, identity.embed(face)) > 0.6


def test_insightface_names_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match="check the path"):
        load_insightface(tmp_path / "buffalo.onnx")
