"""The square of a face in a photograph: its position, and the crop.

The generator was trained on FFHQ pictures, in which eyes and mouth are always in about
the same position. ``ffhq_quad`` computes that square from dlib's 68 landmarks (Karras
et al. 2019) and ``crop`` cuts it out; ``paste.paste`` is the way back.

Coordinates are continuous: pixel i covers the interval from i to i + 1. Unit
coordinates go from 0 to 1 along the sides of a square.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from facersa.errors import ImageError
from facersa.photo.images import bands, to_float

MAX_REACH = 10  # photo sides: the largest coordinate of a stored square
ROUNDNESS = 2.5  # exponent of the norm: 2 gives circles, infinity squares
BLUR = 0.02  # sides: of what is filled in beyond the photo
AROUND = 0.06  # sides: the margin around a square in which the photo is read
MAX_OTHERS = 32  # neighbours that are kept, the nearest: each costs time in pasting
SAME_FACE = 0.5  # half sides: centres nearer than this belong to one face


@dataclass(frozen=True)
class Aligned:
    """An aligned face and its square in the photo.

    Attributes:
        image: the face (1, 3, S, S), RGB in [-1, 1].
        quad: its corners in the photo (4, 2), x and y in pixels: top left, bottom
            left, bottom right, top right. Always a square, perhaps rotated.
        photo_size: height and width of the photo.
        others: squares (4, 2) of other faces in the photo that reach into this one.
        oval: the part of the face that is painted, see ``blend``; empty: the square.
        keeps_detail: how older files did that; see ``paste.paste``.
        tone: whether the middle of the face keeps the photo's light, see ``blend``; not
            so in older files.
    """

    image: Tensor
    quad: np.ndarray
    photo_size: tuple[int, int]
    others: tuple[np.ndarray, ...] = ()
    keeps_detail: bool = False
    oval: tuple[int, ...] = ()
    tone: bool = False

    @property
    def side(self) -> float:
        """Length of the square's side in pixels of the photo."""
        return float(np.linalg.norm(self.quad[3] - self.quad[0]))

    @property
    def matrix(self) -> np.ndarray:
        """(2, 3), from unit coordinates (u, v, 1) to pixels (x, y) of the photo."""
        origin, down, _, across = self.quad
        return np.stack([across - origin, down - origin, origin], axis=1)

    def beside(self, squares: Sequence[np.ndarray]) -> Aligned:
        """A copy with those of ``squares`` (4, 2) added that are other faces nearby.

        At most ``MAX_OTHERS`` are kept, the nearest.
        """
        others = list(self.others)
        for quad in squares:
            known = [self.quad, *others]
            if _near(self.quad, quad) and not same_face(quad, known).any():
                others.append(quad)
        middle = self.quad.mean(0)
        others.sort(key=lambda quad: float(np.linalg.norm(quad.mean(0) - middle)))
        return replace(self, others=tuple(others[:MAX_OTHERS]))

    def to_dict(self) -> dict[str, Any]:
        """The geometry, without the picture, for JSON."""
        place: dict[str, Any] = {"quad": self.quad.tolist()}
        place["photo_size"] = list(self.photo_size)
        if self.others:
            place["others"] = [quad.round(3).tolist() for quad in self.others]
        if self.keeps_detail:
            place["detail"] = True
        if self.oval:
            place["oval"] = list(self.oval)
            if self.tone:
                place["tone"] = True
        return place

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], image: Tensor) -> Aligned:
        """The inverse of ``to_dict``, with the face picture (1, 3, S, S).

        Raises:
            ImageError: the geometry is damaged.
        """
        try:
            quad = np.array(data["quad"], dtype=np.float64)
            height, width = (int(side) for side in data["photo_size"])
            others = [np.array(q, dtype=np.float64) for q in data.get("others", [])]
        except (KeyError, TypeError, ValueError) as error:
            raise ImageError(
                f"the stored place of the face is damaged ({error}); align again."
            ) from error
        reach = MAX_REACH * max(height, width)
        squares = all(_is_square(one, reach) for one in [quad, *others])
        if not (squares and min(height, width) > 0):
            raise ImageError(
                "the stored place of the face is damaged (not a square); align again."
            )
        oval = tuple(data.get("oval", ()))
        if oval and not (
            len(oval) == 6 and all(part in range(1, 256) for part in oval)
        ):
            raise ImageError(
                "the stored place of the face is damaged (not an oval); align again."
            )
        return cls(
            image,
            quad,
            (height, width),
            tuple(others),
            keeps_detail=bool(data.get("detail", False)),
            oval=oval,
            tone=bool(data.get("tone", False)),
        )


