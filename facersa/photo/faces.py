"""Faces in a picture: dlib's detector, its 68 landmarks, and the pose from them.

dlib is also the held-out judge: nothing is ever trained against it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from facersa.assets.registry import asset_path
from facersa.photo.images import check_images, resize, to_uint8

Box = tuple[float, float, float, float]  # left, top, right, bottom
HELD_OUT_SIDE = 512  # pixels: dlib's landmarks are whole ones, so this is their grain
ALIGNED_BOX: Box = (0.186, 0.301, 0.791, 0.906)  # dlib's mean box on aligned faces

# Landmarks that expressions hardly move: index among the 68, and position in
# millimetres from the tip of the nose (right, down, away from the camera), from
# rounded average measures of adult heads.
RIGID_LANDMARKS: dict[int, tuple[float, float, float]] = {
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
    """dlib's HOG face detector and 68 landmarks."""

    def __init__(self, detector: Any, predictor: Any) -> None:
        self.detector = detector
        self.predictor = predictor

    def detect(self, array: np.ndarray, threshold: float = 0.0) -> list[Box]:
        """Boxes, in pixels, of the faces in (H, W, 3) uint8 RGB, from left to right.

        ``threshold`` is on dlib's own score: 0 is its default, clear faces reach 1
        to 3. Faces under about 80 pixels are not detected.
        """
        boxes = self.detector.run(np.ascontiguousarray(array), 0, threshold)[0]
        return sorted((r.left(), r.top(), r.right(), r.bottom()) for r in boxes)

    def locate(self, array: np.ndarray, box: Box) -> np.ndarray:
        """Landmarks (68, 2), x and y in whole pixels, of the face in ``box``."""
        import dlib

        rectangle = dlib.rectangle(*(round(side) for side in box))
        parts = self.predictor(np.ascontiguousarray(array), rectangle).parts()
        return np.array([[p.x, p.y] for p in parts], dtype=np.float64)

    def landmarks(self, images: Tensor) -> Tensor:
        """Aligned faces to landmarks (B, 68, 2), x and y in sides of the picture.

        The largest face counts; where none is detected, the landmarks are NaN.
        """
        rows = []
        for array in held_out_arrays(images):
            boxes = self.detect(array)
            if boxes:
                box = max(boxes, key=lambda b: (b[2] - b[0]) * (b[3] - b[1]))
                rows.append((self.locate(array, box) + 0.5) / HELD_OUT_SIDE)
            else:
                rows.append(np.full((68, 2), np.nan))
        return torch.from_numpy(np.stack(rows)).float()

    @staticmethod
    def rotations(landmarks: Tensor) -> Tensor:
        """Rotations (B, 3, 3) of heads from landmarks (B, 68, 2); NaN stays NaN.

        Perspective-n-point on the eyes and the nose of one generic rigid face, under
        an assumed focal length: good for comparing two pictures, not for absolute
        angles. Axes: right, down, away from the camera.
        """
        import cv2

        model = np.array(list(RIGID_LANDMARKS.values()), dtype=np.float64)
        camera = np.array([[FOCAL_LENGTH, 0, 0.5], [0, FOCAL_LENGTH, 0.5], [0, 0, 1]])
        rotations = np.full((len(landmarks), 3, 3), np.nan)
        for index, row in enumerate(landmarks.detach().cpu().double().numpy()):
            rigid = np.ascontiguousarray(row[list(RIGID_LANDMARKS)])
            if np.isnan(rigid).any():
                continue
            solved, vector, shift = cv2.solvePnP(
                model, rigid, camera, None, flags=cv2.SOLVEPNP_SQPNP
            )
            if solved:
                vector, _ = cv2.solvePnPRefineLM(
                    model, rigid, camera, None, vector, shift
                )
                rotations[index] = cv2.Rodrigues(vector)[0]
        return torch.from_numpy(rotations).float()


def held_out_arrays(images: Tensor) -> np.ndarray:
    """Aligned faces (B, 3, R, R) as dlib takes them: (B, 512, 512, 3) uint8."""
    resized = resize(check_images(images).detach(), HELD_OUT_SIDE)
    return np.ascontiguousarray(to_uint8(resized))  # dlib needs contiguous memory


def load_held_out_faces() -> HeldOutFaces:
    """dlib's face detector and 68 landmarks (CPU)."""
    import dlib

    predictor = dlib.shape_predictor(str(asset_path("dlib_landmarks.dat")))
    return HeldOutFaces(dlib.get_frontal_face_detector(), predictor)
