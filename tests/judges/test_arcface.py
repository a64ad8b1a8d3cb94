"""Tests of a recognition network behind insightface's loader."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from facersa.assets.registry import asset_path
from facersa.errors import AssetError
from facersa.judges.arcface import load_insightface
from facersa.judges.networks import load_identity
from facersa.photo.align import align
from facersa.photo.faces import load_held_out_faces


def test_insightface_loader_agrees_on_the_same_crop(astronaut: Tensor) -> None:
    """Its 127.5 scaling instead of 128 hardly moves the embedding."""
    faces = load_held_out_faces()
    face = align(astronaut, faces=faces, size=256).image
    landmarks = faces.landmarks(face)
    identity, theirs = load_identity(), load_insightface(asset_path("identity.onnx"))
    crop = theirs.crop(face, landmarks)
    assert crop.shape == (1, 3, 112, 112)
    ours = identity.embed_crop(crop)
    assert F.cosine_similarity(ours, theirs.embed_crop(crop)) > 0.98
    # The fixed crop and the five-landmark template show the same person.
    assert F.cosine_similarity(ours, identity.embed(face)) > 0.6
    two = torch.cat([face, face])
    undetected = torch.cat([landmarks, landmarks * torch.nan])
    vectors = theirs.embed(two, undetected)
    torch.testing.assert_close(vectors[:1], theirs.embed_crop(crop))
    assert vectors.shape == (2, 512) and vectors[1].isnan().all()


def test_a_file_that_is_no_such_network_is_named(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match="check the path"):
        load_insightface(tmp_path / "buffalo.onnx")
    (tmp_path / "text.onnx").write_text("not a network")
    for path in (tmp_path / "text.onnx", asset_path("landmarks.onnx")):
        with pytest.raises(AssetError, match="not an ArcFace ONNX network"):
            load_insightface(path)
