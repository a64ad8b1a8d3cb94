"""Putting a painted face back into its photograph: masks, and no seam.

A face is pasted under a rounded mask that fades towards the edges of its square.
Squares of neighbouring faces overlap, so the ground is shared out: every pixel
belongs to the face it is nearest to, measured in sides of that face's square, and a
face fades out before it comes to the border. So no two masks overlap, no paste
touches the middle of another face, and faces can be pasted, taken out and pasted
again in any order with the same result.

A generator paints its own hair, clothes and background, close to those of the photo but
not the same (``surroundings`` brings the background closer). Where detail is to be kept
(``Aligned.keeps_detail``), only an oval around the face is painted. The rest stays as
the photo has it, what the generator cannot express included, and is changed by as much
as the painted picture changes from one code to the other.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from facersa.errors import ImageError
from facersa.photo.square import Aligned, rescale, roundness, sample, units

FEATHER = 0.25  # share of the way from the edge to the centre over which a face fades

# Differences of distances, in half sides, near the border between two faces.
GAP = 0.08  # left to the photo: what two finds of one face may differ by

FADE = 0.2  # and from there on a face fades in

OVAL = (0.5, 0.53), (0.31, 0.43)  # centre and half axes of the face, in sides

RIM = 0.3  # share of the way from the oval's edge inwards over which it fades

SHOWS_IT = 10 / 255  # mean difference: five grey levels, about what JPEG 75 makes

STRIP = 256  # rows that are worked on at once, so that large photos need no more memory

Strip = tuple[slice, slice]


def paste(
    photo: Tensor,
    face_image: Tensor,
    aligned: Aligned,
    *,
    replaces: Tensor | None = None,
) -> Tensor:
    """Put an edited face back into its photo.

    Args:
        photo: the photo ``aligned`` came from, (1, 3, H, W) in [-1, 1].
        face_image: the new face (1, 3, S, S), any S.
        aligned: where it belongs, and which other faces are near.
        replaces: the face (1, 3, S, S) that was pasted there before, if any. Where
            the photo indeed shows it, its share of the faded edge is taken out,
            so that no ghost of it stays; where it does not, it is ignored. Where
            detail is kept, the difference is what changes around the oval; without
            it nothing changes there.

    Returns:
        A new photo; pixels outside the crop, and those that belong to other faces,
        are bit for bit those of ``photo``.

    Raises:
        ImageError: the photo has another size than the one that was aligned.
    """
    if tuple(photo.shape[-2:]) != aligned.photo_size:
        raise ImageError(
            f"the photo is {tuple(photo.shape[-2:])} (height, width) but the face "
            f"was cut from one of {aligned.photo_size}; pass that photo."
        )
    new = _fit(face_image, aligned)
    before = None if replaces is None else _fit(replaces, aligned)
    if before is not None and not _shows(photo, before, aligned):
        before = None
    result = photo.clone()
    for strip in _strips(aligned):
        unit, mask, covered = _masks(aligned, strip, photo.dtype)
        old, warped = photo[:, :, *strip], _warp(new, unit)
        if before is None:
            mask, blend = covered, old + covered * (warped - old)
        else:
            change = mask * (warped - _warp(before, unit))
            blend = torch.where(covered < 1, old + change, warped).clamp(-1, 1)
        result[:, :, *strip] = torch.where(mask > 0, blend, old)
    return result


def _shows(photo: Tensor, face: Tensor, aligned: Aligned) -> bool:
    """Whether the photo shows the face, to all appearance, where it is not faded."""
    total, count = 0.0, 0
    for strip in _strips(aligned):
        unit, _, covered = _masks(aligned, strip, photo.dtype)
        error = (photo[:, :, *strip] - _warp(face, unit)).abs().mean(1)[:, covered == 1]
        total, count = total + float(error.double().sum()), count + error.numel()
    return count > 0 and total / count < SHOWS_IT


def _strips(aligned: Aligned) -> Iterator[Strip]:
    """Rows and columns of the photo that the square covers, some rows at a time."""
    height, width = aligned.photo_size
    left, top = np.maximum(np.floor(aligned.quad.min(0)).astype(int), 0).tolist()
    right, bottom = np.minimum(
        np.ceil(aligned.quad.max(0)).astype(int), [width, height]
    ).tolist()
    if left < right:
        for start in range(top, bottom, STRIP):
            yield slice(start, min(start + STRIP, bottom)), slice(left, right)


def _masks(
    aligned: Aligned, strip: Strip, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Places in the square (H, W, 2) of a strip's pixels; shares (H, W).

    The first share is that of what happens in this square at all, the second that
    of the face itself: a part of it where detail is kept, else the same.
    """
    rows, columns = (
        torch.arange(s.start, s.stop, dtype=torch.float64) + 0.5 for s in strip
    )
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    pixels = torch.stack([x, y], dim=-1)
    unit = units(aligned.quad, pixels)
    # A rounded square that touches the edges of the crop: its corners show the
    # scene, where a new background would be seen most.
    away = roundness(unit)
    mask = _smooth((1 - away) / FEATHER)
    for other in aligned.others:
        mask = mask * _smooth((roundness(units(other, pixels)) - away - GAP) / FADE)
    mask = mask.to(dtype)
    return unit, mask, mask * _oval(unit).to(dtype) if aligned.keeps_detail else mask


def _oval(unit: Tensor) -> Tensor:
    """1 in a face at places (H, W, 2) of its square, 0 around it, soft between."""
    centre, axes = (torch.tensor(pair, dtype=unit.dtype) for pair in OVAL)
    return _smooth((1 - ((unit - centre) / axes).norm(dim=-1)) / RIM)


def _smooth(ramp: Tensor) -> Tensor:
    """0 up to 0, 1 from 1 on, and level at both ends."""
    ramp = ramp.clamp(0, 1)
    return ramp * ramp * (3 - 2 * ramp)


def _fit(face: Tensor, aligned: Aligned) -> Tensor:
    """A face that is no larger than its square, so that sampling leaves nothing out."""
    scale = min(1.0, aligned.side / face.shape[-1])
    return rescale(face, scale) if scale < 1 else face


def _warp(face: Tensor, unit: Tensor) -> Tensor:
    """A face (1, 3, S, S) seen at unit coordinates (H, W, 2)."""
    return sample(face, unit * 2 - 1)
