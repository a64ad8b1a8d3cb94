"""Judges: parity with the published files, pinned values, gradients, undetected."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facersa.assets.registry import asset_path
from facersa.errors import AssetError, ImageError
from facersa.generator.base import Generator
from facersa.judges import networks as judges
from facersa.judges.heldout import HeldOutIdentity, load_held_out_identity
from facersa.judges.networks import Detector, FrozenNetwork, IdentityJudge
from facersa.photo.faces import HeldOutFaces, load_held_out_faces
from facersa.photo.square import crop

load_identity = cache(judges.load_identity)
load_landmarks = cache(judges.load_landmarks)
load_pose = cache(judges.load_pose)
load_expression = cache(judges.load_expression)
load_detector = cache(judges.load_detector)
LOADERS = (load_identity, load_landmarks, load_pose, load_detector)


@pytest.fixture
def identity() -> IdentityJudge:
    return load_identity()


@pytest.fixture(scope="module")
def faces() -> HeldOutFaces:
    return load_held_out_faces()


@pytest.fixture(scope="module")
def held_out(faces: HeldOutFaces) -> HeldOutIdentity:
    return load_held_out_identity(faces)


@pytest.fixture
def detector() -> Detector:
    return load_detector()


@pytest.fixture
def face(astronaut: Tensor) -> Tensor:
    """The astronaut's face, cut as FFHQ cuts (``align`` finds this square too)."""
    quad = np.array([[143.3, 15.8], [134.3, 189.1], [307.6, 198.0], [316.6, 24.7]])
    return crop(astronaut, quad, 256).image


@pytest.mark.parametrize(
    ("name", "load", "shape"),
    [
        ("identity.onnx", load_identity, (3, 112, 112)),
        ("landmarks.onnx", load_landmarks, (1, 64, 64)),
        ("pose.onnx", load_pose, (3, 224, 224)),
        ("expression.onnx", load_expression, (3, 224, 224)),
    ],
)
def test_converted_networks_equal_onnx_runtime_one_by_one(
    name: str, load: Callable[[], FrozenNetwork], shape: tuple[int, ...]
) -> None:
    """A batch of 3 through ours is three runs of 1 through the published file."""
    batch = torch.randn(3, *shape)
    session = onnxruntime.InferenceSession(
        asset_path(name), providers=["CPUExecutionProvider"]
    )
    runs = [session.run(None, {"input": row[None].numpy()}) for row in batch]
    with torch.no_grad():
        ours = load().network(batch)
    ours = ours if isinstance(ours, tuple | list) else [ours]
    assert len(ours) == len(runs[0])
    for index, output in enumerate(ours):
        theirs = np.concatenate([run[index] for run in runs])
        np.testing.assert_allclose(output.numpy(), theirs, atol=1e-4)


def test_detector_decodes_as_the_published_file(detector: Detector) -> None:
    images = torch.rand(2, 3, 240, 320) * 2 - 1
    session = onnxruntime.InferenceSession(
        asset_path("detector.onnx"), providers=["CPUExecutionProvider"]
    )
    ready = (((images + 1) * 127.5 - 127) / 128).numpy()
    with torch.no_grad():
        boxes, scores = detector(images)
    for index in range(2):
        their_scores, their_boxes = session.run(
            None, {"input": ready[index : index + 1]}
        )
        np.testing.assert_allclose(boxes[index], their_boxes[0], atol=1e-4)
        np.testing.assert_allclose(scores[index], their_scores[0, :, 1], atol=1e-4)


def test_identity_does_not_depend_on_the_batch(
    identity: IdentityJudge, face: Tensor
) -> None:
    batch = torch.cat([face, face.flip(3), torch.rand(1, 3, 256, 256) * 2 - 1])
    together = identity.embed(batch)
    alone = torch.cat([identity.embed(row[None]) for row in batch])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(3))


def test_identity_knows_a_face_from_its_mirror_and_from_noise(
    identity: IdentityJudge, face: Tensor
) -> None:
    noise = torch.rand(1, 3, 256, 256) * 2 - 1
    own, mirrored, other = identity.embed(torch.cat([face, face.flip(3), noise]))
    assert own @ mirrored > 0.8
    assert own @ other < 0.4


