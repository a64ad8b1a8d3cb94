"""Pictures laid out on one sheet."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from facersa.photo.images import from_uint8, resize, to_uint8


def grid(images: Tensor, columns: int, pad: int = 4) -> Tensor:
    """Lay (B, 3, R, R) pictures out in rows: one (1, 3, H, W) sheet on white."""
    count, _, height, width = images.shape
    rows = -(-count // columns)
    sheet = torch.ones(1, 3, rows * (height + pad) + pad, columns * (width + pad) + pad)
    for index, image in enumerate(images.detach().cpu()):
        top = pad + (index // columns) * (height + pad)
        left = pad + (index % columns) * (width + pad)
        sheet[0, :, top : top + height, left : left + width] = image
    return sheet


def contact_sheet(
    images: Sequence[Tensor],
    labels: Sequence[str],
    *,
    columns: int = 3,
    side: int = 360,
    letters: int = 18,
) -> Tensor:
    """Pictures (1, 3, R, R) in rows, each at ``side`` pixels above its label.

    ``letters`` is the size of the labels' font in pixels.
    """
    font, band = ImageFont.load_default(letters), round(letters * 1.8)
    tiles = []
    for image, label in zip(images, labels, strict=True):
        tile = Image.new("RGB", (side, side + band), "white")
        tile.paste(Image.fromarray(to_uint8(resize(image, side))[0]))
        ImageDraw.Draw(tile).text(
            (4, side + letters // 4), label, fill="black", font=font
        )
        tiles.append(from_uint8(np.asarray(tile)))
    return grid(torch.cat(tiles), columns, pad=8)
