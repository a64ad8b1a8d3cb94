"""Faces by dlib: boxes, landmarks, and the rotation of a head from its landmarks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from facersa.errors import ImageError
from facersa.photo.faces import (
    ALIGNED_BOX,
    FOCAL_LENGTH,
    RIGID_LANDMARKS,
    HeldOutFaces,
    held_out_arrays,
    load_held_out_faces,
)
from facersa.photo.square import crop


@pytest.fixture(scope="module")
def faces() -> HeldOutFaces:
    return load_held_out_faces()


@pytest.fixture
def face(astronaut: Tensor) -> Tensor:
    quad = np.array([[143.3, 15.8], [134.3, 189.1], [307.6, 198.0], [316.6, 24.7]])
    return crop(astronaut, quad, 256).image


def test_landmarks_of_the_model_face_give_its_rotation_back() -> None:
    turn = Rotation.from_euler("yx", [0.3, -0.2])
    model = np.array(list(RIGID_LANDMARKS.values()))
    placed = turn.apply(model) + [5.0, -10.0, 700.0]
    landmarks = torch.zeros(2, 68, 2)
    projected = FOCAL_LENGTH * placed[:, :2] / placed[:, 2:] + 0.5
    landmarks[0, list(RIGID_LANDMARKS)] = torch.from_numpy(projected).float()
    landmarks[1] = torch.nan
    rotations = HeldOutFaces.rotations(landmarks)
    expected = torch.from_numpy(turn.as_matrix()).float()
    torch.testing.assert_close(rotations[0], expected, atol=1e-3, rtol=0)
    assert rotations[1].isnan().all()


def test_an_aligned_face_has_its_box_and_its_landmarks(
    faces: HeldOutFaces, face: Tensor
) -> None:
    (box,) = faces.detect(held_out_arrays(face)[0])
    np.testing.assert_allclose(np.array(box) / 512, ALIGNED_BOX, atol=0.1)
    landmarks = faces.landmarks(face)[0]
    assert landmarks.shape == (68, 2)
    left_eye, right_eye, mouth = (
        landmarks[part].mean(0) for part in (slice(36, 42), slice(42, 48), [48, 54])
    )
    assert left_eye[0] < mouth[0] < right_eye[0] and left_eye[1] < mouth[1]


def test_where_no_face_is_detected_the_landmarks_are_nan(
    faces: HeldOutFaces, face: Tensor
) -> None:
    batch = torch.cat([torch.zeros_like(face), face])
    landmarks = faces.landmarks(batch)
    assert landmarks.isnan().all((1, 2)).tolist() == [True, False]


def test_pictures_that_are_not_aligned_faces_are_refused(faces: HeldOutFaces) -> None:
    with pytest.raises(ImageError, match="align the photo first"):
        faces.landmarks(torch.zeros(1, 3, 256, 128))
