"""From a photograph to the aligned face the generator knows, and back.

The generator was trained on FFHQ pictures: eyes and mouth always sit in about
the same place. ``align`` turns, scales and crops a photo that way (the recipe of
Karras et al. 2019, from dlib's 68 points); ``paste`` puts an edited face back
into the photo through the inverse turn, under a soft mask.

Coordinates are continuous: pixel i covers the interval from i to i + 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from torch import Tensor

from facersa.errors import ImageError
from facersa.heldout import Box, HeldOutFaces, load_held_out_faces
from facersa.images import to_uint8

MIN_SIDE = 64  # pixels: below, a photo or a face does not show a person
MAX_REACH = 10  # photo sides: what a stored place may claim at most
SEARCH_SIDES = (1024, 2048)  # dlib sees faces above 80 pixels, so look twice
CLEAR_FACE = 0.3  # on dlib's score
ROUNDNESS = 2.5  # of the pasted region: 2 is an ellipse, infinity the whole square
SHOWS_IT = 10 / 255  # mean difference: five grey levels, about what JPEG 75 makes


@dataclass(frozen=True)
class Aligned:
    """An aligned face and where it came from.

    Attributes:
        image: the face (1, 3, S, S), RGB in [-1, 1].
        quad: its corners in the photo (4, 2), x and y in pixels: top left,
            bottom left, bottom right, top right. Always a square, maybe turned.
        photo_size: height and width of the photo.
    """

    image: Tensor
    quad: np.ndarray
    photo_size: tuple[int, int]

    @property
    def side(self) -> float:
        """Length of the square's side in pixels of the photo."""
        return float(np.linalg.norm(self.quad[3] - self.quad[0]))

    @property
    def matrix(self) -> np.ndarray:
        """(2, 3): unit coordinates (u, v, 1) of the face to pixels of the photo."""
        origin, down, _, across = self.quad
        return np.stack([across - origin, down - origin, origin], axis=1)

    def to_dict(self) -> dict[str, Any]:
        """The geometry, ready for JSON; the picture is not in it."""
        return {"quad": self.quad.tolist(), "photo_size": list(self.photo_size)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], image: Tensor) -> Aligned:
        """Rebuild from ``to_dict`` and the face picture.

        Raises:
            ImageError: the geometry is damaged.
        """
        try:
            quad = np.array(data["quad"], dtype=np.float64)
            height, width = (int(side) for side in data["photo_size"])
        except (KeyError, TypeError, ValueError) as error:
            raise ImageError(
                f"the stored place of the face is damaged ({error}); align again."
            ) from error
        aligned = cls(image, quad, (height, width))
        if not (
            _is_square(quad, MAX_REACH * max(height, width)) and min(height, width) > 0
        ):
            raise ImageError(
                "the stored place of the face is damaged (not a square); align again."
            )
        return aligned


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


def find_faces(photo: Tensor, faces: HeldOutFaces) -> list[Box]:
    """Boxes of the faces in a photo (1, 3, H, W), left to right, in its pixels.

    Large photos are searched at reduced size first, small ones enlarged. Doubtful
    finds (a patch of cloth may be one) count only where no clear face is found.
    """
    height, width = photo.shape[-2:]
    longest = max(height, width)
    sides = [n for n in SEARCH_SIDES if n == SEARCH_SIDES[0] or n <= 2 * longest]
    arrays = {}
    for sure in (CLEAR_FACE, 0.0):
        for side in sides:
            if side not in arrays:
                scale = min(side / longest, 2.0)
                small = photo if abs(scale - 1) < 0.05 else _rescale(photo, scale)
                arrays[side] = to_uint8(small)[0]
            boxes = faces.detect(arrays[side], sure)
            if boxes:
                rows, columns = arrays[side].shape[:2]
                x, y = width / columns, height / rows
                return [(x * b[0], y * b[1], x * b[2], y * b[3]) for b in boxes]
    return []


def align(
    photo: Tensor,
    size: int = 1024,
    face: int | None = None,
    *,
    faces: HeldOutFaces | None = None,
) -> Aligned:
    """Find a face and crop it as FFHQ does.

    Args:
        photo: (1, 3, H, W), RGB in [-1, 1].
        size: side of the crop in pixels.
        face: which face, counted from 0, left to right; needed only where a
            photo shows several.
        faces: detector and points, loaded here if not given.

    Raises:
        ImageError: no face, several and none chosen, or too small.
    """
    if photo.ndim != 4 or photo.shape[:2] != (1, 3):
        raise ImageError(f"expected one photo (1, 3, H, W), got {tuple(photo.shape)}.")
    height, width = photo.shape[-2:]
    if min(height, width) < MIN_SIDE:
        raise ImageError(
            f"the photo is {width} x {height} pixels; at least {MIN_SIDE} x "
            f"{MIN_SIDE} are needed: use a larger copy."
        )
    faces = faces or load_held_out_faces()
    box = _choose(find_faces(photo, faces), face)
    if box[2] - box[0] < MIN_SIDE:
        raise ImageError(
            f"the face is only {box[2] - box[0]:.0f} pixels wide, at least "
            f"{MIN_SIDE} are needed: use a larger or closer photo."
        )
    points = faces.locate(to_uint8(photo)[0], box) + 0.5
    return crop(photo, ffhq_quad(points), size)


