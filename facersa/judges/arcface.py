"""A recognition network that the user has, as one more judge of identity.

It goes through insightface's own loader and five-point template. It has no gradients,
so nothing can be trained against it.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from facersa.assets.registry import asset_path
from facersa.errors import AssetError
from facersa.photo.images import to_uint8


class InsightFaceIdentity:
    """Any ArcFace ONNX file, through insightface's loader and five-point template."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def crop(self, images: Tensor, points: Tensor) -> Tensor:
        """Pictures (B, 3, R, R) and 68 points in sides to (B, 3, 112, 112) crops."""
        from insightface.utils.face_align import norm_crop

        side = images.shape[-1]
        crops = []
        for array, face in zip(to_uint8(images), points.numpy(), strict=True):
            eyes = [face[36:42].mean(0), face[42:48].mean(0)]
            five = np.stack([*eyes, face[30], face[48], face[54]]) * side - 0.5
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)
                crops.append(norm_crop(array, five.astype(np.float32)))
        levels = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)
        return levels.float() / 127.5 - 1

    def embed_crop(self, crops: Tensor) -> Tensor:
        """(B, 3, 112, 112) crops in [-1, 1] to unit vectors (B, D)."""
        arrays = [np.ascontiguousarray(a[..., ::-1]) for a in to_uint8(crops)]
        rows = [self.model.get_feat(array)[0] for array in arrays]
        return F.normalize(torch.from_numpy(np.stack(rows)), dim=1)


def load_insightface(path: str | Path | None = None) -> InsightFaceIdentity:
    """An ArcFace ONNX file behind insightface's own loader (CPU).

    Args:
        path: a recognition network the user has, for instance the one of
            ``buffalo_l`` (non-commercial terms); by default the training judge.
            insightface scales inputs by 127.5, the training judge by 128.
    """
    path = asset_path("identity.onnx") if path is None else Path(path)
    if not path.is_file():
        raise AssetError(f"there is no ONNX file {path}; check the path.")
    from insightface.model_zoo.arcface_onnx import ArcFaceONNX

    model = ArcFaceONNX(model_file=str(path))
    model.prepare(-1)
    return InsightFaceIdentity(model)
