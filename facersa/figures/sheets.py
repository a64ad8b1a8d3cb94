"""Pictures laid out on one sheet."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from facersa.photo.images import from_uint8, resize, to_uint8


def contact_sheet(
    images: Sequence[Tensor],
    labels: Sequence[str] | None = None,
    *,
    columns: int = 3,
    side: int | None = 360,
    letters: int = 18,
) -> Tensor:
    """Lay pictures out in rows on white: one sheet (1, 3, H, W), in 8-bit levels.

    Args:
        images: each (1, 3, R, S) in [-1, 1], all of one size.
        labels: one to write under each picture.
        columns: pictures in a row.
        side: width of each picture in pixels; None keeps their own.
        letters: size of the labels' font in pixels.
    """
    height, width = images[0].shape[-2:]
    if side is not None:
        height, width = round(height * side / width), side
    pad, band = (4, 0) if labels is None else (8, round(letters * 1.8))
    across, down = width + pad, height + band + pad  # from one tile to the next
    size = columns * across + pad, -(-len(images) // columns) * down + pad
    sheet, font = Image.new("RGB", size, "white"), ImageFont.load_default(letters)
    names = [""] * len(images) if labels is None else labels
    for index, (image, name) in enumerate(zip(images, names, strict=True)):
        tile = Image.new("RGB", (width, height + band), "white")
        tile.paste(Image.fromarray(to_uint8(resize(image, (height, width)))[0]))
        place = (4, height + letters // 4)
        ImageDraw.Draw(tile).text(place, name, fill="black", font=font)
        row, column = divmod(index, columns)
        sheet.paste(tile, (pad + column * across, pad + row * down))
    return from_uint8(np.asarray(sheet))
