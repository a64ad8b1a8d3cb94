"""The encoder's trunk: two frozen networks, their feature maps in a common frame."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facersa.judges.networks import FrozenNetwork, IdentityJudge, tapped
from facersa.ops import pixel_centres
from facersa.photo.images import resize

SIDE = 256  # of the trunk's input
SOFT = 128  # of the copy it is given: generated faces have no finer detail
FACE_TAPS = ("add_73", "add_90")  # nodes of the identity network: 14 x 14 and 7 x 7
FACE_BOX = (32 / SIDE, 35 / SIDE, 220 / SIDE, 223 / SIDE)  # its crop, in sides
CHANNELS = {"coarse": 256 + 128, "middle": 384 + 128, "fine": 192 + 64 + 3}
SIDES = {"coarse": 8, "middle": 16, "fine": 16}


class Features(NamedTuple):
    """The trunk's output.

    coarse: (B, 384, 8, 8); middle: (B, 512, 16, 16); fine: (B, 259, 16, 16);
    identity: (B, 512), of length one.
    """

    coarse: Tensor
    middle: Tensor
    fine: Tensor
    identity: Tensor


class Trunk(FrozenNetwork):
    """Two frozen networks, and their feature maps in a common frame.

    Args:
        identity: the training judge.
        perceptual: the LPIPS module with AlexNet.
    """

    judge: IdentityJudge

    def __init__(self, identity: IdentityJudge, perceptual: nn.Module) -> None:
        network: Any = identity.network  # a graph, as onnx2torch makes it
        super().__init__(tapped(network, FACE_TAPS))
        self.judge = identity
        lpips: Any = perceptual
        self.scaling, self.alexnet = lpips.scaling_layer, lpips.net

    def forward(self, images: Tensor) -> Features:
        """Aligned faces (B, 3, R, R) in [-1, 1] to features."""
        small = resize(images, SIDE)
        levels = self.judge.levels(self.judge.crop(small))
        face14, face7, identity = self.network(levels)
        one, two, three, _, five = self.alexnet(self.scaling(small))
        coarse, middle, fine = SIDES.values()
        return Features(
            torch.cat([resize(five, coarse), _in_frame(face7, coarse)], 1),
            torch.cat([grown(three, middle), _in_frame(face14, middle)], 1),
            torch.cat([resize(x, fine) for x in (two, one, small)], 1),
            F.normalize(identity, dim=1),
        )


def _in_frame(x: Tensor, side: int) -> Tensor:
    """A map of the face crop placed into the frame of the picture, zero around."""
    corner, end = torch.tensor(FACE_BOX, device=x.device).split(2)
    unit = pixel_centres(side, side, x) / side
    grid = ((unit - corner) / (end - corner) * 2 - 1).expand(len(x), -1, -1, -1)
    return F.grid_sample(x, grid, mode="bilinear", align_corners=False)


def grown(x: Tensor, side: int) -> Tensor:
    """A map resized bilinearly to (side, side)."""
    return F.interpolate(x, (side, side), mode="bilinear", align_corners=False)
