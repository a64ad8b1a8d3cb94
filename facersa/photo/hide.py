"""Faces that are not encrypted: made unrecognisable for good, without a password.

Blurring lightly and coarse pixels are known to be undone, or seen through by networks
that were trained for it (McPherson et al. 2016). So little is left here that there is
nothing to work on: a face is five squares wide, or blurred after that.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from torch import Tensor

from facersa.photo.faces import Box

Hiding = Literal["blur", "pixelate"]
SQUARES = 5  # across a face's box
MARGIN = 0.35  # of the box, on each side: hair and chin are hidden too


def hide(photo: Tensor, box: Box, how: Hiding) -> Tensor:
    """A copy of a photo (1, 3, H, W) uint8 with an oval in and around a box hidden.

    Nothing brings it back.
    """
    height, width = photo.shape[-2:]
    across, down = box[2] - box[0], box[3] - box[1]
    left, top = max(box[0] - MARGIN * across, 0), max(box[1] - MARGIN * down, 0)
    right = min(box[2] + MARGIN * across, width)
    bottom = min(box[3] + MARGIN * down, height)
    rows, columns = slice(int(top), round(bottom)), slice(int(left), round(right))
    part = photo[0, :, rows, columns].permute(1, 2, 0).contiguous().numpy()
    picture = Image.fromarray(part)
    counts = [max(2, round(side * SQUARES / across)) for side in picture.size]
    squares = picture.resize((counts[0], counts[1]), Image.Resampling.BOX)
    hidden = squares.resize(picture.size, Image.Resampling.NEAREST)
    if how == "blur":
        hidden = hidden.filter(ImageFilter.GaussianBlur(across / SQUARES))
    # The ellipse in that rectangle: it holds the whole box.
    mask = Image.new("L", picture.size)
    ImageDraw.Draw(mask).ellipse((0, 0, *picture.size), fill=255)
    hidden = Image.composite(hidden, picture, mask)
    result = photo.clone()
    result[0, :, rows, columns] = result.new_tensor(np.array(hidden)).permute(2, 0, 1)
    return result