def test_identity_is_the_same_at_every_size(
    identity: IdentityJudge, face: Tensor
) -> None:
    large = face.repeat_interleave(4, 2).repeat_interleave(4, 3)
    cosine = (identity.embed(face) * identity.embed(large)).sum(1)
    torch.testing.assert_close(cosine, torch.ones(1), atol=1e-5, rtol=0)


def test_the_crop_is_the_rows_and_columns_of_the_family(
    identity: IdentityJudge,
) -> None:
    image = torch.full((1, 3, 256, 256), -1.0)
    image[:, :, 35:223, 32:220] = 1
    assert identity.crop(image).shape == (1, 3, 112, 112)
    assert identity.crop(image).min() == 1
    image[:, :, 34] = image[:, :, 223] = 5
    assert identity.crop(image).max() == 1


def score(network: FrozenNetwork, image: Tensor) -> Tensor:
    output = network(image)
    output = output[1].amax(1) if isinstance(network, Detector) else output
    return output.square().sum()


@pytest.mark.parametrize("load", LOADERS, ids=["id", "landmarks", "pose", "detect"])
def test_gradients_reach_the_pixels_and_not_the_weights(
    load: Callable[[], FrozenNetwork], face: Tensor
) -> None:
    network = load()
    image = face.clone().requires_grad_()
    goal = (
        (network(image) * torch.randn(512)).sum()
        if isinstance(
            network, IdentityJudge
        )  # the squared length of a unit vector is flat
        else score(network, image)
    )
    goal.backward()
    assert image.grad is not None and image.grad.isfinite().all()
    assert image.grad.abs().max() > 0
    assert all(p.grad is None and not p.requires_grad for p in network.parameters())
    network.train()
    assert not any(module.training for module in network.modules())


def test_both_landmark_judges_agree_on_a_face(
    faces: HeldOutFaces, face: Tensor
) -> None:
    held_out = faces.landmarks(face)
    ours = load_landmarks().landmarks(face)
    eyes = (held_out[:, 36:42].mean(1) - held_out[:, 42:48].mean(1)).norm(dim=-1)
    apart = (ours - held_out).norm(dim=-1).mean(1) / eyes
    assert apart < 0.08
    # Both number the points alike: nose tip below the eyes, chin below the mouth.
    for points in (ours[0], held_out[0]):
        assert points[36:48, 1].max() < points[30, 1] < points[57, 1] < points[8, 1]
        assert points[36, 0] < points[45, 0]


def rotate(image: Tensor, degrees: float) -> Tensor:
    """Turn a picture counter-clockwise about its middle."""
    turn = torch.deg2rad(torch.tensor(degrees))
    cos, sin = turn.cos().item(), turn.sin().item()
    theta = torch.tensor([[[cos, -sin, 0.0], [sin, cos, 0.0]]])
    grid = F.affine_grid(theta, list(image.shape), align_corners=False)
    return F.grid_sample(image, grid, padding_mode="border", align_corners=False)


