"""Pictures laid out on one sheet."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from facersa.photo.images import from_uint8, resize, to_uint8

SMALLEST = 12  # pixels: letters shrink no further to let a word fit
PHONE = 40  # letters of side * columns / PHONE can be read on a phone's page


def contact_sheet(
    images: Sequence[Tensor],
    labels: Sequence[str] | None = None,
    *,
    columns: int = 3,
    side: int | None = 360,
    letters: int | None = None,
) -> Tensor:
    """Lay pictures out in rows on white: one sheet (1, 3, H, W), in 8-bit levels.

    Args:
        images: each (1, 3, R, S) in [-1, 1], all of one size.
        labels: one to write under each picture, on as many lines as it takes.
        columns: pictures in a row.
        side: width of each picture in pixels; None keeps their own.
        letters: size of the labels' font in pixels; by default one that can still be
            read where the sheet is as wide as a phone. Smaller if a word is too long.
    """
    height, width = images[0].shape[-2:]
    if side is not None:
        height, width = round(height * side / width), side
    pad = 4 if labels is None else 8
    names = [""] * len(images) if labels is None else labels
    if letters is None:
        letters = max(18, width * min(columns, len(images)) // PHONE)
    lines, letters = _lettering(names, width, letters)
    band = 0 if labels is None else round(letters * (0.5 + 1.3 * max(map(len, lines))))
    across, down = width + pad, height + band + pad  # from one tile to the next
    size = columns * across + pad, -(-len(images) // columns) * down + pad
    sheet = Image.new("RGB", size, "white")
    for index, (image, words) in enumerate(zip(images, lines, strict=True)):
        tile = Image.new("RGB", (width, height + band), "white")
        tile.paste(Image.fromarray(to_uint8(resize(image, (height, width)))[0]))
        draw = ImageDraw.Draw(tile)
        for number, line in enumerate(words):
            place = (4, height + letters // 4 + round(1.3 * letters * number))
            draw.text(place, line, fill="black", font=_font(letters))
        row, column = divmod(index, columns)
        sheet.paste(tile, (pad + column * across, pad + row * down))
    return from_uint8(np.asarray(sheet))


@cache
def _font(letters: int) -> ImageFont.FreeTypeFont:
    """Matplotlib's font, which has ×, ψ, − and superscripts; Pillow's has not."""
    from matplotlib import get_data_path  # a slow import

    path = Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(path), letters)


def _lettering(
    labels: Sequence[str], width: int, letters: int
) -> tuple[list[list[str]], int]:
    """The lines of every label, and the size at which its longest word fits."""
    room = width - 8
    words = [word for label in labels for word in label.split()]
    while letters > SMALLEST and any(
        _font(letters).getlength(word) > room for word in words
    ):
        letters -= 1
    lines = [_lines(label.split(), room, _font(letters)) for label in labels]
    return lines, letters


def _lines(words: Sequence[str], room: int, font: ImageFont.FreeTypeFont) -> list[str]:
    """Words on as few lines as fit into ``room`` pixels each."""
    lines: list[str] = [""]
    for word in words:
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > room:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
