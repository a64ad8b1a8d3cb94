"""One description, three faces: which one comes, and what is in it."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from facersa.errors import ExploreError, FaceRSAError
from facersa.figures import explore as module
from facersa.figures.explore import Explorer, Frame, explore
from facersa.photo.images import decode_image

SLIDERS = {"shade": [0, 1, 2], "size": ["small", "large"]}


def full(shade: int, size: str) -> Frame:
    grey = torch.full((3, 12, 24), shade / 2 - 0.5)
    return Frame(grey, {"mean": grey.mean().item(), "size": size})


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a build of the book, of a page without figures so far."""
    monkeypatch.setenv("FACERSA_PAGE", "1")
    monkeypatch.setattr(module, "_published", set())


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """No build, no kernel, unless a test says so."""
    monkeypatch.delenv("FACERSA_PAGE", raising=False)


def described(**changes: Any) -> Explorer:
    settings: dict[str, Any] = {"name": "shades", "alt": "A grey field."}
    settings |= {"full": full, "sliders": SLIDERS} | changes
    return explore(settings.pop("full"), settings.pop("sliders"), **settings)


def picture_of(figure: Explorer) -> torch.Tensor:
    return decode_image(base64.b64decode(figure._repr_mimebundle_()["image/png"]))


def page_data(figure: Explorer) -> dict[str, Any]:
    html = figure._repr_mimebundle_()["text/html"]
    found = re.search(r'<script type="application/json">(.*?)</script>', html)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def test_outside_a_notebook_it_is_a_picture_with_words() -> None:
    figure = described(start={"shade": 2})
    bundle = figure._repr_mimebundle_()
    assert set(bundle) == {"image/png", "text/plain"}
    assert bundle["text/plain"] == "A grey field (shade 2, size small)"
    assert picture_of(figure).mean() == pytest.approx(0.5, abs=0.01)
    figure.close()


def test_only_the_start_is_computed_and_with_the_quick_function() -> None:
    asked: list[tuple[str, int, str]] = []

    def quick(shade: int, size: str) -> Frame:
        asked.append(("quick", shade, size))
        return full(shade, size)

    def slow(shade: int, size: str) -> Frame:
        raise AssertionError("nobody waits for the full picture")

    described(full=slow, quick=quick, start={"shade": 1})
    assert asked == [("quick", 1, "small")]


@pytest.mark.usefixtures("published")
def test_a_page_holds_the_full_frame_of_each_setting() -> None:
    figure = described(start={"size": "large"}, quick=lambda **_: 1 / 0, side=24)
    bundle = figure._repr_mimebundle_()
    assert set(bundle) == {"text/html", "image/png", "text/plain"}
    assert '<figure class="facersa-player" id="player-shades"' in bundle["text/html"]
    assert bundle["text/plain"] == "A grey field (shade 0, size large)"
    assert picture_of(figure).mean() == pytest.approx(-0.5, abs=0.01)
    data = page_data(figure)
    assert len(data["frames"]) == 6 and len(data["pictures"]) == 3
    for index, (picture, alt, numbers) in enumerate(data["frames"]):
        shade, size = index // 2, ("small", "large")[index % 2]
        drawn = decode_image(base64.b64decode(data["pictures"][picture]))
        assert drawn.shape == (1, 3, 12, 24)
        assert drawn.mean() == pytest.approx(shade / 2 - 0.5, abs=0.01)
        assert alt == f"A grey field (shade {shade}, size {size})"
        assert numbers[1] == ["size", size]
    assert [frame[2][0][1] for frame in data["frames"]][::2] == [
        "\N{MINUS SIGN}0.500",
        "0.000",
        "0.500",
    ]


@pytest.mark.usefixtures("published")
def test_a_page_may_hold_a_coarser_grid() -> None:
    figure = described(page={"shade": [0, 2], "size": ["small"]})
    assert [frame[1] for frame in page_data(figure)["frames"]] == [
        "A grey field (shade 0, size small)",
        "A grey field (shade 2, size small)",
    ]


@pytest.mark.usefixtures("published")
def test_pictures_are_scaled_to_the_side_and_never_enlarged() -> None:
    for side, width in ((12, 12), (384, 24)):
        figure = described(side=side, name=f"side-{side}")
        assert picture_of(figure).shape[-1] == width
        assert f'width="{side}"' in figure._repr_mimebundle_()["text/html"]


