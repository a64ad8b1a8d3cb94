"""Pictures with alternative text: what a cell of the book shows.

In HTML a picture is an ``<img alt=...>`` that holds its own data and shrinks with the
page; in print it is a PNG.
"""

from __future__ import annotations

import base64
import html
import io
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from facersa.errors import ExploreError
from facersa.figures.sheets import contact_sheet
from facersa.photo.images import decode_image, png_bytes, resize, webp_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE_WIDTH = 704  # CSS pixels of the book's text column
FIGURE_DPI = 192  # twice the 96 of a CSS inch: sharp on dense screens
COLUMNS = 4


def in_page() -> bool:
    """Whether the book is being built (``FACERSA_PAGE=1``): players, not widgets."""
    return os.environ.get("FACERSA_PAGE") == "1"


def has_kernel() -> bool:
    """Whether a notebook's kernel runs this, so that widgets can be shown."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


@dataclass(frozen=True)
class Shown:
    """A picture for a notebook: its alternative text, and data by MIME type."""

    alt: str
    bundle: dict[str, Any] = field(repr=False)

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> dict[str, Any]:
        return dict(self.bundle)


def show(
    picture_or_figure: Tensor | Sequence[Tensor] | Figure,
    *,
    alt: str,
    width: int | None = None,
    labels: Sequence[str] | None = None,
) -> Shown:
    """Pictures or a matplotlib figure, with alternative text, for a notebook.

    Make it the last expression of a cell. A figure is closed, so that the notebook
    does not show it a second time.

    Args:
        picture_or_figure: (3, H, W) or (B, 3, H, W) in [-1, 1], a list of pictures
            of one size (laid out in rows of four), or a figure.
        alt: what the picture shows, in words; never empty.
        width: in CSS pixels; by default the picture's own, at most the text column.
        labels: one under each picture of a list.

    Raises:
        ExploreError: no alt text, or something that cannot be shown.
    """
    require_alt(alt, "show")
    if hasattr(picture_or_figure, "savefig"):
        image, own = _figure_picture(picture_or_figure)
    else:
        image = _sheet(picture_or_figure, labels)
        own = image.shape[-1]
    width = min(own, PAGE_WIDTH) if width is None else width
    if width < 1:
        raise ExploreError(
            f"show expects a width of 1 pixel or more, got {width}; leave it out for "
            "the picture's own."
        )
    image = shrink(image, 2 * width)
    size = (image.shape[-2], image.shape[-1])
    tag = img(page_bytes(image, quality=90), alt, size, width)
    bundle = {
        "text/html": f'<p class="facersa-shown">{tag}</p>',
        "image/png": base64.b64encode(png_bytes(image)).decode(),
        "text/plain": alt,
    }
    return Shown(alt, bundle)


def require_alt(alt: str, who: str) -> None:
    """Raise ``ExploreError`` unless ``alt`` is a text that is not blank."""
    if not isinstance(alt, str) or not alt.strip():
        raise ExploreError(
            f"{who} expects alt text for readers who cannot see the picture, got "
            f"{alt!r}; say in words what it shows."
        )


def as_picture(value: object, who: str) -> Tensor:
    """One picture (1, 3, H, W) on the CPU from (3, H, W) or (1, 3, H, W).

    Raises:
        ExploreError: anything else, or values that are not finite.
    """
    if not isinstance(value, Tensor):
        raise ExploreError(
            f"{who} expects a picture tensor (3, H, W) in [-1, 1], got "
            f"{type(value).__name__}; convert it with facersa.photo.images first."
        )
    image = value.detach()[None] if value.ndim == 3 else value.detach()
    if image.ndim != 4 or image.shape[:2] != (1, 3) or not image.numel():
        raise ExploreError(
            f"{who} expects one picture (3, H, W) or (1, 3, H, W), got "
            f"{tuple(value.shape)}; take one out of the batch."
        )
    image = image.float().cpu()
    if not torch.isfinite(image).all():
        raise ExploreError(
            f"{who} expects finite values in [-1, 1], got nan or infinity; look for "
            "a division by zero where the picture is computed."
        )
    return image


def shrink(image: Tensor, width: int) -> Tensor:
    """Scale (1, 3, H, W) down to ``width``; a smaller picture stays as it is."""
    height, own = image.shape[-2:]
    if own <= width:
        return image
    return resize(image, (max(1, round(height * width / own)), width))


def page_bytes(image: Tensor, *, quality: int) -> bytes:
    """WebP of a picture (1, 3, H, W) for a page.

    Drawings are encoded without loss where that takes few more bytes; ``quality``,
    up to 100, is that of all else.
    """
    lossy = webp_bytes(image, quality=quality)
    flat = (image[..., 1:] == image[..., :-1]).all(dim=1).float().mean()
    if flat < 0.5:
        return lossy
    exact = webp_bytes(image, lossless=True)
    return exact if len(exact) <= 1.5 * len(lossy) else lossy


def data_uri(data: bytes) -> str:
    """A WebP or JPEG picture as the address of an ``<img>``."""
    kind = "webp" if data[:4] == b"RIFF" else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def img(data: bytes, alt: str, size: tuple[int, int], width: int) -> str:
    """An ``<img>`` of a picture of (height, width) pixels, ``width`` CSS pixels wide.

    ``dark-light`` asks the book's theme not to dim it in dark mode; decoding in sync
    keeps a live picture from flickering.
    """
    height = round(size[0] * width / size[1])
    return (
        f'<img class="dark-light" src="{data_uri(data)}" alt="{html.escape(alt)}" '
        f'width="{width}" height="{height}" decoding="sync">'
    )


def _sheet(value: object, labels: Sequence[str] | None) -> Tensor:
    if isinstance(value, Tensor) and value.ndim == 4:
        value = list(value)
    if isinstance(value, Tensor):
        value = [value]
    if not isinstance(value, Sequence) or not value:
        kind = "an empty list" if isinstance(value, Sequence) else type(value).__name__
        raise ExploreError(
            "show expects a picture tensor, a list of them or a matplotlib figure, "
            f"got {kind}; pass one of these."
        )
    images = [as_picture(one, "show") for one in value]
    sizes = sorted({tuple(one.shape[-2:]) for one in images})
    if len(sizes) > 1:
        raise ExploreError(
            f"show expects pictures of one size, got {sizes}; bring them to one with "
            "facersa.photo.images.resize."
        )
    if labels is None and len(images) == 1:
        return images[0]
    columns, side = min(len(images), COLUMNS), images[0].shape[-1]
    if labels is None:
        return contact_sheet(images, columns=columns, side=None)
    if len(labels) != len(images):
        raise ExploreError(
            f"show expects a label for each picture, got {len(labels)} labels for "
            f"{len(images)} pictures; give as many."
        )
    side = min(side, 2 * PAGE_WIDTH // columns)
    return contact_sheet(images, labels, columns=columns, side=side)


def _figure_picture(figure: Any) -> tuple[Tensor, int]:
    """The figure on white and its width in CSS pixels; the figure is closed."""
    from matplotlib import pyplot

    buffer = io.BytesIO()
    tight = {"bbox_inches": "tight", "pad_inches": 0.1}
    figure.savefig(buffer, format="png", dpi=FIGURE_DPI, facecolor="white", **tight)
    pyplot.close(figure)
    image = decode_image(buffer.getvalue(), name="the figure")
    return image, round(image.shape[-1] * 96 / FIGURE_DPI)
