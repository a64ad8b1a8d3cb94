"""The drawing of the whole way: its parts, its words, and what is lit."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib

matplotlib.use("agg")

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.text import Text

from facersa.cipher.catalogue import DEFAULT, load_cipher
from facersa.errors import ExploreError
from facersa.figures.pipeline import (
    BOXES,
    EDITED,
    PARTS,
    pipeline,
    svg,
    where_we_are,
)

STATIC = Path(__file__).resolve().parents[2] / "book" / "_static"


def pixels(figure: Figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba()).astype(int)


def words(text: str) -> set[str]:
    return set(re.findall(r">([^<>]+)</(?:text|tspan)>", text))


@pytest.mark.parametrize("lit", [(), PARTS], ids=["none lit", "all lit"])
def test_every_word_stands_inside_its_box(lit: tuple[str, ...]) -> None:
    figure = pipeline(*lit)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    boxes = [one.get_window_extent(renderer) for one in figure.findobj(FancyBboxPatch)]
    labels = {label for *_, label in BOXES}
    texts = [one for one in figure.findobj(Text) if one.get_text() in labels]
    assert len(texts) == len(boxes) == len(BOXES)
    for text in texts:
        inner = text.get_window_extent(renderer)
        assert any(
            box.x0 <= inner.x0
            and inner.x1 <= box.x1
            and box.y0 <= inner.y0
            and inner.y1 <= box.y1
            for box in boxes
        ), text.get_text()


@pytest.mark.parametrize("part", PARTS)
def test_a_lit_part_changes_its_boxes_and_no_other(part: str) -> None:
    plain, lit = pixels(pipeline()), pixels(pipeline(part))
    changed = np.abs(plain - lit).max(-1) > 40
    own = [(column, row) for name, column, row, _ in BOXES if name == part]
    assert changed.any()
    height, width = changed.shape
    x = np.nonzero(changed)[1] * 704 / width
    columns = {min(4, int(place // (704 / 5))) for place in x}
    assert columns == {column for column, _ in own}


def test_the_alternative_text_names_what_is_lit() -> None:
    shown = where_we_are("cipher", "password")
    assert "cipher, password" in shown.alt
    assert 'alt="The way of a photograph' in shown._repr_mimebundle_()["text/html"]
    assert "Lit" not in where_we_are().alt


def test_an_unknown_part_is_refused() -> None:
    with pytest.raises(ExploreError, match="got 'engine'; choose from password"):
        where_we_are("cipher", "engine")


def test_the_drawing_on_the_first_page_is_this_one() -> None:
    assert words((STATIC / "pipeline.svg").read_text()) == words(svg())
    assert words(svg()) >= {"photo", "cipher", "seal", "Encrypt", "Decrypt"}


def test_the_edited_rows_are_the_default_ciphers() -> None:
    assert tuple(EDITED) == load_cipher(DEFAULT).layers
