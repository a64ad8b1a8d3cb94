"""The way of a photograph as one drawing, with the parts lit that a chapter is about.

Lengths are in CSS pixels of the book's text column. The background is white and opaque,
so the drawing reads the same on a light page, on a dark one and on paper.
"""

from __future__ import annotations

import io

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from facersa.errors import ExploreError
from facersa.figures.display import PAGE_WIDTH, Shown, show

HEIGHT = 372
BOX_WIDTH, BOX_HEIGHT = 120, 58
LETTERS = 20  # on a phone, half of it
INCH, POINT = 96, 96 / 72  # in CSS pixels

# Columns from the left and rows from the top: password; encrypt, to the right and back
# to the left; decrypt. A part that is used on both ways has two boxes.
BOXES = (
    ("password", 4, 0, "password"),
    ("photograph", 0, 1, "photo"),
    ("align", 1, 1, "align"),
    ("invert", 2, 1, "invert"),
    ("code", 3, 1, "code w"),
    ("cipher", 4, 1, "cipher"),
    ("edited", 4, 2, "edited\ncode"),
    ("generator", 3, 2, "generator"),
    ("paste", 2, 2, "paste"),
    ("seal", 1, 2, "seal"),
    ("file", 0, 2, "file"),
    ("open", 0, 3, "open with\npassword"),
    ("code", 1, 3, "code w"),
    ("generator", 2, 3, "generator"),
    ("paste", 3, 3, "paste"),
    ("photograph", 4, 3, "face\nis back"),
)
PARTS = tuple(dict.fromkeys(name for name, *_ in BOXES))
ROWS = (30, 118, 210, 334)  # of the centres of the boxes
EDITED = range(3, 11)  # rows of a code that the default cipher edits
INK, PAPER, QUIET = "#1f2933", "white", "#eef1f4"
LIT, LINE, ACCENT = "#ffd166", "#5b6773", "#c1121f"


def where_we_are(*lit: str) -> Shown:
    """The drawing of the whole way with the named ``PARTS`` lit, for a chapter.

    Raises:
        ExploreError: a name that is none of the parts.
    """
    figure = pipeline(*lit)
    alt = (
        "The way of a photograph as boxes and arrows. To encrypt: photo, align, "
        "invert, code w of sixteen rows; a cipher with a password makes the edited "
        "code; the generator paints it, the face is pasted into the photo, the code "
        "is sealed, and all goes into a file. To decrypt: open the file with the "
        "password, code w, generator, paste, and the face is back."
    )
    here = f" Lit, for this chapter: {', '.join(lit)}." if lit else ""
    return show(figure, alt=alt + here)


def pipeline(*lit: str) -> Figure:
    """The drawing alone, 704 x 372 CSS pixels; errors as of ``where_we_are``."""
    unknown = [name for name in lit if name not in PARTS]
    if unknown:
        raise ExploreError(
            f"the drawing expects names of its parts, got {', '.join(unknown)!r}; "
            f"choose from {', '.join(PARTS)}."
        )
    figure = Figure(figsize=(PAGE_WIDTH / INCH, HEIGHT / INCH), facecolor=PAPER)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, PAGE_WIDTH), ylim=(HEIGHT, 0))
    axes.axis("off")
    for name, column, row, label in BOXES:
        _box(axes, *_centre(column, row), label, name in lit)
    for row, columns in ((1, range(4)), (2, (4, 3, 2, 1)), (3, range(4))):
        for column in columns:
            step = 1 if row != 2 else -1
            _arrow(axes, (column, row), (column + step, row))
    for start, end in (((4, 0), (4, 1)), ((4, 1), (4, 2)), ((0, 2), (0, 3))):
        _arrow(axes, start, end)
    for text, x, y in (("Encrypt", 6, 62), ("Decrypt", 146, 276)):
        axes.text(
            x,
            y,
            text,
            va="center",
            fontsize=LETTERS / POINT,
            color=LINE,
            fontweight="bold",
        )
    return figure


def svg() -> str:
    """The drawing with nothing lit as an SVG file: ``book/_static/pipeline.svg``."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "facersa"}):
        pipeline().savefig(buffer, format="svg", metadata={"Date": None})
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"


def _centre(column: int, row: int) -> tuple[float, float]:
    gap = (PAGE_WIDTH - 8 - 5 * BOX_WIDTH) / 4
    return 4 + BOX_WIDTH / 2 + column * (BOX_WIDTH + gap), ROWS[row]


def _box(axes: Axes, x: float, y: float, label: str, lit: bool) -> None:
    left, top = x - BOX_WIDTH / 2, y - BOX_HEIGHT / 2
    axes.add_patch(
        FancyBboxPatch(
            (left + 6, top + 6),
            BOX_WIDTH - 12,
            BOX_HEIGHT - 12,
            boxstyle="round,pad=6",
            facecolor=LIT if lit else QUIET,
            edgecolor=INK if lit else LINE,
            linewidth=2.5 if lit else 1.2,
        )
    )
    is_code = "code" in label
    if is_code:
        _code(axes, left + 8, y, edited="edited" in label)
    axes.text(
        x + 12 * is_code,
        y,
        label,
        ha="center",
        va="center",
        fontsize=LETTERS / POINT,
        linespacing=1.0,
        color=INK,
        fontweight="bold" if lit else "normal",
    )


def _code(axes: Axes, left: float, y: float, *, edited: bool) -> None:
    """Sixteen thin rows; those that a cipher edits in another colour."""
    for row in range(16):
        colour = ACCENT if edited and row in EDITED else LINE
        bar = Rectangle((left, y - 24 + 3 * row), 18, 2, color=colour, linewidth=0)
        axes.add_patch(bar)


def _arrow(axes: Axes, start: tuple[int, int], end: tuple[int, int]) -> None:
    """From the side of one box to the facing side of the next."""
    (x, y), (u, v) = _centre(*start), _centre(*end)
    right, down = (u > x) - (u < x), (v > y) - (v < y)
    half, tall = BOX_WIDTH / 2 + 1, BOX_HEIGHT / 2 + 1
    tail = x + right * half, y + down * tall
    head = u - right * half, v - down * tall
    arrow = FancyArrowPatch(
        tail,
        head,
        arrowstyle="-|>",
        mutation_scale=14,
        shrinkA=0,
        shrinkB=0,
        color=LINE,
        linewidth=1.8,
    )
    axes.add_patch(arrow)
