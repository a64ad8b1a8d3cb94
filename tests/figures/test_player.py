"""The player in a browser: no kernel, no network, keyboard, and no JavaScript."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from facersa.figures.player import Still, numbers_list, packaged, player
from facersa.figures.sliders import Control
from facersa.photo.images import decode_image, webp_bytes

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

CONTROLS = [
    Control("shade", "Shade", ("dark", "middle", "light"), 1),
    Control("size", "Size <px>", ("1", "2"), 0),
]
SCRIPT = base64.b64encode(hashlib.sha256(packaged("player.js").encode()).digest())
STYLE = base64.b64encode(hashlib.sha256(packaged("player.css").encode()).digest())
POLICY = (
    f"default-src 'none'; img-src data:; script-src 'sha256-{SCRIPT.decode()}'; "
    f"style-src 'sha256-{STYLE.decode()}'"
)


def still(shade: int, size: int) -> Still:
    picture = torch.full((1, 3, 32, 64), shade / 2 - 0.5)
    numbers = (("shade & size", f"{shade}.{size}"), ("</script>", "<b>"))
    return Still(webp_bytes(picture), (32, 64), f"shade {shade}, {size}", numbers)


STILLS = [still(shade, size) for shade in range(3) for size in range(2)]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page of two players, under a policy that allows our script and style only."""
    bodies = [player(name, "Shades", CONTROLS, STILLS, 64) for name in ("one", "two")]
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>x</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"</head><body>{''.join(bodies)}</body></html>",
        encoding="utf-8",
    )
    return path.as_uri()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """The page, opened; at the end nothing may have complained or been fetched."""
    context = browser.new_context()
    opened = context.new_page()
    problems: list[str] = []
    opened.on("console", lambda message: problems.append(message.text))
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("request", lambda request: problems.append(request.url))
    opened.goto(address)
    yield opened
    opened.close()
    context.close()
    asked = [p for p in problems if not p.startswith("data:image/webp")]
    assert asked == [address]


def state(figure: Locator) -> tuple[str, str, str]:
    """Alternative text, first number, and the grey level of the picture drawn."""
    picture = figure.locator("img")
    data = (picture.get_attribute("src") or "").partition(",")[2]
    level = decode_image(base64.b64decode(data)).mean().item()
    number = figure.locator("dd").first.inner_text()
    return picture.get_attribute("alt") or "", number, f"{level:.1f}"


def test_the_page_opens_at_the_start(page: Page) -> None:
    figure = page.locator("#player-one")
    assert state(figure) == ("shade 1, 0", "1.0", "0.0")
    assert figure.locator("input").count() == 2
    assert figure.locator("input").first.is_visible()
    assert figure.locator("output").all_inner_texts() == ["middle", "1"]
    assert figure.locator("dt").all_inner_texts() == ["shade & size", "</script>"]
    assert figure.locator("noscript").is_hidden()
    drawn = figure.locator("img").evaluate("i => [i.complete, i.naturalWidth]")
    assert drawn == [True, 64]


def test_keys_move_picture_words_and_numbers(page: Page) -> None:
    figure = page.locator("#player-one")
    shade = figure.get_by_label("Shade")
    shade.focus()
    page.keyboard.press("ArrowRight")
    assert state(figure) == ("shade 2, 0", "2.0", "0.5")
    assert shade.get_attribute("aria-valuetext") == "light"
    assert figure.locator("output").first.inner_text() == "light"
    page.keyboard.press("Home")
    assert state(figure) == ("shade 0, 0", "0.0", "-0.5")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowUp")
    assert state(figure) == ("shade 0, 1", "0.1", "-0.5")
    assert figure.get_by_label("Size <px>").get_attribute("aria-valuetext") == "2"


