"""Paste a painted face into its photograph, under a mask without a seam.

The mask is the oval of the face (see ``blend``) or, without one, a rounded square that
fades towards the edges of the face's square. Squares of neighbouring faces overlap, so
every pixel belongs to the nearest face, in units of that face's square, and a mask ends
before the border between two faces. Therefore masks never overlap, and faces can be
pasted and replaced in any order with the same result.

In older files with ``Aligned.keeps_detail`` only an oval around the face is painted.
The rest of the square stays the photo's own and is changed by as much as the painted
picture changes there from one code to the other.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from facersa.errors import ImageError
from facersa.photo.blend import RIM_FADE, ovalness, smooth
from facersa.photo.images import bands, to_float, to_levels
from facersa.photo.square import Aligned, rescale, roundness, sample, units

FEATHER = 0.25  # of the way from the edge to the centre: there the mask fades in
# Near the border between two faces, in half sides, as differences of roundness:
GAP = 0.08  # width that stays the photo's, as two detections of a face may differ
FADE = 0.2  # width beyond it over which the mask fades in
OVAL = (0.5, 0.53), (0.31, 0.43)  # centre and half axes of the face, in sides
RIM = 0.3  # of the way from the oval's edge inwards: there the oval fades in
SHOWS_IT = 10 / 255  # mean difference: five grey levels, about that of JPEG 75
Strip = tuple[slice, slice]


def paste(
    photo: Tensor,
    face_image: Tensor,
    aligned: Aligned,
    *,
    replaces: Tensor | None = None,
) -> Tensor:
    """Paste a face into its photo.

    Args:
        photo: the photo that ``aligned`` was cut from, (1, 3, H, W), uint8 or float32
            in [-1, 1].
        face_image: the new face (1, 3, S, S), any S.
        aligned: the face's position, and the other faces near it.
        replaces: the face (1, 3, S, S) that was pasted there before, if any; ignored
            if the photo does not show it. Its share of the faded edge is removed, so
            that no trace of it stays. With ``keeps_detail``, the change from it to
            the new face is what changes around the oval.

    Returns:
        A new photo of the same dtype; pixels outside the square, and those that belong
        to other faces, are bit for bit those of ``photo``.

    Raises:
        ImageError: the photo has another size than the one that was aligned.
    """
    if tuple(photo.shape[-2:]) != aligned.photo_size:
        raise ImageError(
            f"expected the photo that the face was cut from, {aligned.photo_size} "
            f"(height, width), got one of {tuple(photo.shape[-2:])}; pass that photo."
        )
    new = _fit(face_image, aligned)
    before = None if replaces is None else _fit(replaces, aligned)
    if before is not None and not _shows(photo, before, aligned):
        before = None
    result = photo.clone()
    for strip in _strips(aligned):
        unit, mask, covered = _masks(aligned, strip)
        old, warped = to_float(photo[:, :, *strip]), _warp(new, unit)
        if before is None:
            mask, blend = covered, old + covered * (warped - old)
        else:
            change = mask * (warped - _warp(before, unit))
            blend = torch.where(covered < 1, old + change, warped).clamp(-1, 1)
        pasted = torch.where(mask > 0, blend, old)
        levels = photo.dtype == torch.uint8
        result[:, :, *strip] = to_levels(pasted) if levels else pasted
    return result


def _shows(photo: Tensor, face: Tensor, aligned: Aligned) -> bool:
    """Whether the photo is close to the face where the mask is 1."""
    total, count = 0.0, 0
    for strip in _strips(aligned):
        unit, _, covered = _masks(aligned, strip)
        difference = to_float(photo[:, :, *strip]) - _warp(face, unit)
        error = difference.abs().mean(1)[:, covered == 1]
        total, count = total + float(error.double().sum()), count + error.numel()
    return count > 0 and total / count < SHOWS_IT


def _strips(aligned: Aligned) -> Iterator[Strip]:
    """Rows and columns of the photo under the square, in bands."""
    height, width = aligned.photo_size
    left, top = np.maximum(np.floor(aligned.quad.min(0)).astype(int), 0).tolist()
    right, bottom = np.minimum(
        np.ceil(aligned.quad.max(0)).astype(int), [width, height]
    ).tolist()
    if left < right:
        for rows in bands(right - left, bottom, top):
            yield rows, slice(left, right)


def _masks(aligned: Aligned, strip: Strip) -> tuple[Tensor, Tensor, Tensor]:
    """For a strip's pixels: unit coordinates (H, W, 2) and two masks (H, W).

    The first mask is where the square may change at all, the second where the face is
    painted: the oval with ``keeps_detail``, else the same.
    """
    rows, columns = (
        torch.arange(s.start, s.stop, dtype=torch.float64) + 0.5 for s in strip
    )
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    pixels = torch.stack([x, y], dim=-1)
    unit = units(aligned.quad, pixels)
    # The corners stay outside: there a new background would be most visible.
    away = roundness(unit)
    mask = smooth((1 - away) / FEATHER)
    for other in aligned.others:
        near = _reach(other, strip)
        border = roundness(units(other, pixels[near])) - away[near] - GAP
        mask[near] *= smooth(border / FADE)
    mask = mask.float()
    if aligned.oval:
        mask = mask * smooth((1 - ovalness(unit, aligned.oval)) / RIM_FADE).float()
    return unit, mask, mask * _oval(unit).float() if aligned.keeps_detail else mask


def _reach(other: np.ndarray, strip: Strip) -> Strip:
    """The part of a strip in which a neighbour's square (4, 2) limits the mask."""
    centre = other.mean(0)
    corners = centre + (1 + GAP + FADE) * (other - centre)
    low, high = np.floor(corners.min(0)), np.ceil(corners.max(0))
    (left, top), (right, bottom) = low.astype(int), high.astype(int)
    rows, columns = strip
    return (
        slice(max(0, top - rows.start), max(0, bottom - rows.start)),
        slice(max(0, left - columns.start), max(0, right - columns.start)),
    )


def _oval(unit: Tensor) -> Tensor:
    """Mask (H, W) of the face's oval at unit coordinates (H, W, 2)."""
    centre, axes = (torch.tensor(pair, dtype=unit.dtype) for pair in OVAL)
    return smooth((1 - ((unit - centre) / axes).norm(dim=-1)) / RIM)


def _fit(face: Tensor, aligned: Aligned) -> Tensor:
    """The face, scaled down to its square if larger: sampling does not antialias."""
    scale = min(1.0, aligned.side / face.shape[-1])
    return rescale(face, scale) if scale < 1 else face


def _warp(face: Tensor, unit: Tensor) -> Tensor:
    """A face (1, 3, S, S) sampled at unit coordinates (H, W, 2)."""
    return sample(face, unit * 2 - 1)
