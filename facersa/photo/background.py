"""The background of a painted face takes the colours of the photo around it.

A generator paints another background than the photo has, and shifts its colours with
the identity, so that a pasted face would stand in a halo. What the photo shows just
outside the face's square is known to everybody who has the picture, before and after:
from there the colours are carried inwards, as far as the picture shows background.
So whoever decrypts finds what was done here, and nothing has to be stored.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from facersa.photo.images import resize
from facersa.photo.paste import GAP
from facersa.photo.square import AROUND, Aligned, roundness, units

ANGLES = 192  # places on each of the rings

RINGS = tuple(1 + AROUND * k / 3 for k in range(1, 6))  # roundness of places seen

INSIDE = 0.96  # and of those in the painted picture that they are compared with

SIDE = 64  # of the grid on which colours are carried inwards

FALL = 3.0  # power of the distance by which a place counts less

NEAREST = 0.03  # distance, in sides, below which it does not count more

FLOOR = 0.02  # share of background around the square that is too small to go by


def match_background(
    face: Tensor, background: Tensor, photo: Tensor, aligned: Aligned
) -> Tensor:
    """A painted face whose background goes on where the photo's ends.

    The difference of photo and face along the edge of the square, where the face shows
    background, is carried inwards: at each place the mean of all, weighed by distance.
    It is added by the share of background there.

    Args:
        face: (1, 3, S, S) in [-1, 1], any S.
        background: (1, 1, s, s) share of background, from 0 to 1, any s.
        photo: (1, 3, H, W) in [-1, 1], on the same device; only places around the
            square are looked at, of which none belongs to another face.
        aligned: where the square lies in the photo, and the other faces near it.

    Returns:
        (1, 3, S, S); ``face`` itself if the photo shows nothing of what is around.
    """
    height, width = photo.shape[-2:]
    within, matrix = _ring(INSIDE), torch.from_numpy(aligned.matrix).double()
    colours = _at(resize(face, SIDE), within)
    shares = _at(background, within)[:, 0]
    places, gaps, weights = [], [], []
    for away in RINGS:
        unit = _ring(away)
        pixels = unit @ matrix[:, :2].T + matrix[:, 2]
        inside = (pixels > 0.5) & (pixels < pixels.new_tensor([width, height]) - 0.5)
        ours = inside.all(1)
        for other in aligned.others:
            ours &= roundness(units(other, pixels)) > away - GAP / 2
        shown = _at(photo, pixels / pixels.new_tensor([width, height]))
        places.append(unit[ours].to(face))
        gaps.append((shown - colours)[ours])
        weights.append(shares[ours])
    gap, weight = torch.cat(gaps), torch.cat(weights)
    if not len(gap):
        return face
    axis = (torch.arange(SIDE).to(face) + 0.5) / SIDE
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    grid = torch.stack([x, y], -1).flatten(0, 1)
    near = torch.cdist(grid, torch.cat(places)).clamp(min=NEAREST) ** -FALL
    total = (near @ weight + FLOOR * near.sum(1))[:, None]
    carried = (near @ (weight[:, None] * gap) / total).T.reshape(1, 3, SIDE, SIDE)
    side = face.shape[-1]
    change = _larger(carried, side) * _larger(background, side).clamp(0, 1)
    return (face + change).clamp(-1, 1)


def _ring(away: float) -> Tensor:
    """Places (ANGLES, 2) of one roundness, in coordinates of the square."""
    angle = torch.arange(ANGLES, dtype=torch.float64) * (2 * math.pi / ANGLES)
    direction = torch.stack([angle.cos(), angle.sin()], dim=-1) / 2
    return 0.5 + direction * (away / roundness(0.5 + direction))[:, None]


def _at(image: Tensor, unit: Tensor) -> Tensor:
    """An image (1, C, H, W) at places (n, 2), 0 to 1 in it: (n, C)."""
    grid = (2 * unit - 1)[None, None].to(image)
    found = F.grid_sample(image, grid, padding_mode="border", align_corners=False)
    return found[0, :, 0].T


def _larger(image: Tensor, side: int) -> Tensor:
    size = (side, side)
    return F.interpolate(image, size, mode="bicubic", align_corners=False)
