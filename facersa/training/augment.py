"""Augmentation for the encoder: painted faces, changed until they resemble photographs.

The generator's own pictures are the only ones whose codes are known. They are cleaner
than photographs, so each is changed at random on its way in: blur, noise, JPEG, another
light, a crop that is a little off, something in front of the face, another background.
The target code stays the same.

Photographs also show what no code of the generator draws: other shapes of faces, other
light. ``augment(..., SCENES)`` imitates that. The code of such a picture is unknown;
what is painted from the encoder's output has to look like it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
import torch.nn.functional as F
from torch import Tensor

from facersa.ops import check_shape
from facersa.photo.images import decode_image, jpeg_bytes

SIDE = 256
Change = Callable[[Tensor, Tensor, torch.Generator], Tensor]
Changes = Sequence[tuple[Change, float]]


def augment(
    images: Tensor, rng: torch.Generator, changes: Changes | None = None
) -> Tensor:
    """Change pictures (B, 3, S, S) in [-1, 1] at random.

    Args:
        images: stay as they are; the result is a copy.
        rng: of all choices, on the CPU.
        changes: each, in order, with the probability that it is applied to a picture;
            ``CHANGES`` by default.
    """
    check_shape(images, None, 3, images.shape[-1], images.shape[-1], name="images")
    for change, chance in CHANGES if changes is None else changes:
        chosen = torch.rand(len(images), generator=rng) < chance
        if chosen.any():
            where = chosen.to(images.device)
            images = images.clone()
            images[where] = change(images[where], images, rng).clamp(-1, 1)
    return images


def shift_crop(images: Tensor, _: Tensor, rng: torch.Generator) -> Tensor:
    """Rotate by up to 2 degrees, scale by up to 3 %, shift by up to 2 % of the side."""
    angle, scale, right, down = _uniform(4, len(images), rng, images)
    angle, size = math.radians(2) * angle, 1 + 0.03 * scale
    cos, sin = size * angle.cos(), size * angle.sin()
    theta = torch.stack(
        [
            torch.stack([cos, -sin, 0.04 * right], -1),
            torch.stack([sin, cos, 0.04 * down], -1),
        ],
        1,
    )
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(
        images, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )


def change_light(images: Tensor, _: Tensor, rng: torch.Generator) -> Tensor:
    """Contrast and brightness by up to a tenth, each colour by up to 4 % more."""
    contrast, bright, *colours = _uniform(5, len(images), rng, images)
    gain = 1 + 0.1 * contrast[:, None] + 0.04 * torch.stack(colours, 1)
    return images * gain[:, :, None, None] + 0.1 * bright[:, None, None, None]


def warp(images: Tensor, _: Tensor, rng: torch.Generator) -> Tensor:
    """Another shape: smooth shifts in random directions, of some 2 % of the side."""
    side = images.shape[-1]
    shifts = 0.04 * torch.randn(len(images), 2, 5, 5, generator=rng).to(images)
    field = F.interpolate(shifts, (side, side), mode="bicubic", align_corners=True)
    y, x = _places(images)
    grid = torch.stack([x, y], -1) + field.permute(0, 2, 3, 1)
    return F.grid_sample(
        images, grid, mode="bilinear", padding_mode="reflection", align_corners=True
    )


def relight(images: Tensor, _: Tensor, rng: torch.Generator) -> Tensor:
    """Light from one side, up to 40 % more than from the other.

    Contrast by up to a fourth, each colour by up to 8 % more.
    """
    right, down, contrast, *colours = _uniform(6, len(images), rng, images)
    y, x = _places(images)
    right, down = (0.2 * v[:, None, None, None] for v in (right, down))
    gain = 1 + 0.25 * contrast[:, None] + 0.08 * torch.stack(colours, 1)
    light = gain[:, :, None, None] * (1 + right * x + down * y)
    return (images + 1) * light - 1


def swap_background(images: Tensor, others: Tensor, rng: torch.Generator) -> Tensor:
    """Beyond a soft oval around the head: another picture, mirrored and blurred."""
    picked = torch.randint(len(others), (len(images),), generator=rng)
    scene = F.avg_pool2d(others[picked.to(others.device)].flip(3), 9, 1, 4)
    y, x = _places(images)
    inside = torch.sigmoid(10 * (1 - (x / 0.78) ** 2 - ((y - 0.1) / 0.95) ** 2))
    return inside * images + (1 - inside) * scene


def cover(images: Tensor, _: Tensor, rng: torch.Generator) -> Tensor:
    """An oval of one colour somewhere, a tenth to a fourth of the side across."""
    right, down, size, *colour = _uniform(6, len(images), rng, images)
    y, x = _places(images)
    centre_x, centre_y = (0.8 * v[:, None, None, None] for v in (right, down))
    radius = (0.175 + 0.075 * size)[:, None, None, None]
    away = ((x - centre_x).square() + (y - centre_y).square()).sqrt() / radius
    shade = torch.stack(colour, 1)[:, :, None, None]
    return torch.lerp(shade.expand_as(images), images, torch.sigmoid(20 * (away - 1)))


def blur(images: Tensor, _: Tensor, rng: torch.Generator) -> Tensor:
    """Shrink to a third to nine tenths of the side, and enlarge again."""
    share = 0.617 + 0.283 * torch.rand(1, generator=rng).mul(2).sub(1).item()
    small = F.interpolate(
        images, scale_factor=share, mode="bicubic", antialias=True, align_corners=False
    )
    return F.interpolate(
        small, images.shape[-2:], mode="bicubic", antialias=True, align_corners=False
    )


def add_noise(images: Tensor, _: Tensor, rng: torch.Generator) -> Tensor:
    """Independent normal noise of up to 8 grey levels."""
    size = 8 / 127.5 * torch.rand(len(images), 1, 1, 1, generator=rng)
    return images + (size * torch.randn(images.shape, generator=rng)).to(images)


def compress(images: Tensor, _: Tensor, rng: torch.Generator) -> Tensor:
    """JPEG of quality 40 to 95."""
    qualities = torch.randint(40, 96, (len(images),), generator=rng).tolist()

    def recompress(picture: Tensor, quality: int) -> Tensor:
        return decode_image(jpeg_bytes(picture, quality=quality))

    with ThreadPoolExecutor() as threads:
        pictures = list(threads.map(recompress, images.cpu().split(1), qualities))
    return torch.cat(pictures).to(images)


CHANGES: Changes = (
    (shift_crop, 0.5),
    (swap_background, 0.2),
    (cover, 0.1),
    (change_light, 0.5),
    (blur, 0.3),
    (add_noise, 0.4),
    (compress, 0.4),
)
SCENES: Changes = (
    (shift_crop, 0.5),
    (warp, 0.8),
    (swap_background, 0.4),
    (relight, 0.8),
)
DAMAGE: Changes = tuple(
    (change, chance)
    for change, chance in CHANGES
    if change in (cover, blur, add_noise, compress)
)


def _uniform(
    number: int, count: int, rng: torch.Generator, like: Tensor
) -> tuple[Tensor, ...]:
    """``number`` tensors (count,), uniform in [-1, 1]."""
    return (2 * torch.rand(number, count, generator=rng) - 1).to(like).unbind()


def _places(images: Tensor) -> tuple[Tensor, Tensor]:
    """y and x of every pixel, from -1 to 1, (S, S) each."""
    axis = torch.linspace(-1, 1, images.shape[-1], device=images.device)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return y, x