def test_each_frame_of_the_grid_can_be_reached_with_a_hand(page: Page) -> None:
    figure = page.locator("#player-two")
    seen = set()
    for shade in "012":
        for size in "01":
            figure.get_by_label("Shade").fill(shade)
            figure.get_by_label("Size").fill(size)
            assert state(figure)[:2] == (f"shade {shade}, {size}", f"{shade}.{size}")
            seen.add(state(figure))
    assert len(seen) == len(STILLS)


def test_two_players_of_a_page_are_apart(page: Page) -> None:
    before = state(page.locator("#player-two"))
    page.locator("#player-one").get_by_label("Shade").fill("0")
    assert state(page.locator("#player-two")) == before
    assert state(page.locator("#player-one")) != before


def test_without_javascript_the_start_stays_and_no_slider_pretends(
    browser: Browser, address: str
) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    figure = page.locator("#player-one")
    assert figure.locator("img").is_visible()
    assert state(figure) == ("shade 1, 0", "1.0", "0.0")
    assert figure.locator("input").count() == 2
    assert not any(slider.is_visible() for slider in figure.locator("input").all())
    note = figure.locator("noscript").inner_text()
    assert "JavaScript" in note and "Shade middle, Size <px> 1." in note
    context.close()


def test_a_phone_is_wide_enough(browser: Browser, address: str, tmp_path: Path) -> None:
    wide = [player("wide", "Shades", CONTROLS, STILLS, 900)]
    path = tmp_path / "wide.html"
    head = '<meta name="viewport" content="width=device-width">'
    path.write_text(f"<!doctype html><html><head>{head}</head><body>{wide[0]}")
    context = browser.new_context(viewport={"width": 375, "height": 800})
    page = context.new_page()
    page.goto(path.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == 375
    box = page.locator("img").bounding_box()
    assert box is not None and 300 < box["width"] < 375
    assert box["height"] == pytest.approx(box["width"] / 2, abs=2)
    context.close()


def test_equal_pictures_are_stored_once_and_the_order_is_kept() -> None:
    html = player("one", "Shades", CONTROLS, STILLS, 64)
    found = re.search(r'<script type="application/json">(.*?)</script>', html)
    assert found is not None
    data = json.loads(found[1])
    assert len(data["pictures"]) == 3
    assert [frame[0] for frame in data["frames"]] == [0, 0, 1, 1, 2, 2]
    assert [frame[1] for frame in data["frames"]] == [still.alt for still in STILLS]
    assert data["values"] == [["dark", "middle", "light"], ["1", "2"]]


def test_a_fixed_slider_is_left_out() -> None:
    fixed = [Control("size", "Size", ("1",), 0), CONTROLS[0]]
    html = player("one", "Shades", fixed, STILLS[::2], 64)
    assert html.count("<input") == 1 and ">Size<" not in html
    assert f'alt="{STILLS[2].alt}"' in html


def test_numbers_are_words_not_markup() -> None:
    assert numbers_list([("a<b", "1 & 2")]) == (
        '<dl aria-live="polite"><div><dt>a&lt;b</dt><dd>1 &amp; 2</dd></div></dl>'
    )


def test_a_menu_moves_picture_and_numbers(browser: Browser, tmp_path: Path) -> None:
    controls = [CONTROLS[0], replace(CONTROLS[1], menu=True)]
    path = tmp_path / "menu.html"
    path.write_text(player("three", "Shades", controls, STILLS, 64), encoding="utf-8")
    page = browser.new_page()
    page.goto(path.as_uri())
    figure = page.locator("#player-three")
    menu = figure.get_by_label("Size <px>")
    assert state(figure)[1] == "1.0" and menu.input_value() == "1"
    menu.select_option("2")
    assert state(figure)[:2] == ("shade 1, 1", "1.1")
    figure.get_by_label("Shade").fill("2")
    assert state(figure)[:2] == ("shade 2, 1", "2.1")
    menu.focus()
    page.keyboard.press("ArrowUp")
    assert state(figure)[:2] == ("shade 2, 0", "2.0")
    page.close()