def _choose(boxes: list[Box], face: int | None) -> Box:
    if not boxes:
        raise ImageError(
            "no face was found; use an upright photo of a face that looks towards "
            f"the camera and is at least {MIN_SIDE} pixels wide."
        )
    if face is None and len(boxes) == 1:
        return boxes[0]
    if face is None or not 0 <= face < len(boxes):
        where = "; ".join(
            f"{i}: x {box[0]:.0f}-{box[2]:.0f}, y {box[1]:.0f}-{box[3]:.0f}"
            for i, box in enumerate(boxes)
        )
        wish = "" if face is None else f" and none has number {face}"
        raise ImageError(
            f"the photo shows {len(boxes)} face(s){wish}; choose one with --face "
            f"N, counted from the left ({where})."
        )
    return boxes[face]


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
        region = _rescale(region, scale)
    steps = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    v, u = torch.meshgrid(steps, steps, indexing="ij")
    unit = torch.stack([u, v, torch.ones_like(u)], dim=-1)
    pixels = unit @ torch.from_numpy(aligned.matrix).T
    grid = (pixels - torch.from_numpy(low)) / torch.from_numpy(high - low) * 2 - 1
    return replace(aligned, image=_sample(region, grid))


def paste(
    photo: Tensor,
    face_image: Tensor,
    aligned: Aligned,
    *,
    replaces: Tensor | None = None,
    feather: float = 0.25,
) -> Tensor:
    """Put an edited face back into its photo.

    Args:
        photo: the photo ``aligned`` came from, (1, 3, H, W) in [-1, 1].
        face_image: the new face (1, 3, S, S), any S.
        aligned: where it belongs.
        replaces: the face (1, 3, S, S) that was pasted there before, if any. Where
            the photo indeed shows it, its share of the faded edge is taken out,
            so that no ghost of it stays; where it does not, it is ignored.
        feather: share of the way from the edge to the centre over which it fades.

    Returns:
        A new photo; pixels outside the crop are bit for bit those of ``photo``.

    Raises:
        ImageError: the photo has another size than the one that was aligned.
    """
    if tuple(photo.shape[-2:]) != aligned.photo_size:
        raise ImageError(
            f"the photo is {tuple(photo.shape[-2:])} (height, width) but the face "
            f"was cut from one of {aligned.photo_size}; pass that photo."
        )
    height, width = aligned.photo_size
    left, top = np.maximum(np.floor(aligned.quad.min(0)).astype(int), 0)
    right, bottom = np.minimum(
        np.ceil(aligned.quad.max(0)).astype(int), [width, height]
    )
    result = photo.clone()
    if left >= right or top >= bottom:
        return result
    linear, origin = aligned.matrix[:, :2], aligned.matrix[:, 2]
    y, x = torch.meshgrid(
        torch.arange(top, bottom, dtype=torch.float64) + 0.5,
        torch.arange(left, right, dtype=torch.float64) + 0.5,
        indexing="ij",
    )
    offsets = torch.stack([x, y], dim=-1) - torch.from_numpy(origin)
    unit = offsets @ torch.from_numpy(np.linalg.inv(linear)).T
    # 0 in the centre, 1 on a rounded square that touches the edges of the crop:
    # its corners show the scene, where a new background would be seen most.
    away = (2 * unit - 1).abs().pow(ROUNDNESS).sum(-1).pow(1 / ROUNDNESS)
    ramp = ((1 - away) / feather).clamp(0, 1)
    mask = (ramp * ramp * (3 - 2 * ramp)).to(photo.dtype)
    warped = _warp(face_image, unit, aligned.side)
    old = photo[:, :, top:bottom, left:right]
    blend = old + mask * (warped - old)
    if replaces is not None:
        before = _warp(replaces, unit, aligned.side)
        error = (old - before).abs().mean(1, keepdim=True)[..., mask == 1]
        if error.numel() and error.mean() < SHOWS_IT:
            blend = torch.where(mask < 1, old + mask * (warped - before), warped)
            blend = blend.clamp(-1, 1)
    result[:, :, top:bottom, left:right] = torch.where(mask > 0, blend, old)
    return result


def _warp(face: Tensor, unit: Tensor, side: float) -> Tensor:
    """A face seen at unit coordinates (H, W, 2), shrunk first if it is larger."""
    scale = min(1.0, side / face.shape[-1])
    return _sample(_rescale(face, scale) if scale < 1 else face, unit * 2 - 1)


def _sample(image: Tensor, grid: Tensor) -> Tensor:
    sampled = F.grid_sample(
        image,
        grid[None].to(image.dtype),
        mode="bicubic",
        padding_mode="border",
        align_corners=False,
    )
    return sampled.clamp(-1, 1)


def _rescale(image: Tensor, scale: float) -> Tensor:
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