def units(quad: np.ndarray, pixels: Tensor) -> Tensor:
    """Pixels (..., 2) of the photo in unit coordinates of a square (4, 2)."""
    origin, down, _, across = quad
    inverse = np.linalg.inv(np.stack([across - origin, down - origin], axis=1))
    return (pixels - torch.from_numpy(origin)) @ torch.from_numpy(inverse).T


def unit_grid(size: int) -> Tensor:
    """Unit coordinates (size, size, 2) of the pixels of a square, float64."""
    steps = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    v, u = torch.meshgrid(steps, steps, indexing="ij")
    return torch.stack([u, v], dim=-1)


def roundness(unit: Tensor) -> Tensor:
    """Distance of unit coordinates (..., 2) from the centre: 0 there, 1 on the edges.

    Level curves are rounded squares, so corners are beyond 1.
    """
    return (2 * unit - 1).abs().pow(ROUNDNESS).sum(-1).pow(1 / ROUNDNESS)


def same_face(quad: np.ndarray, squares: Sequence[np.ndarray]) -> np.ndarray:
    """Which of ``squares`` (4, 2) are of the face of ``quad``: their centres are near.

    Near is below ``SAME_FACE`` by ``roundness``, in the units of either square.
    """
    others = np.reshape(squares, (-1, 4, 2))
    apart = others.mean(1) - quad.mean(0)

    def away(each: np.ndarray) -> np.ndarray:
        sides = each[:, [3, 1]] - each[:, :1]  # across and down
        along = (sides * apart[:, None]).sum(-1) / np.square(sides).sum(-1)
        return (np.abs(2 * along) ** ROUNDNESS).sum(-1) ** (1 / ROUNDNESS)

    return np.minimum(away(quad[None]), away(others)) < SAME_FACE


def _near(quad: np.ndarray, other: np.ndarray) -> bool:
    """Whether the upright boxes of two squares meet, the first with its margin."""
    margin = AROUND * np.linalg.norm(quad[3] - quad[0])
    low = np.maximum(quad.min(0) - margin, other.min(0))
    return bool((low < np.minimum(quad.max(0) + margin, other.max(0))).all())


def _is_square(quad: np.ndarray, largest: float) -> bool:
    """Whether (4, 2) are the corners of a square, in order and in bounds."""
    if quad.shape != (4, 2) or not np.isfinite(quad).all():
        return False
    down, across = quad[1] - quad[0], quad[3] - quad[0]
    side = np.linalg.norm(across)
    closed = np.abs(quad[0] + across + down - quad[2]).max()
    turned = np.abs(down - [-across[1], across[0]]).max()
    return bool(side >= 1 and np.abs(quad).max() < largest and closed + turned < 0.01)


def ffhq_quad(landmarks: np.ndarray) -> np.ndarray:
    """The FFHQ square of a face: corners (4, 2) from its landmarks (68, 2).

    Its horizontal axis is the sum of the vector between the eyes and the perpendicular
    of the one from eyes to mouth. Its half side is the larger of twice the distance
    between the eyes and 1.8 times that from eyes to mouth. Its centre is a tenth of the
    way from eyes to mouth.

    Raises:
        ImageError: the landmarks lie in one place.
    """
    left_eye, right_eye = landmarks[36:42].mean(0), landmarks[42:48].mean(0)
    eyes = (left_eye + right_eye) / 2
    between = right_eye - left_eye
    down = (landmarks[48] + landmarks[54]) / 2 - eyes
    across = between + np.array([down[1], -down[0]])
    reach = max(2.0 * np.linalg.norm(between), 1.8 * np.linalg.norm(down))
    length = np.linalg.norm(across)
    if not np.isfinite(length) or min(length, reach) < 1e-6:
        raise ImageError(
            "expected landmarks of a face, got degenerate ones; use another photo."
        )
    x = across / length * reach
    y = np.array([-x[1], x[0]])
    centre = eyes + 0.1 * down
    return np.stack([centre - x - y, centre - x + y, centre + x + y, centre + x - y])


