"""Faces in a picture: dlib's detector, its 68 landmarks, and the pose from them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from facersa.assets.registry import asset_path
from facersa.photo.images import check_images, resize, to_uint8

Box = tuple[float, float, float, float]

HELD_OUT_SIDE = 512  # dlib's points are whole pixels, so the side sets their grain

ALIGNED_BOX: Box = (0.186, 0.301, 0.791, 0.906)  # dlib's mean box on aligned faces

# Points of a face that expressions hardly move: index among the 68, and place in
# millimetres from the tip of the nose (right, down, away from the camera), from
# rounded average measures of adult heads.
RIGID_POINTS: dict[int, tuple[float, float, float]] = {
    27: (0, -43, 14),
    28: (0, -29, 9),
    29: (0, -14, 4),
    30: (0, 0, 0),
    31: (-14, 9, 18),
    33: (0, 13, 14),
    35: (14, 9, 18),
    36: (-44, -38, 38),
    39: (-17, -36, 28),
    42: (17, -36, 28),
    45: (44, -38, 38),
}

FOCAL_LENGTH = 3.0  # assumed, in sides of the aligned crop: a portrait lens


class HeldOutFaces:
    """dlib's HOG detector and 68 points (held-out judge): never trained against."""

    def __init__(self, detector: Any, predictor: Any) -> None:
        self.detector = detector
        self.predictor = predictor

    def detect(self, array: np.ndarray, threshold: float = 0.0) -> list[Box]:
        """Faces in (H, W, 3) uint8 RGB: left, top, right, bottom in pixels.

        Ordered from left to right. ``threshold`` is on dlib's own score (0 is
        its default; clear faces reach 1 to 3). Faces under about 80 pixels are
        not seen.
        """
        found = self.detector.run(np.ascontiguousarray(array), 0, threshold)[0]
        return sorted((r.left(), r.top(), r.right(), r.bottom()) for r in found)

    def locate(self, array: np.ndarray, box: Box) -> np.ndarray:
        """68 points (68, 2), x and y in whole pixels, of the face in ``box``."""
        import dlib

        rectangle = dlib.rectangle(*(round(side) for side in box))
        parts = self.predictor(np.ascontiguousarray(array), rectangle).parts()
        return np.array([[p.x, p.y] for p in parts], dtype=np.float64)

    def landmarks(self, images: Tensor, *, assume_aligned: bool = False) -> Tensor:
        """Aligned faces to points (B, 68, 2), x and y in sides of the picture.

        The largest face counts. Where none is found the points are NaN, unless
        ``assume_aligned``: then the mean box of aligned faces stands in, which
        gives points but no longer says anything about detection.
        """
        rows = []
        for array in _held_out_arrays(images):
            boxes = self.detect(array)
            if boxes:
                box = max(boxes, key=lambda b: (b[2] - b[0]) * (b[3] - b[1]))
            elif assume_aligned:
                left, top, right, bottom = (s * HELD_OUT_SIDE for s in ALIGNED_BOX)
                box = (left, top, right, bottom)
            else:
                rows.append(np.full((68, 2), np.nan))
                continue
            rows.append((self.locate(array, box) + 0.5) / HELD_OUT_SIDE)
        return torch.from_numpy(np.stack(rows)).float()

    def rotations(self, points: Tensor) -> Tensor:
        """Points (B, 68, 2) of ``points`` to rotations (B, 3, 3); NaN stays NaN."""
        return rotations_from_points(points)


def _held_out_arrays(images: Tensor) -> np.ndarray:
    # dlib takes contiguous memory only.
    resized = resize(check_images(images).detach(), HELD_OUT_SIDE)
    return np.ascontiguousarray(to_uint8(resized))


def rotations_from_points(points: Tensor) -> Tensor:
    """Points (B, 68, 2) in sides of the picture to rotations (B, 3, 3).

    Perspective-n-point on the eyes and the nose of one generic rigid face,
    under an assumed focal length: good for comparing two pictures, not for
    absolute angles. Axes: right, down, away. NaN where a point is NaN.
    """
    import cv2

    model = np.array(list(RIGID_POINTS.values()), dtype=np.float64)
    camera = np.array([[FOCAL_LENGTH, 0, 0.5], [0, FOCAL_LENGTH, 0.5], [0, 0, 1]])
    rotations = np.full((len(points), 3, 3), np.nan)
    for index, row in enumerate(points.detach().cpu().double().numpy()):
        seen = np.ascontiguousarray(row[list(RIGID_POINTS)])
        if np.isnan(seen).any():
            continue
        found, turn, shift = cv2.solvePnP(
            model, seen, camera, None, flags=cv2.SOLVEPNP_SQPNP
        )
        if found:
            turn, _ = cv2.solvePnPRefineLM(model, seen, camera, None, turn, shift)
            rotations[index] = cv2.Rodrigues(turn)[0]
    return torch.from_numpy(rotations).float()


def load_held_out_faces() -> HeldOutFaces:
    """dlib's detector and 68 points (CPU)."""
    import dlib

    predictor = dlib.shape_predictor(str(asset_path("dlib_landmarks.dat")))
    return HeldOutFaces(dlib.get_frontal_face_detector(), predictor)
