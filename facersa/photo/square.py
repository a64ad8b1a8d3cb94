"""The square of a face in a photograph: where it lies, and what it cuts out.

The generator was trained on FFHQ pictures: eyes and mouth always sit in about the same
place. ``ffhq_quad`` lays a square over a face that way (the recipe of Karras et al.
2019, from dlib's 68 points), and ``crop`` turns, scales and cuts it out; ``blending``
puts an edited face back into the photo through the inverse turn, under a soft mask.

Coordinates are continuous: pixel i covers the interval from i to i + 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from torch import Tensor

from facersa.errors import ImageError

MAX_REACH = 10  # photo sides: what a stored place may claim at most

ROUNDNESS = 2.5  # of circles in a square: 2 is an ellipse, infinity the whole square

AROUND = 0.06  # sides: as far around a square the photo is looked at

SAME_FACE = 0.5  # half sides: no two heads come so near, two finds of one face do


@dataclass(frozen=True)
class Aligned:
    """An aligned face and where it came from.

    Attributes:
        image: the face (1, 3, S, S), RGB in [-1, 1].
        quad: its corners in the photo (4, 2), x and y in pixels: top left,
            bottom left, bottom right, top right. Always a square, maybe turned.
        photo_size: height and width of the photo.
        others: squares (4, 2) of other faces in the photo that reach into this one.
        keeps_detail: around the face itself the photo stays, and only changes as the
            painted face changes; see ``blending.paste``.
    """

    image: Tensor
    quad: np.ndarray
    photo_size: tuple[int, int]
    others: tuple[np.ndarray, ...] = ()
    keeps_detail: bool = False

    @property
    def side(self) -> float:
        """Length of the square's side in pixels of the photo."""
        return float(np.linalg.norm(self.quad[3] - self.quad[0]))

    @property
    def matrix(self) -> np.ndarray:
        """(2, 3): unit coordinates (u, v, 1) of the face to pixels of the photo."""
        origin, down, _, across = self.quad
        return np.stack([across - origin, down - origin, origin], axis=1)

    def beside(self, squares: Sequence[np.ndarray]) -> Aligned:
        """The same, knowing those of more ``squares`` that are other faces near by."""
        others = list(self.others)
        for quad in squares:
            known = any(same_face(quad, other) for other in [self.quad, *others])
            if not known and _near(self.quad, quad):
                others.append(quad)
        return replace(self, others=tuple(others))

    def to_dict(self) -> dict[str, Any]:
        """The geometry, ready for JSON; the picture is not in it."""
        place: dict[str, Any] = {"quad": self.quad.tolist()}
        place["photo_size"] = list(self.photo_size)
        if self.others:
            place["others"] = [quad.round(3).tolist() for quad in self.others]
        if self.keeps_detail:
            place["detail"] = True
        return place

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], image: Tensor) -> Aligned:
        """Rebuild from ``to_dict`` and the face picture.

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
        squares = all(_is_square(found, reach) for found in [quad, *others])
        if not (squares and min(height, width) > 0):
            raise ImageError(
                "the stored place of the face is damaged (not a square); align again."
            )
        detail = bool(data.get("detail", False))
        return cls(image, quad, (height, width), tuple(others), detail)


def units(quad: np.ndarray, pixels: Tensor) -> Tensor:
    """Pixels (..., 2) of the photo in coordinates of a square: 0 to 1, x and y."""
    origin, down, _, across = quad
    linear = np.stack([across - origin, down - origin], axis=1)
    return (pixels - torch.from_numpy(origin)) @ torch.from_numpy(
        np.linalg.inv(linear)
    ).T


def roundness(unit: Tensor) -> Tensor:
    """How far out in a square places (..., 2) lie: 0 in its centre, 1 on the edges.

    Equal values are rounded squares, so the corners are beyond 1.
    """
    return (2 * unit - 1).abs().pow(ROUNDNESS).sum(-1).pow(1 / ROUNDNESS)


def same_face(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two squares (4, 2) are finds of one face: centre upon centre."""
    pairs = (first, second), (second, first)
    return any(
        float(roundness(units(a, torch.from_numpy(b.mean(0))))) < SAME_FACE
        for a, b in pairs
    )


def _near(quad: np.ndarray, other: np.ndarray) -> bool:
    """Whether the upright box around a square, and ``AROUND`` it, meets another's."""
    margin = AROUND * np.linalg.norm(quad[3] - quad[0])
    low = np.maximum(quad.min(0) - margin, other.min(0))
    return bool((low < np.minimum(quad.max(0) + margin, other.max(0))).all())


