"""The judges from outside: held out for good, heard by nobody who trains or chooses.

A cipher hides from the networks that taught it, and a little from those that its makers
look at while they choose. So these four belong to a third family (Mandic's *human*,
MIT): identity (Savchenko's FaceRes, a MobileNet), 468 landmarks (MediaPipe's face
mesh), where the eyes look (MediaPipe's iris) and expression (Arriaga's mini-Xception).
They give no gradients. Only commands that measure load them; no wing but ``evaluation``
may import this file or the panel.

All see one square around dlib's landmarks, so a face that dlib does not find is NaN.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from facersa.judges.graphs import GraphNetwork, load_graph
from facersa.judges.networks import FrozenNetwork
from facersa.ops import check_shape
from facersa.photo.faces import HELD_OUT_SIDE
from facersa.photo.images import check_images, resize

MARGIN = 0.5  # of the landmarks' box: some hair, as recognisers of VGGFace2's kind see
IDENTITY_SIDE, MESH_SIDE, EYE_SIDE, EXPRESSION_SIDE = 224, 192, 64, 64
# Corners of the eyes among the 468 landmarks, left to right in the picture.
EYES = ((33, 133), (362, 263))
EYE_MARGIN = 2.3  # sides of the square around an eye, in distances of its corners
IRIS, OUTER, INNER = 71, 0, 8  # among the 76 landmarks of an eye whose nose is right
LUMA = (0.2989, 0.587, 0.114)


class View(NamedTuple):
    """What the judges from outside say of pictures (B,); NaN where there is no face.

    Attributes:
        identity: embeddings (B, 1024), not normalised.
        mesh: landmarks (B, 468, 2), x and y in sides of the picture.
        gaze: of both eyes (B, 2, 2), left in the picture first: where the iris is from
            the middle of its eye, along the line of the corners and across it, in
            distances of the corners.
        expression: logits (B, 7).
    """

    identity: Tensor
    mesh: Tensor
    gaze: Tensor
    expression: Tensor


class OutsideJudge(FrozenNetwork):
    """Identity, landmarks, gaze and expression of aligned faces, without gradients."""

    def __init__(
        self,
        identity: GraphNetwork,
        mesh: GraphNetwork,
        iris: GraphNetwork,
        expression: GraphNetwork,
    ) -> None:
        super().__init__(identity)
        self.mesh, self.iris, self.expression = mesh, iris, expression
        self.eval().requires_grad_(False)

    @torch.no_grad()
    def view(self, images: Tensor, landmarks: Tensor) -> View:
        """Judge aligned faces (B, 3, R, R) in [-1, 1].

        Args:
            images: the pictures.
            landmarks: dlib's (B, 68, 2), in sides of the picture.
        """
        check_shape(landmarks, len(images), 68, 2, name="landmarks")
        small = resize(check_images(images), HELD_OUT_SIDE)
        rows = [
            self._one(*pair)
            for pair in zip(small.split(1), landmarks.double(), strict=True)
        ]
        return View(*(torch.cat(part) for part in zip(*rows, strict=True)))

    @torch.no_grad()
    def embed(self, image: Tensor, landmarks: Tensor) -> Tensor:
        """The identity (1, 1024) of ``view`` alone, of one face: half the time."""
        if landmarks.isnan().any():
            return torch.full((1, 1024), torch.nan)
        small = resize(check_images(image), HELD_OUT_SIDE)
        return self._identity(small, _box(landmarks[0].double()))

    def _identity(self, image: Tensor, box: tuple[int, int, int]) -> Tensor:
        levels = (cut(image, box, IDENTITY_SIDE).flip(1) + 1) * 127.5  # blue first
        (identity,) = self.network(_last(levels))
        return identity

    def _one(self, image: Tensor, landmarks: Tensor) -> View:
        if landmarks.isnan().any():
            sizes = ((1, 1024), (1, 468, 2), (1, 2, 2), (1, 7))
            return View(*(torch.full(size, torch.nan) for size in sizes))
        box = _box(landmarks)
        identity = self._identity(image, box)
        (mesh,) = self.mesh(_last((cut(image, box, MESH_SIDE) + 1) / 2))
        points = mesh.view(1, 468, 3)[..., :2] / MESH_SIDE
        left, top, side = box
        points = (points * side + points.new_tensor([left, top])) / HELD_OUT_SIDE
        grey = cut(image, box, EXPRESSION_SIDE) * image.new_tensor(LUMA)[:, None, None]
        (expression,) = self.expression(_last(grey.sum(1, keepdim=True)))
        return View(identity, points, self._gaze(image, points[0]), expression)

    def _gaze(self, image: Tensor, mesh: Tensor) -> Tensor:
        eyes = []
        for number, corners in enumerate(EYES):
            first, last = (mesh[index].double() * HELD_OUT_SIDE for index in corners)
            wide = EYE_MARGIN * (last - first).abs().amax()
            eye = cut(image, _square((first + last) / 2, wide), EYE_SIDE)
            eyes.append(eye.flip(3) if number else eye)  # the nose is on the right
        (found,) = self.iris(_last((torch.cat(eyes) + 1) / 2))
        places = found.view(2, 76, 3)[..., :2]
        iris, outer, inner = (places[:, index] for index in (IRIS, OUTER, INNER))
        along = inner - outer
        across = torch.stack([-along[:, 1], along[:, 0]], 1)
        offset = iris - (inner + outer) / 2
        both = [(offset * axis).sum(1) for axis in (along, across)]
        gaze = torch.stack(both, 1) / along.square().sum(1, keepdim=True)
        gaze[1, 0] *= -1  # the second eye was mirrored
        return gaze[None]


def _box(landmarks: Tensor) -> tuple[int, int, int]:
    """The square that all networks see around landmarks (68, 2)."""
    low, high = HELD_OUT_SIDE * landmarks.amin(0), HELD_OUT_SIDE * landmarks.amax(0)
    return _square((low + high) / 2, (1 + MARGIN) * (high - low).amax())


def _square(centre: Tensor, side: Tensor) -> tuple[int, int, int]:
    """Left, top and side in whole pixels, of a square given in pixels."""
    x, y = centre.tolist()
    wide = max(8, round(float(side)))
    return round(x - wide / 2), round(y - wide / 2), wide


def cut(image: Tensor, box: tuple[int, int, int], size: int) -> Tensor:
    """A square (left, top, side) of a picture at (1, 3, size, size).

    Beyond the picture its edge goes on.
    """
    left, top, side = box
    rows = torch.arange(top, top + side).clamp(0, image.shape[2] - 1)
    columns = torch.arange(left, left + side).clamp(0, image.shape[3] - 1)
    part = image[:, :, rows][:, :, :, columns]
    return F.interpolate(part, (size, size), mode="bilinear", antialias=True)


def _last(pictures: Tensor) -> Tensor:
    """(B, C, H, W) as TensorFlow has it, channels last."""
    return pictures.permute(0, 2, 3, 1)


def mesh_distance(a: Tensor, b: Tensor, *, by: str = "side") -> Tensor:
    """Mean distance (B,) of landmarks (B, 468, 2), as ``metrics.landmark_distance``."""
    check_shape(a, None, 468, 2, name="a")
    distance = (a - b).norm(dim=-1).mean(1)
    if by == "side":
        return distance
    left, right = (a[:, list(corners)].mean(1) for corners in EYES)
    return distance / (left - right).norm(dim=-1)


def gaze_distance(a: Tensor, b: Tensor) -> Tensor:
    """How far the irises of (B, 2, 2) moved, mean of both eyes (B,).

    In distances of the corners of an eye: about .1 is to look from straight ahead to
    the side.
    """
    check_shape(a, None, 2, 2, name="a")
    return (a - b).norm(dim=-1).mean(1)


def load_outside() -> OutsideJudge:
    """The four networks (CPU), fetched if they are not in the cache."""
    return OutsideJudge(
        load_graph("outside_faceres.safetensors", "global_pooling/Mean"),
        load_graph("outside_facemesh.safetensors", "Identity_2"),
        load_graph("outside_iris.safetensors", "Identity"),
        load_graph(
            "outside_emotion.safetensors",
            "StatefulPartitionedCall/model_1/global_average_pooling2d_1/Mean",
        ),
    )
