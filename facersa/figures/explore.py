"""Sliders over a function: live in Jupyter, a player in the page, a picture in print.

All three come from one function over one grid of settings, so a page never shows what
the notebook would not. A notebook's kernel gets widgets, a build of the book gets a
player with every frame computed, and everything else gets the picture of the start.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor

from facersa.errors import ExploreError
from facersa.figures.display import (
    Shown,
    as_picture,
    has_kernel,
    in_page,
    page_bytes,
    require_alt,
    shrink,
)
from facersa.figures.live import Live
from facersa.figures.player import Still, player
from facersa.figures.sliders import MINUS, Grid, Setting
from facersa.photo.images import decode_image, jpeg_bytes, png_bytes

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_published: set[str] = set()
_alive: dict[str, Explorer] = {}


@dataclass(frozen=True)
class Frame:
    """The picture and the numbers at one setting of the sliders.

    Attributes:
        picture: (3, H, W) or (1, 3, H, W), RGB in [-1, 1].
        numbers: label to value, written beside the picture; floats with three decimals.
        alt: alternative text; by default that of the figure, and the settings.
    """

    picture: Tensor
    numbers: Mapping[str, float | str]
    alt: str = ""


@dataclass(frozen=True)
class Explorer(Shown):
    """An interactive figure, from ``explore``: the last expression of a cell."""

    live: Live | None = None

    def close(self) -> None:
        """Stop a live figure's threads and remove its widgets."""
        if self.live is not None:
            self.live.close()


def explore(
    full: Callable[..., Frame],
    sliders: Mapping[str, Sequence[Any]],
    *,
    name: str,
    alt: str,
    quick: Callable[..., Frame] | None = None,
    labels: Mapping[str, str] | None = None,
    start: Mapping[str, Any] | None = None,
    side: int = 384,
    page: Mapping[str, Sequence[Any]] | None = None,
    menus: Sequence[str] | None = None,
) -> Explorer:
    """Let a reader move the settings of a function and watch picture and numbers.

    Args:
        full: computes the exact ``Frame`` of the settings, which come as keywords. It
            may be slow.
        sliders: keyword to its values in order: two or more numbers or short strings.
        name: of the figure, unique in the book: lower case and hyphens.
        alt: what the figure shows, in words.
        quick: as ``full``, within 150 ms: for the preview while a slider moves. The
            two may run at the same time, in threads beside the notebook's cells.
        labels: keyword to the slider's label; by default the keyword.
        start: keyword to the starting value; by default the first.
        side: width of the picture in CSS pixels.
        page: keyword to those of its values that the published page has. The page
            holds a frame for each combination: at most 400. A single value gets no
            slider.
        menus: keywords that get a drop-down list in place of a slider; by default those
            whose values are names, such as a judge, and not quantities, such as "1 %".

    Raises:
        ExploreError: an argument is malformed, or a function does not return a
            ``Frame`` with one picture.
    """
    page_build = in_page()
    require_alt(alt, "explore")
    _check_name(name, page_build)
    if not isinstance(side, int) or side < 1:
        raise ExploreError(
            f"side expects a width in pixels, 1 or more, got {side!r}; try 384."
        )
    whole = Grid.of(sliders, labels or {}, start or {}, menus)
    paged = whole.fewer(page or {})

    def stills(render: Callable[..., Frame], grid: Grid) -> Callable[[Setting], Still]:
        def still(setting: Setting) -> Still:
            with torch.no_grad():
                frame = render(**grid.keywords(setting))
            described = f"{alt.rstrip('.')} ({grid.words(setting)})"
            return _still(frame, described, side, webp=page_build)

        return still

    if page_build:
        frames = [_noted(stills(full, paged), paged, s) for s in paged.settings()]
        _published.add(name)
        bundle = _bundle(frames[paged.settings().index(paged.start)])
        bundle["text/html"] = player(name, alt, paged.controls, frames, side)
        return Explorer(alt, bundle)
    exact = stills(full, whole)
    fast = None if quick is None else stills(quick, whole)
    first = (fast or exact)(whole.start)
    if not has_kernel():
        return Explorer(alt, _bundle(first))
    if name in _alive:
        _alive[name].close()
    live = Live(whole.controls, fast, exact, first, side)
    _alive[name] = Explorer(alt, _bundle(first) | live.bundle(), live)
    return _alive[name]


def _noted(still: Callable[[Setting], Still], grid: Grid, setting: Setting) -> Still:
    """A still; if the function fails, a note on the error names the setting."""
    try:
        return still(setting)
    except Exception as error:
        error.add_note(f"The interactive figure was at: {grid.words(setting)}.")
        raise


def _check_name(name: str, in_page: bool) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ExploreError(
            f"name expects lower-case words joined by hyphens, got {name!r}; choose "
            "one like 'row-swap', which can be a part of the page's address."
        )
    if in_page and name in _published:
        raise ExploreError(
            f"the page already has a figure named {name!r}; choose another name."
        )


def _still(frame: object, described: str, side: int, *, webp: bool) -> Still:
    """Check a frame, scale its picture for the screen, and encode it."""
    if not isinstance(frame, Frame):
        raise ExploreError(
            "the function of an interactive figure is expected to return a Frame, got "
            f"{type(frame).__name__}; return Frame(picture, numbers)."
        )
    picture = as_picture(frame.picture, "Frame")
    image = shrink(picture, side if webp else 2 * side)
    if not isinstance(frame.numbers, Mapping):
        raise ExploreError(
            "a Frame expects numbers as a mapping of label to value, got "
            f"{type(frame.numbers).__name__}; write {{'label': value}}."
        )
    numbers = tuple((str(k), _number(k, v)) for k, v in frame.numbers.items())
    data = page_bytes(image, quality=80) if webp else jpeg_bytes(image)
    size = (image.shape[-2], image.shape[-1])
    return Still(data, size, frame.alt or described, numbers)


def _number(label: str, value: object) -> str:
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Integral):
        return str(int(value)).replace("-", MINUS)
    if isinstance(value, Real) and math.isnan(value):
        return "no value"
    if isinstance(value, Real):
        # Adding zero to the rounded number makes -0.000 a plain 0.000.
        return f"{round(float(value), 3) + 0.0:.3f}".replace("-", MINUS)
    raise ExploreError(
        f"number {label!r} of a Frame is expected to be a number or a string, got "
        f"{type(value).__name__}; convert it with float() or str()."
    )


def _bundle(still: Still) -> dict[str, Any]:
    png = png_bytes(decode_image(still.data))
    return {"image/png": base64.b64encode(png).decode(), "text/plain": still.alt}