def test_pose_follows_a_turn_of_the_picture(faces: HeldOutFaces, face: Tensor) -> None:
    """Both pose judges see a 15 degree roll as a 15 degree rotation about z."""
    pose = load_pose()
    turned = rotate(face, 15.0)
    for before, after in (
        (pose.rotations(face), pose.rotations(turned)),
        (
            faces.rotations(faces.landmarks(face)),
            faces.rotations(faces.landmarks(turned)),
        ),
    ):
        identity = torch.eye(3).expand(1, 3, 3)
        torch.testing.assert_close(before @ before.mT, identity, atol=1e-5, rtol=0)
        change = after @ before.mT
        cosine = (change.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2
        assert 9 < torch.rad2deg(cosine.acos()) < 21
        assert change[0, 1, 0] < 0  # counter-clockwise, y downwards


def test_both_pose_judges_see_a_head_turn_the_same_way(
    faces: HeldOutFaces, generator: Generator
) -> None:
    """Seed 1 looks to one side and seed 6 to the other, by about 19 and 11."""
    pose = load_pose()
    for code, lowest, highest in zip(
        generator.sample([1, 6], 1.0), (12, -18), (26, -6), strict=True
    ):
        with torch.no_grad():
            image = generator.synthesize(code[None])
            yaw = pose.angles(image)[0, 0]
        held_out = faces.rotations(faces.landmarks(image))[0]
        for angle in (yaw, torch.rad2deg(torch.asin(-held_out[2, 0]))):
            assert lowest < angle < highest


def test_expression_prefers_happy_for_a_smile(face: Tensor) -> None:
    assert load_expression().logits(face).argmax() == 3


def test_a_blank_picture_is_undetected(
    faces: HeldOutFaces, held_out: HeldOutIdentity, detector: Detector, face: Tensor
) -> None:
    batch = torch.cat([torch.zeros_like(face), face])
    points = faces.landmarks(batch)
    assert points[0].isnan().all() and not points[1].isnan().any()
    embeddings = held_out.embed(batch, points)
    assert embeddings.isnan().all(1).tolist() == [True, False]
    assert faces.rotations(points).isnan().all((1, 2)).tolist() == [True, False]
    blank, clear = detector(batch)[1].amax(1).tolist()
    assert blank < 0.5 < 0.95 < clear
    boxes = detector.detect(batch)
    assert len(boxes[0][0]) == 0 and len(boxes[1][0]) == 1


def test_detector_box_and_held_out_box_cover_the_same_face(
    faces: HeldOutFaces, detector: Detector, astronaut: Tensor
) -> None:
    array = ((astronaut[0].permute(1, 2, 0) + 1) * 127.5).byte().numpy()
    left, top, right, bottom = (side / 512 for side in faces.detect(array)[0])
    box = detector.detect(astronaut)[0][0][0]
    width = min(right, box[2]) - max(left, box[0])
    height = min(bottom, box[3]) - max(top, box[1])
    assert width * height > 0.6 * (right - left) * (bottom - top)


@pytest.mark.parametrize("shape", [(3, 256, 256), (1, 3, 256, 128), (1, 3, 100, 100)])
def test_unaligned_pictures_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match="align the photo first"):
        judges.check_images(torch.zeros(shape))


def pooled(image: Tensor, factor: int) -> Tensor:
    small = F.avg_pool2d(image, factor)
    return small.repeat_interleave(factor, 2).repeat_interleave(factor, 3)


@pytest.mark.parametrize(
    ("net", "blurred", "mirrored"),
    [
        ("alex", 0.3947687, 0.6362972),
        pytest.param("vgg", 0.4549369, 0.6946837, marks=pytest.mark.slow),
    ],
)
def test_lpips_of_the_astronaut_is_pinned(
    net: str, blurred: float, mirrored: float, astronaut: Tensor
) -> None:
    """The astronaut at 256 x 256, against its 4 x 4 means and its mirror image."""
    lpips: nn.Module = judges.load_lpips(net)
    astronaut = F.avg_pool2d(astronaut, 2)
    with torch.no_grad():
        assert lpips(astronaut, astronaut).item() == 0
        found = lpips(astronaut, pooled(astronaut, 4)).item()
        assert found == pytest.approx(blurred, abs=1e-4)
        assert lpips(astronaut, pooled(astronaut, 2)).item() < found
        found = lpips(astronaut, astronaut.flip(3)).item()
        assert found == pytest.approx(mirrored, abs=1e-4)


def test_lpips_linear_weights_are_those_of_its_own_package() -> None:
    import lpips

    folder = Path(lpips.__file__).parent / "weights" / "v0.1"
    bundled = torch.load(folder / "alex.pth", map_location="cpu", weights_only=True)
    ours = judges.load_lpips().state_dict()
    for key, value in bundled.items():
        torch.testing.assert_close(ours[key], value, atol=0, rtol=0)


def test_lpips_says_which_networks_there_are() -> None:
    with pytest.raises(AssetError, match="alex"):
        judges.load_lpips("squeeze")