def crop(photo: Tensor, quad: np.ndarray, size: int = 1024) -> Aligned:
    """Cut the square ``quad`` (4, 2) out of a photo (1, 3, H, W), at ``size`` pixels.

    Beyond the photo the square is filled by reflection, blurred and faded to the
    photo's median colour with distance, as FFHQ does.
    """
    height, width = photo.shape[-2:]
    aligned = Aligned(torch.zeros(1, 3, size, size), quad, (height, width))
    low = np.floor(quad.min(0)).astype(int) - 4
    high = np.ceil(quad.max(0)).astype(int) + 4
    region = _region(photo, low, high, aligned.side, min(1.0, size / aligned.side))
    unit = unit_grid(size)
    unit = torch.cat([unit, torch.ones_like(unit[..., :1])], dim=-1)
    pixels = unit @ torch.from_numpy(aligned.matrix).T
    grid = (pixels - torch.from_numpy(low)) / torch.from_numpy(high - low) * 2 - 1
    return replace(aligned, image=sample(region, grid))


def sample(image: Tensor, grid: Tensor) -> Tensor:
    """A picture (1, 3, H, W) sampled at coordinates (h, w, 2) from -1 to 1."""
    sampled = F.grid_sample(
        image,
        grid[None].to(image.dtype),
        mode="bicubic",
        padding_mode="border",
        align_corners=False,
    )
    return sampled.clamp(-1, 1)


def rescale(image: Tensor, scale: float) -> Tensor:
    """A picture (1, 3, H, W) with its sides ``scale`` times as long, as float32.

    First across, in bands of rows, and then down: bicubic filters are separable.
    """
    height, width = (max(1, round(side * scale)) for side in image.shape[-2:])
    narrow = []
    for rows in bands(image.shape[-1], image.shape[-2]):
        band = to_float(image[:, :, rows]).contiguous()
        narrow.append(_bicubic(band, band.shape[-2], width))
    return _bicubic(torch.cat(narrow, 2), height, width).clamp(-1, 1)


def _bicubic(image: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(image, (height, width), mode="bicubic", antialias=True)


def _region(
    photo: Tensor, low: np.ndarray, high: np.ndarray, side: float, scale: float
) -> Tensor:
    """The box from ``low`` to ``high`` (x, y), continued beyond the photo, rescaled."""
    from scipy.ndimage import gaussian_filter  # slow to import

    height, width = photo.shape[-2:]
    x, beyond_x = _reflect(low[0], high[0], width)
    y, beyond_y = _reflect(low[1], high[1], height)
    if not (beyond_x.any() or beyond_y.any()):
        return rescale(photo[:, :, low[1] : high[1], low[0] : high[0]], scale)
    region = rescale(photo[:, :, y][:, :, :, x], scale)
    beyond_x, beyond_y = (
        F.interpolate(line[None, None], length, mode="linear")[0, 0] / side
        for line, length in zip((beyond_x, beyond_y), region.shape[:1:-1], strict=True)
    )
    beyond = torch.maximum(beyond_x[None, :], beyond_y[:, None])
    sigma = BLUR * side * scale
    smooth = torch.from_numpy(gaussian_filter(region.numpy(), (0, 0, sigma, sigma)))
    median = region.flatten(2).median(-1).values[:, :, None, None]
    region = torch.lerp(region, smooth, (beyond / (4 * BLUR)).clamp(max=1))
    return torch.lerp(region, median.expand_as(region), beyond.clamp(max=1))


def _reflect(start: int, stop: int, length: int) -> tuple[Tensor, Tensor]:
    """Indices into a line mirrored at its ends, and distances (pixels) beyond them."""
    places = torch.arange(int(start), int(stop))
    period = max(1, 2 * (length - 1))
    folded = places % period
    indices = torch.where(folded < length, folded, period - folded)
    beyond = torch.maximum(-places, places - (length - 1)).clamp(min=0)
    return indices, beyond.float()