def _is_square(quad: np.ndarray, largest: float) -> bool:
    """Whether (4, 2) are corners of a square, in order, and not beyond reason."""
    if quad.shape != (4, 2) or not np.isfinite(quad).all():
        return False
    down, across = quad[1] - quad[0], quad[3] - quad[0]
    side = np.linalg.norm(across)
    closed = np.abs(quad[0] + across + down - quad[2]).max()
    turned = np.abs(down - [-across[1], across[0]]).max()
    return bool(side >= 1 and np.abs(quad).max() < largest and closed + turned < 0.01)


def ffhq_quad(points: np.ndarray) -> np.ndarray:
    """The FFHQ crop of a face: corners (4, 2) from its 68 points (68, 2).

    The square stands across the line between the eyes and along the line from
    eyes to mouth, as far as the two agree; its half side is the larger of
    twice the distance of the eyes and 1.8 times that from eyes to mouth; its
    centre lies a tenth of the way from the eyes to the mouth.
    """
    left_eye, right_eye = points[36:42].mean(0), points[42:48].mean(0)
    eyes = (left_eye + right_eye) / 2
    between = right_eye - left_eye
    down = (points[48] + points[54]) / 2 - eyes
    across = between + np.array([down[1], -down[0]])
    reach = max(2.0 * np.linalg.norm(between), 1.8 * np.linalg.norm(down))
    length = np.linalg.norm(across)
    if not np.isfinite(length) or min(length, reach) < 1e-6:
        raise ImageError("the points of the face are degenerate; use another photo.")
    x = across / length * reach
    y = np.array([-x[1], x[0]])
    centre = eyes + 0.1 * down
    return np.stack([centre - x - y, centre - x + y, centre + x + y, centre + x - y])


def crop(photo: Tensor, quad: np.ndarray, size: int = 1024) -> Aligned:
    """Cut the turned square ``quad`` (4, 2) out of a photo, at ``size`` pixels.

    Where the square leaves the photo it is filled by reflection, blurred and
    faded to the photo's median colour with distance, as FFHQ does; pixels of the
    photo itself are kept as they are.
    """
    height, width = photo.shape[-2:]
    aligned = Aligned(photo.new_zeros(1, 3, size, size), quad, (height, width))
    low = np.floor(quad.min(0)).astype(int) - 4
    high = np.ceil(quad.max(0)).astype(int) + 4
    region = _region(photo, low, high, aligned.side)
    scale = min(1.0, size / aligned.side)
    if scale < 1:
        region = rescale(region, scale)
    steps = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    v, u = torch.meshgrid(steps, steps, indexing="ij")
    unit = torch.stack([u, v, torch.ones_like(u)], dim=-1)
    pixels = unit @ torch.from_numpy(aligned.matrix).T
    grid = (pixels - torch.from_numpy(low)) / torch.from_numpy(high - low) * 2 - 1
    return replace(aligned, image=sample(region, grid))


def sample(image: Tensor, grid: Tensor) -> Tensor:
    """A picture (1, 3, H, W) at places (h, w, 2), which go from -1 to 1 in it."""
    sampled = F.grid_sample(
        image,
        grid[None].to(image.dtype),
        mode="bicubic",
        padding_mode="border",
        align_corners=False,
    )
    return sampled.clamp(-1, 1)


def rescale(image: Tensor, scale: float) -> Tensor:
    """A picture (1, 3, H, W) with its sides ``scale`` times as long."""
    height, width = (max(1, round(side * scale)) for side in image.shape[-2:])
    resized = F.interpolate(image, (height, width), mode="bicubic", antialias=True)
    return resized.clamp(-1, 1)


def _region(photo: Tensor, low: np.ndarray, high: np.ndarray, side: float) -> Tensor:
    """The box from ``low`` to ``high`` (x, y), continued beyond the photo."""
    height, width = photo.shape[-2:]
    x, beyond_x = _reflect(low[0], high[0], width)
    y, beyond_y = _reflect(low[1], high[1], height)
    region = photo[:, :, y][:, :, :, x]
    beyond = torch.maximum(beyond_x[None, :], beyond_y[:, None])
    if not beyond.any():
        return region
    sigma = 0.02 * side
    smooth = gaussian_filter(region.numpy(), (0, 0, sigma, sigma))
    median = region.flatten(2).median(-1).values[:, :, None, None]
    region = torch.lerp(
        region, torch.from_numpy(smooth), (beyond / (4 * sigma)).clamp(max=1)
    )
    return torch.lerp(region, median.expand_as(region), (beyond / side).clamp(max=1))


def _reflect(start: int, stop: int, length: int) -> tuple[Tensor, Tensor]:
    """Indices into a line that mirrors at its ends; how far each place is beyond."""
    places = torch.arange(int(start), int(stop))
    period = max(1, 2 * (length - 1))
    folded = places % period
    indices = torch.where(folded < length, folded, period - folded)
    beyond = torch.maximum(-places, places - (length - 1)).clamp(min=0)
    return indices, beyond.float()
