"""The player: an interactive figure in a published page, without a kernel.

Every frame is computed beforehand and stored in the page; range inputs and drop-down
lists choose among them. Script and style come with each player, so an output can be
moved to any page. Their text never changes, so a content security policy can allow them
by their hashes.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from facersa.figures.display import img
from facersa.figures.sliders import Control


@dataclass(frozen=True)
class Still:
    """One frame, encoded.

    Attributes:
        data: the picture, WebP or JPEG.
        size: its (height, width) in pixels.
        alt: its alternative text.
        numbers: labels and values.
    """

    data: bytes
    size: tuple[int, int]
    alt: str
    numbers: tuple[tuple[str, str], ...]


def player(
    name: str,
    alt: str,
    controls: Sequence[Control],
    stills: Sequence[Still],
    width: int,
) -> str:
    """The HTML of a player.

    Args:
        name: makes the id of the figure, ``player-NAME``.
        alt: what the figure shows, in words.
        controls: the sliders; one with a single value is left out.
        stills: a frame for each combination of values, the last slider fastest.
        width: of the picture, in CSS pixels.
    """
    start = 0
    for control in controls:
        start = start * len(control.values) + control.start
    first = stills[start]
    shown = ", ".join(f"{one.label} {one.values[one.start]}" for one in controls)
    moving = [control for control in controls if len(control.values) > 1]
    sliders = "".join(_slider(name, control) for control in moving)
    return (
        f'<figure class="facersa-player" id="player-{name}" '
        f'aria-label="{html.escape(alt)}">'
        f"<style>{packaged('player.css')}</style>"
        f"{img(first.data, first.alt, first.size, width)}"
        f'<div class="facersa-panel"><div class="facersa-controls" hidden>{sliders}'
        f"</div>{numbers_list(first.numbers)}"
        '<noscript><p class="facersa-note">The sliders of this figure need '
        f"JavaScript. It shows {html.escape(shown)}.</p></noscript></div>"
        f'<script type="application/json">{_data(moving, stills)}</script>'
        f"<script>{packaged('player.js')}</script></figure>"
    )


def numbers_list(numbers: Sequence[tuple[str, str]]) -> str:
    """Labels and values as a definition list that a screen reader announces."""
    rows = "".join(
        f"<div><dt>{html.escape(label)}</dt><dd>{html.escape(value)}</dd></div>"
        for label, value in numbers
    )
    return f'<dl aria-live="polite">{rows}</dl>'


@cache
def packaged(name: str) -> str:
    """The text of a file that comes with the package."""
    return (files("facersa.figures") / name).read_text(encoding="utf-8")


def _slider(name: str, control: Control) -> str:
    place = f"player-{name}-{control.keyword}"
    value = html.escape(control.values[control.start])
    if control.menu:
        options = "".join(
            f"<option{' selected' * (index == control.start)}>{html.escape(one)}"
            "</option>"
            for index, one in enumerate(control.values)
        )
        return (
            f'<div class="facersa-slider"><label for="{place}">'
            f"{html.escape(control.label)}</label>"
            f'<select id="{place}" autocomplete="off">{options}</select></div>'
        )
    return (
        f'<div class="facersa-slider"><label for="{place}">'
        f"{html.escape(control.label)}</label>"
        f'<output for="{place}" aria-live="off">{value}</output>'
        f'<input type="range" id="{place}" min="0" max="{len(control.values) - 1}" '
        f'step="1" value="{control.start}" aria-valuetext="{value}" '
        'autocomplete="off"></div>'
    )


def _data(controls: Sequence[Control], stills: Sequence[Still]) -> str:
    """Values, pictures and frames as JSON; equal pictures are stored once."""
    pictures: dict[bytes, int] = {}
    frames = [
        [pictures.setdefault(still.data, len(pictures)), still.alt, still.numbers]
        for still in stills
    ]
    data = {
        "values": [control.values for control in controls],
        "pictures": [base64.b64encode(one).decode() for one in pictures],
        "frames": frames,
    }
    # "<" could end the script element early.
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")