@pytest.mark.usefixtures("published")
def test_a_name_is_used_once_in_a_page() -> None:
    described()
    with pytest.raises(ExploreError, match="choose another name"):
        described()
    described(name="other-shades")


@pytest.mark.usefixtures("published")
def test_a_build_stops_at_a_broken_setting_and_says_which() -> None:
    def broken(shade: int, size: str) -> Frame:
        if (shade, size) == (1, "large"):
            raise RuntimeError("no face")
        return full(shade, size)

    with pytest.raises(RuntimeError, match="no face") as caught:
        described(full=broken)
    assert caught.value.__notes__ == [
        "The interactive figure was at: shade 1, size large."
    ]


def test_a_page_too_large_is_known_before_the_build() -> None:
    with pytest.raises(ExploreError, match="at most 400 frames"):
        described(sliders={"shade": range(401), "size": ["small", "large"]})


def test_functions_run_without_gradients() -> None:
    seen: list[bool] = []

    def watching(shade: int, size: str) -> Frame:
        seen.append(torch.is_grad_enabled())
        return full(shade, size)

    described(full=watching)
    assert seen == [False] and torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("changes", "cure"),
    [
        ({"name": ""}, "row-swap"),
        ({"name": "Row Swap"}, "row-swap"),
        ({"name": "a--b"}, "row-swap"),
        ({"name": 3}, "row-swap"),
        ({"alt": " "}, "say in words"),
        ({"side": 0}, "1 or more"),
        ({"side": 12.5}, "1 or more"),
        ({"sliders": {}}, "one slider or more"),
        ({"start": {"shade": 9}}, "choose one of 0, 1, 2"),
        ({"page": {"shade": [1, 2]}}, "its start 0 among them"),
    ],
)
def test_a_wrong_description_says_what_to_do(
    changes: dict[str, Any], cure: str
) -> None:
    with pytest.raises(ExploreError, match=cure) as caught:
        described(**changes)
    assert isinstance(caught.value, FaceRSAError) and "\n" not in str(caught.value)


GREY = torch.zeros(3, 8, 8)


@pytest.mark.parametrize(
    ("frame", "cure"),
    [
        (None, "return Frame"),
        (GREY, "return Frame"),
        (Frame(torch.zeros(2, 3, 8, 8), {}), "one picture"),
        (Frame(torch.zeros(8, 8), {}), "one picture"),
        (Frame(torch.full((3, 8, 8), torch.inf), {}), "infinity"),
        (Frame(np.zeros((3, 8, 8)), {}), "convert it"),  # type: ignore[arg-type]
        (Frame(GREY, [1]), "mapping"),  # type: ignore[arg-type]
        (Frame(GREY, {"a": None}), "number 'a'"),  # type: ignore[dict-item]
        (Frame(GREY, {"a": torch.zeros(2)}), "number 'a'"),  # type: ignore[dict-item]
    ],
)
@pytest.mark.parametrize("role", ["full", "quick"])
def test_a_wrong_frame_says_what_to_do(frame: Any, cure: str, role: str) -> None:
    with pytest.raises(ExploreError, match=cure) as caught:
        described(**{role: lambda **_: frame})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.12345, "0.123"),
        (-0.0004, "0.000"),
        (-1.5, "\N{MINUS SIGN}1.500"),
        (3, "3"),
        (-3, "\N{MINUS SIGN}3"),
        (True, "yes"),
        (np.float32(0.25), "0.250"),
        (torch.tensor(0.5), "0.500"),
        (float("nan"), "no value"),
        ("5-8", "5-8"),
    ],
)
def test_numbers_are_written_for_readers(value: Any, words: str) -> None:
    assert module._number("label", value) == words


@pytest.mark.parametrize("name", ["figures.explore", "photo.images", "photo.align"])
def test_the_import_is_light(name: str) -> None:
    code = f"import sys, facersa.{name}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    heavy = {"ipywidgets", "IPython", "matplotlib", "openvino", "dlib", "cv2", "scipy"}
    assert not heavy & set(loaded)
