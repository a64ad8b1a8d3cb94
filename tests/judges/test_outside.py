"""Tests of the judges from outside, and that nobody listens to them."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import facersa
from facersa.generator.base import Generator
from facersa.generator.openvino import Renderer
from facersa.judges.outside import (
    OutsideJudge,
    View,
    cut,
    gaze_distance,
    load_outside,
    mesh_distance,
)
from facersa.photo.align import align
from facersa.photo.faces import HeldOutFaces, load_held_out_faces
from facersa.photo.images import resize

PACKAGE = Path(facersa.__file__).parent
# Who may hear the panel: what measures. Nothing here trains, searches or encrypts.
MEASURES = (
    "judges",
    "evaluation",
    *(f"cli/{command}.py" for command in ("attack", "demo", "measure", "fit")),
)
HAPPY = 3


@pytest.fixture(scope="module")
def judge() -> OutsideJudge:
    return load_outside()


@pytest.fixture(scope="module")
def faces() -> HeldOutFaces:
    return load_held_out_faces()


@pytest.fixture(scope="module")
def face(faces: HeldOutFaces, astronaut: Tensor) -> Tensor:
    return align(astronaut, 512, faces=faces).image


def test_it_sees_the_astronaut(
    judge: OutsideJudge, faces: HeldOutFaces, face: Tensor
) -> None:
    landmarks = faces.landmarks(face)
    view = judge.view(face, landmarks)
    assert [tuple(part.shape) for part in view] == [
        (1, 1024),
        (1, 468, 2),
        (1, 2, 2),
        (1, 7),
    ]
    assert view.expression.argmax() == HAPPY  # she smiles
    # Corners of the eyes, tip of the nose and chin are where dlib has them.
    mesh = view.mesh[0, [33, 133, 362, 263, 1, 152]]
    dlib = landmarks[0, [36, 39, 42, 45, 30, 8]]
    assert (mesh - dlib).norm(dim=1).max() < 0.025
    assert view.gaze.abs().max() < 0.1  # into the camera
    assert float(view.identity.norm()) == pytest.approx(13.401, rel=0.01)


def test_a_smaller_and_a_mirrored_picture_say_the_same(
    judge: OutsideJudge, faces: HeldOutFaces, face: Tensor
) -> None:
    def view(image: Tensor) -> View:
        return judge.view(image, faces.landmarks(image))

    first, small, mirrored = view(face), view(resize(face, 256)), view(face.flip(3))
    for other in (small, mirrored):
        assert F.cosine_similarity(first.identity, other.identity) > 0.8
        assert other.expression.argmax() == HAPPY
    assert mesh_distance(first.mesh, small.mesh) < 0.01
    back = mirrored.gaze.flip(1) * torch.tensor([-1.0, 1.0])
    assert gaze_distance(first.gaze, back) < 0.06
    assert mesh_distance(first.mesh, small.mesh, by="eyes") == pytest.approx(
        float(mesh_distance(first.mesh, small.mesh)) / 0.25, rel=0.1
    )


def test_people_differ_and_their_skin_and_hair_colour_do_not_make_another(
    judge: OutsideJudge, faces: HeldOutFaces, generator: Generator
) -> None:
    codes = generator.sample(range(4), 0.85)
    other = codes.clone()
    other[:, 9:] = codes[:, 9:].roll(1, 0)
    pictures = Renderer(generator).full(torch.cat([codes, other]))
    small = resize(pictures, 512)
    embedded = F.normalize(judge.view(small, faces.landmarks(small)).identity)
    same = (embedded[:4] * embedded[4:]).sum(1)
    strangers = (embedded[:4] @ embedded[:4].T)[~torch.eye(4, dtype=torch.bool)]
    assert same.min() > strangers.max() + 0.1


def test_gaze_follows_the_iris(
    judge: OutsideJudge, faces: HeldOutFaces, face: Tensor
) -> None:
    """Eyes whose inside is moved to the right look to the right, both of them."""
    landmarks = faces.landmarks(face)
    moved = face.clone()
    for first, last in ((36, 39), (42, 45)):
        (left, y), (right, _) = (landmarks[0, [first, last]] * 512).round().long()
        inside = slice(int(left) + 8, int(right) - 8)
        rows = slice(int(y) - 8, int(y) + 14)
        shifted = slice(inside.start + 7, inside.stop + 7)
        moved[:, :, rows, shifted] = face[:, :, rows, inside]
    before, after = (judge.view(one, landmarks).gaze[0] for one in (face, moved))
    assert (after[:, 0] > before[:, 0] + 0.03).all()


def test_no_face_has_no_view(judge: OutsideJudge) -> None:
    nowhere = torch.full((1, 68, 2), math.nan)
    view = judge.view(torch.zeros(1, 3, 128, 128), nowhere)
    assert all(part.isnan().all() for part in view)
    assert mesh_distance(view.mesh, view.mesh).isnan().all()


def test_a_cut_beyond_the_edge_goes_on_with_it() -> None:
    image = torch.arange(64.0).view(1, 1, 8, 8).expand(1, 3, 8, 8) / 64
    inside = cut(image, (2, 1, 4), 4)
    assert torch.equal(inside, image[:, :, 1:5, 2:6])
    outside = cut(image, (-4, -4, 8), 8)
    assert torch.equal(outside[0, 0, :4, :4], image[0, 0, 0, 0].expand(4, 4))
    assert torch.equal(outside[:, :, 4:, 4:], image[:, :, :4, :4])


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_nothing_that_trains_or_encrypts_hears_them() -> None:
    """Nor reaches them by way of the panel, the graphs or the calibration."""
    near = ("outside", "panel", "graphs", "calibration")
    hearers = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        for name in imported(path)
        if name.startswith(tuple(f"facersa.judges.{one}" for one in near))
    }
    assert hearers and all(name.startswith(MEASURES) for name in hearers), hearers
    # Of the fits only the calibration of the judges themselves.
    training = (PACKAGE / "cli" / "fit.py").read_text()
    assert training.count("facersa.judges.calibration import calibrate_all") == 1
    assert "outside" not in training and "panel" not in training
    for wing in ("training", "inversion", "cipher", "sealing"):
        for path in (PACKAGE / wing).rglob("*.py"):
            assert '"outside"' not in path.read_text(), path
