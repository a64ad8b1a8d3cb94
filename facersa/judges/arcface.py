"""A recognition network of the user's own, as one more judge of identity.

It goes through insightface's own loader and five-landmark template. It has no
gradients, so nothing can be trained against it.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from facersa.errors import AssetError
from facersa.photo.images import to_uint8


class InsightFaceIdentity:
    """An ArcFace ONNX file behind insightface's loader."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def crop(self, images: Tensor, landmarks: Tensor) -> Tensor:
        """Pictures (B, 3, R, R) in [-1, 1] to crops (B, 3, 112, 112) of their faces.

        ``landmarks`` are the 68 of each picture, (B, 68, 2), in sides of the picture.
        """
        from insightface.utils.face_align import norm_crop

        side = images.shape[-1]
        crops = []
        for array, face in zip(to_uint8(images), landmarks.numpy(), strict=True):
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

    def embed(self, images: Tensor, landmarks: Tensor) -> Tensor:
        """Pictures and their landmarks, as in ``crop``, to unit vectors (B, D).

        NaN landmarks, an undetected face, give a vector of NaN.
        """
        vectors = torch.full((len(images), self.model.output_shape[1]), torch.nan)
        detected = ~landmarks.isnan().flatten(1).any(1)
        if detected.any():
            crops = self.crop(images[detected], landmarks[detected])
            vectors[detected] = self.embed_crop(crops)
        return vectors


def load_insightface(path: str | Path) -> InsightFaceIdentity:
    """The ArcFace ONNX file of the user behind insightface's own loader (CPU).

    Args:
        path: a recognition network, for instance the one of ``buffalo_l``
            (non-commercial terms). insightface scales its input by 127.5.

    Raises:
        AssetError: the file is missing, or not such a network.
    """
    if not Path(path).is_file():
        raise AssetError(f"there is no ONNX file {path}; check the path.")
    from insightface.model_zoo.arcface_onnx import ArcFaceONNX

    try:
        model = ArcFaceONNX(model_file=str(path))
        shapes = list(model.input_shape[1:]), list(map(type, model.output_shape[1:]))
        if shapes != ([3, 112, 112], [int]):
            raise ValueError(f"it maps {model.input_shape} to {model.output_shape}")
    except Exception as error:  # onnx, protobuf, onnxruntime: each has its own
        reason = " ".join(str(error).split())[:120]
        raise AssetError(
            f"{path} is not an ArcFace ONNX network for 112 x 112 faces ({reason}); "
            "give another file."
        ) from error
    model.prepare(-1)
    return InsightFaceIdentity(model)
