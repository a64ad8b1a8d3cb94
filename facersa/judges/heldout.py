"""The held-out judge of identity, dlib's: never trained against.

A cipher fools the network it was trained against, so what it achieves is measured by
another family of networks, which no gradient ever reaches. It takes the same aligned
pictures as ``networks`` does; its landmarks and pose are in ``photo.faces``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from facersa.assets.registry import asset_path
from facersa.photo.faces import (
    HELD_OUT_SIDE,
    HeldOutFaces,
    held_out_arrays,
    load_held_out_faces,
)


class HeldOutIdentity:
    """Who is this? dlib's ResNet-29, 128-d (held-out judge): never trained against."""

    def __init__(self, faces: HeldOutFaces, recogniser: Any) -> None:
        self.faces = faces
        self.recogniser = recogniser

    def embed(self, images: Tensor, landmarks: Tensor | None = None) -> Tensor:
        """Aligned faces (B, 3, R, R) to vectors (B, 128), not normalised.

        ``landmarks`` are those of ``HeldOutFaces.landmarks`` for the same pictures,
        detected here if not given. An undetected face has NaN everywhere.
        """
        import dlib

        if landmarks is None:
            landmarks = self.faces.landmarks(images)
        pixels = (landmarks.double() * HELD_OUT_SIDE - 0.5).round()
        rows = []
        for array, places in zip(held_out_arrays(images), pixels, strict=True):
            if places.isnan().any():
                rows.append(np.full(128, np.nan))
                continue
            parts = [dlib.point(int(x), int(y)) for x, y in places]
            shape = dlib.full_object_detection(dlib.rectangle(0, 0, 1, 1), parts)
            rows.append(np.array(self.recogniser.compute_face_descriptor(array, shape)))
        return torch.from_numpy(np.stack(rows)).float()


def load_held_out_identity(faces: HeldOutFaces | None = None) -> HeldOutIdentity:
    """dlib's identity network (CPU), sharing ``faces`` if they are loaded."""
    import dlib

    path = asset_path("dlib_identity.dat")
    recogniser = dlib.face_recognition_model_v1(str(path))
    return HeldOutIdentity(faces or load_held_out_faces(), recogniser)
