"""Pictures with words: HTML and PNG of tensors, lists and figures."""

from __future__ import annotations

import base64
import re

import matplotlib

matplotlib.use("agg")

import pytest
import torch
from matplotlib import pyplot

from facersa.errors import ExploreError, FaceRSAError
from facersa.figures.display import (
    PAGE_WIDTH,
    Shown,
    as_picture,
    data_uri,
    page_bytes,
    show,
    shrink,
)
from facersa.photo.images import decode_image

GREY = torch.zeros(3, 20, 40)


def parts(shown: Shown) -> tuple[torch.Tensor, torch.Tensor, dict[str, str]]:
    """The picture in the HTML, the PNG beside it, and the attributes of the img."""
    bundle = shown._repr_mimebundle_()
    attributes = dict(re.findall(r'([\w-]+)="([^"]*)"', bundle["text/html"]))
    data = base64.b64decode(attributes["src"].partition(",")[2])
    png = base64.b64decode(bundle["image/png"])
    return decode_image(data), decode_image(png), attributes


def test_a_tensor_is_shown_at_its_own_size() -> None:
    shown = show(GREY, alt='A "grey" field')
    html, png, attributes = parts(shown)
    assert html.shape == png.shape == (1, 3, 20, 40)
    assert (html - png).abs().max() == 0  # such a plain picture loses nothing
    assert (attributes["width"], attributes["height"]) == ("40", "20")
    assert attributes["alt"] == "A &quot;grey&quot; field"
    assert shown._repr_mimebundle_()["text/plain"] == 'A "grey" field'


def test_width_is_in_css_pixels_and_large_pictures_shrink_to_twice_of_it() -> None:
    html, _, attributes = parts(show(torch.zeros(3, 400, 300), alt="x", width=50))
    assert html.shape[-2:] == (133, 100)
    assert (attributes["width"], attributes["height"]) == ("50", "66")
    _, _, attributes = parts(show(torch.zeros(3, 8, 3000), alt="x"))
    assert attributes["width"] == str(PAGE_WIDTH)


def test_lists_and_batches_become_rows_of_four() -> None:
    shades = [torch.full((1, 3, 10, 10), value / 4 - 1) for value in range(5)]
    html, _, _ = parts(show(shades, alt="five shades"))
    assert html.shape[-2:] == (2 * 14 + 4, 4 * 14 + 4)
    _, batch, _ = parts(show(torch.cat(shades), alt="five shades"))
    assert torch.equal(html, batch)
    assert html[0, 0, 9, 4 + 14 + 5] == pytest.approx(0.25 - 1, abs=0.01)


def test_labels_are_written_under_the_pictures() -> None:
    pair = [torch.zeros(3, 64, 64), torch.zeros(3, 64, 64)]
    html, _, _ = parts(show(pair, alt="a pair", labels=["one", "two"]))
    below = html[0, :, -36:]
    assert html.shape[-2] > 64 + 30 and below.min() < -0.5 < 0.9 < below.max()


def test_a_figure_is_white_sharp_and_closed() -> None:
    figure, axes = pyplot.subplots(figsize=(4, 2))
    axes.plot([0, 1])
    html, png, attributes = parts(show(figure, alt="a line"))
    assert pyplot.get_fignums() == []
    assert png[0, :, 0, 0].tolist() == [1, 1, 1]
    assert html.shape[-1] == pytest.approx(2 * int(attributes["width"]), abs=1)
    assert 300 < int(attributes["width"]) < 420


@pytest.mark.parametrize(
    ("value", "words", "cure"),
    [
        (GREY, "", "say in words"),
        (GREY, "  ", "say in words"),
        (GREY, None, "say in words"),
        ([], "x", "an empty list"),
        ("face.png", "x", "tensor"),
        (torch.zeros(1, 20, 40), "x", "take one out"),
        (torch.full((3, 4, 4), torch.nan), "x", "nan"),
        ([GREY, torch.zeros(3, 8, 8)], "x", "images.resize"),
    ],
)
def test_what_cannot_be_shown_says_what_to_do(
    value: object, words: str, cure: str
) -> None:
    with pytest.raises(ExploreError, match=cure) as caught:
        show(value, alt=words)  # type: ignore[arg-type]
    assert isinstance(caught.value, FaceRSAError) and "\n" not in str(caught.value)


def test_wrong_widths_and_labels_are_refused() -> None:
    with pytest.raises(ExploreError, match="1 pixel or more"):
        show(GREY, alt="x", width=0)
    with pytest.raises(ExploreError, match="a label for each"):
        show([GREY], alt="x", labels=["a", "b"])


def test_as_picture_takes_both_shapes_and_leaves_the_graph() -> None:
    leaf = torch.zeros(3, 4, 4, dtype=torch.float64, requires_grad=True)
    picture = as_picture(leaf, "test")
    assert picture.shape == (1, 3, 4, 4) and picture.dtype == torch.float32
    assert not picture.requires_grad
    assert as_picture(leaf[None], "test").shape == (1, 3, 4, 4)


def test_shrink_never_enlarges() -> None:
    assert shrink(torch.zeros(1, 3, 10, 20), 40).shape[-2:] == (10, 20)
    assert shrink(torch.zeros(1, 3, 10, 20), 10).shape[-2:] == (5, 10)


def test_a_drawing_keeps_its_edges_and_a_photograph_its_size() -> None:
    drawing = torch.ones(1, 3, 64, 64)
    drawing[:, 0, 20:40, 10:50] = -1  # such a red fringe is what loss would leave
    assert torch.equal(decode_image(page_bytes(drawing, quality=80)), drawing)
    noise = torch.rand(1, 3, 64, 64) * 2 - 1
    assert len(page_bytes(noise, quality=80)) < 64 * 64 * 3 / 2
    half = torch.where(torch.arange(64) < 40, 1.0, noise)
    assert len(page_bytes(half, quality=80)) < 64 * 24 * 3 / 2


def test_an_address_says_its_kind() -> None:
    assert data_uri(b"RIFFxxxxWEBP").startswith("data:image/webp;base64,")
    assert data_uri(b"\xff\xd8\xff").startswith("data:image/jpeg;base64,")
