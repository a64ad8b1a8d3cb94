"""Match the background of a painted face to the colours of the photo around it.

The generator paints another background than the photo has, so a pasted face would have
a halo. The photo's colours just outside the face's square are the same before and after
encryption. From there they are carried inwards, wherever the painted picture shows
background; decryption can compute the same, so nothing is stored for it.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from facersa.ops import pixel_centres
from facersa.photo.images import resize, to_float
from facersa.photo.paste import GAP
from facersa.photo.square import AROUND, Aligned, roundness, units

ANGLES = 192  # places on each ring
RINGS = tuple(1 + AROUND * k / 3 for k in range(1, 6))  # their roundness, in the photo
INSIDE = 0.96  # roundness of the ring in the painted picture they are compared with
SIDE = 64  # of the grid on which colours are carried inwards
FALL = 3.0  # weights fall with this power of the distance
NEAREST = 0.03  # distance, in sides, below which weights grow no more
FLOOR = 0.02  # pulls the change to zero where the ring shows less background than this


def match_background(
    face: Tensor, background: Tensor, photo: Tensor, aligned: Aligned
) -> Tensor:
    """A painted face whose background continues that of the photo.

    The difference between photo and face along the edge of the square is interpolated
    inwards (inverse distance weighting of places that show background), and added in
    proportion to the background at each pixel.

    Args:
        face: (1, 3, S, S) in [-1, 1], any S.
        background: (1, 1, s, s) share of background, from 0 to 1, any s.
        photo: (1, 3, H, W), uint8 or in [-1, 1]. Only places just outside the square
            are read, and none that belongs to another face.
        aligned: the position of the square in the photo, and the other faces near it.

    Returns:
        (1, 3, S, S); ``face`` itself if the photo shows nothing around the square.
    """
    height, width = photo.shape[-2:]
    matrix = torch.from_numpy(aligned.matrix).double()
    around = torch.cat([_ring(away) for away in RINGS])
    pixels = around @ matrix[:, :2].T + matrix[:, 2]
    size = pixels.new_tensor([width, height])
    usable = ((pixels > 0.5) & (pixels < size - 0.5)).all(1)
    for other in aligned.others:
        usable &= roundness(units(other, pixels)) > roundness(around) - GAP / 2
    if not usable.any():
        return face
    inside = _ring(INSIDE).repeat(len(RINGS), 1)[usable]
    gap = _colours(photo, pixels[usable]).to(face) - _at(resize(face, SIDE), inside)
    weight = _at(background, inside)[:, 0]
    grid = pixel_centres(SIDE, SIDE, face).flatten(0, 1) / SIDE
    near = torch.cdist(grid, around[usable].to(face)).clamp(min=NEAREST) ** -FALL
    total = (near @ weight + FLOOR * near.sum(1))[:, None]
    carried = (near @ (weight[:, None] * gap) / total).T.reshape(1, 3, SIDE, SIDE)
    side = face.shape[-1]
    change = _larger(carried, side) * _larger(background, side).clamp(0, 1)
    return (face + change).clamp(-1, 1)


def _ring(away: float) -> Tensor:
    """Places (ANGLES, 2) of one roundness, in unit coordinates of the square."""
    angle = torch.arange(ANGLES, dtype=torch.float64) * (2 * math.pi / ANGLES)
    direction = torch.stack([angle.cos(), angle.sin()], dim=-1) / 2
    return 0.5 + direction * (away / roundness(0.5 + direction))[:, None]


def _at(image: Tensor, unit: Tensor) -> Tensor:
    """Values (n, C) of an image (1, C, H, W) at unit coordinates (n, 2)."""
    grid = (2 * unit - 1)[None, None].to(image)
    values = F.grid_sample(image, grid, padding_mode="border", align_corners=False)
    return values[0, :, 0].T


def _colours(photo: Tensor, pixels: Tensor) -> Tensor:
    """Colours (n, 3) of a photo at places (n, 2), all half a pixel within its edges."""
    corner = (pixels - 0.5).floor().long()
    (x, y), (right, down) = corner.T, (pixels - 0.5 - corner).float().T

    def at(x: Tensor, y: Tensor) -> Tensor:
        return to_float(photo[0][:, y, x])

    above = torch.lerp(at(x, y), at(x + 1, y), right)
    below = torch.lerp(at(x, y + 1), at(x + 1, y + 1), right)
    return torch.lerp(above, below, down).T


def _larger(image: Tensor, side: int) -> Tensor:
    size = (side, side)
    return F.interpolate(image, size, mode="bicubic", align_corners=False)
