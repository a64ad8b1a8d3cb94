"""The part of a photograph that changes: an oval in the face, in the light around it.

The painted face has light and skin of its own. What differs from the photograph along
the rim of the oval is carried inwards as a membrane (harmonic interpolation, which is
Poisson image editing, Perez et al. 2003) and added, so that no edge is left and the
face takes the colours of the neck and the forehead it sits on. Hair, ears, clothes and
background stay the photograph's own.

The rim says little of the light on nose and cheeks. So the middle of the face also
keeps its mean colour in the photograph, and how that changes from side to side and from
top to bottom: nine numbers, a plane for each channel. What is finer than that is
``texture``.

All of it can be computed again at decryption. The pixels beyond the rim are never
painted, and the light is in the encrypted picture, because it was painted to have it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from facersa.photo.images import resize
from facersa.photo.square import Aligned, crop, roundness, unit_grid, units

UNITS = 255  # an oval is stored in so many parts of the square's side
SHRUNK = 0.9  # of the way from the middle to the outline: the rim lies on skin
# Above the brows, in heights from there to the chin: room for brows that lie higher,
# but not for a hairline.
FOREHEAD = 0.22
RIM_FADE = 0.2  # of the way from the rim inwards: there the painted face fades in
BEYOND = 1.07  # of the oval's radius: where the photograph is read
SIDE = 128  # of the grid on which the membrane is computed
# Where the light on a face is measured: in radii of the oval, and of the way from its
# centre up and down, which leaves out forehead, beard and chin.
MIDDLE, UP, DOWN = 0.65, -0.35, 0.5
SEEN = 200  # places of the grid that must be seen there
GAP = 0.04  # towards a neighbour's square, in differences of roundness: not read


def fit_oval(landmarks: np.ndarray, quad: np.ndarray) -> tuple[int, ...]:
    """The oval inside a face: centre x, y, and reach left, right, up and down.

    Args:
        landmarks: dlib's 68, (68, 2), in pixels of the photo.
        quad: the face's square (4, 2).

    Returns:
        In parts of the side, 255 in all, from the upper left corner of the square.
    """
    u = units(quad, torch.from_numpy(landmarks)).numpy()
    x, y = u[27, 0], u[27:31, 1].mean()
    brows, chin = u[17:27, 1].min(), u[8, 1]
    top = brows - FOREHEAD * (chin - brows)
    reach = [x - u[:4, 0].min(), u[13:17, 0].max() - x, y - top, chin - y]
    parts = [x, y, *(SHRUNK * length for length in reach)]
    return tuple(int(v) for v in np.clip(np.rint(np.array(parts) * UNITS), 8, 200))


def ovalness(unit: Tensor, oval: Sequence[int]) -> Tensor:
    """Distance of unit coordinates (..., 2) from an oval's centre; 1 on its rim."""
    x, y, left, right, up, down = (part / UNITS for part in oval)
    across, along = unit[..., 0] - x, unit[..., 1] - y
    across = torch.where(across < 0, across / left, across / right)
    along = torch.where(along < 0, along / up, along / down)
    return torch.hypot(across, along)


def smooth(ramp: Tensor) -> Tensor:
    """Smoothstep: 0 up to 0, 1 from 1 on, with slope 0 at both ends."""
    ramp = ramp.clamp(0, 1)
    return ramp * ramp * (3 - 2 * ramp)


def harmonise(face: Tensor, photo: Tensor, aligned: Aligned) -> Tensor:
    """A painted face in the light of the photograph around its oval.

    Args:
        face: (1, 3, S, S) in [-1, 1], any S.
        photo: (1, 3, H, W), uint8 or in [-1, 1].
        aligned: the position of the square, its oval, and the other faces near it.

    Returns:
        (1, 3, S, S); ``face`` itself where nothing around the oval can be read.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.linalg import spsolve

    unit = unit_grid(SIDE)
    away = ovalness(unit, aligned.oval)
    inside, seen = (away < BEYOND).numpy(), readable(unit, aligned).numpy()
    around = seen & ~inside
    small = resize(face, SIDE).double().cpu()
    gap = (crop(photo, aligned.quad, SIDE).image.double() - small)[0].numpy()
    number = np.full((SIDE, SIDE), -1)
    count = int(inside.sum())
    number[inside] = np.arange(count)
    # Each place inside is the mean of its neighbours; what cannot be read is left out.
    rows, columns, weights = [], [], []
    known, degree = np.zeros((count, 3)), np.zeros(count)
    for axis_, step in ((0, 1), (0, -1), (1, 1), (1, -1)):
        beside, there = (
            np.roll(number, step, axis_)[inside],
            np.roll(around, step, axis_),
        )
        edge, link = there[inside], beside >= 0
        known[edge] += np.roll(gap, step, axis_ + 1)[:, inside].T[edge]
        degree += edge | link
        rows.append(np.flatnonzero(link))
        columns.append(beside[link])
        weights.append(np.full(int(link.sum()), -1.0))
    if not known.any():
        return face
    rows.append(np.arange(count))
    columns.append(np.arange(count))
    weights.append(degree)
    places = np.concatenate(rows), np.concatenate(columns)
    laplacian = csr_array((np.concatenate(weights), places), shape=(count, count))
    membrane = np.where(inside, 0.0, gap)
    membrane[:, inside] = spsolve(laplacian.tocsc(), known).T
    if aligned.tone:
        membrane += _light(gap - membrane, unit, aligned.oval, seen)
    size = face.shape[-2:]
    change = F.interpolate(
        torch.from_numpy(membrane)[None].to(face), size, mode="bicubic"
    )
    return (face + change).clamp(-1, 1)


def _light(
    gap: np.ndarray, unit: Tensor, oval: Sequence[int], seen: np.ndarray
) -> np.ndarray:
    """The plane through ``gap`` (3, H, W) in the middle of a face, faded to its rim."""
    away, (u, v) = ovalness(unit, oval), unit.numpy().transpose(2, 0, 1)
    x, y, _, _, up, down = (part / UNITS for part in oval)
    along = np.where(v < y, (v - y) / up, (v - y) / down)
    middle = (away < MIDDLE).numpy() & (along > UP) & (along < DOWN) & seen
    if middle.sum() < SEEN:
        return np.zeros_like(gap)
    plane = np.stack([np.ones_like(u), u - x, v - y], -1)
    fitted, *_ = np.linalg.lstsq(plane[middle], gap[:, middle].T, rcond=None)
    fade = smooth((1 - away) / (1 - MIDDLE)).numpy()
    return (plane @ fitted).transpose(2, 0, 1) * fade


def readable(unit: Tensor, aligned: Aligned) -> Tensor:
    """Which places (..., 2) of the square are in the photo and no other face's."""
    pixels = unit @ torch.from_numpy(aligned.matrix[:, :2].T)
    pixels = pixels + torch.from_numpy(aligned.matrix[:, 2])
    height, width = aligned.photo_size
    limit = pixels.new_tensor([width, height])
    readable = ((pixels > 0) & (pixels < limit)).all(-1)
    for other in aligned.others:
        readable &= roundness(units(other, pixels)) > roundness(unit) + GAP
    return readable
