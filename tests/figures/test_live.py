"""The live face: nothing piles up, errors pass, and a real kernel draws it."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from live_kernel import WIDGET_VIEW, LiveKernel

from facersa.errors import ExploreError
from facersa.figures import live
from facersa.figures.live import Latest, Live, one_line
from facersa.figures.player import Still
from facersa.figures.sliders import Control, Setting
from facersa.photo.images import jpeg_bytes

SHADE = Control("shade", "Shade", tuple(str(i) for i in range(9)), 0)
LONG = 60.0  # seconds: an upper bound that a working thread never comes near


class Gate:
    """Work that records its items and, while the gate is shut, waits inside one."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self.open, self.inside = threading.Event(), threading.Event()
        self.open.set()

    def __call__(self, item: Any) -> None:
        self.items.append(item)
        self.inside.set()
        assert self.open.wait(LONG)


def test_only_the_latest_item_is_worked_on() -> None:
    gate = Gate()
    gate.open.clear()
    lane = Latest(gate)
    lane.put(0)
    assert gate.inside.wait(LONG)
    for item in range(1, 100):
        lane.put(item)
    gate.open.set()
    assert lane.join(LONG)
    assert gate.items == [0, 99]


def test_the_thread_ends_with_the_work_and_comes_back() -> None:
    before = threading.active_count()
    gate = Gate()
    lane = Latest(gate)
    for item in range(3):
        lane.put(item)
        assert lane.join(LONG)
    assert gate.items == [0, 1, 2]
    assert threading.active_count() == before


def test_an_item_that_waits_can_be_forgotten() -> None:
    gate = Gate()
    lane = Latest(gate, rest=LONG)
    lane.put(1)
    lane.clear()
    assert lane.join(LONG)
    assert gate.items == []


def test_a_closed_lane_takes_nothing_more() -> None:
    gate = Gate()
    gate.open.clear()
    lane = Latest(gate)
    lane.put(1)
    assert gate.inside.wait(LONG)
    lane.put(2)
    lane.close()
    gate.open.set()
    assert lane.join(LONG)
    lane.put(3)
    assert lane.join(LONG) and gate.items == [1]


class Hand:
    """A live figure of one slider, and what its functions were asked for."""

    def __init__(self, *, quick: bool = True) -> None:
        self.gate = {"quick": Gate(), "full": Gate()}
        self.broken: dict[Setting, BaseException] = {}
        fast = self.maker("quick") if quick else None
        first = self.maker("quick")((SHADE.start,))
        self.gate["quick"].items.clear()
        self.live = Live([SHADE], fast, self.maker("full"), first, 64)

    def maker(self, kind: str) -> Callable[[Setting], Still]:
        def make(setting: Setting) -> Still:
            self.gate[kind](setting)
            if setting in self.broken:
                raise self.broken[setting]
            picture = torch.full((1, 3, 8, 16), setting[0] / 8 - 0.5)
            numbers = ((kind, str(setting[0])),)
            return Still(jpeg_bytes(picture), (8, 16), f"alt {setting[0]}", numbers)

        return make

    def move(self, index: int) -> None:
        self.live.sliders[0].value = index

    def rest(self) -> str:
        assert self.live.join(LONG)
        return str(self.live.view.value)

    def asked(self, kind: str) -> list[int]:
        return [setting[0] for setting in self.gate[kind].items]


@pytest.fixture
def hand(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hand]:
    monkeypatch.setattr(live, "REST", 0.001)
    made = Hand()
    yield made
    made.live.close()


def shows(html: str) -> tuple[str, str]:
    """What is drawn: alternative text, and the kind and value of the number."""
    alt = re.search(r'alt="([^"]*)"', html)
    number = re.search(r"<dt>(\w+)</dt><dd>(\d)</dd>", html)
    assert alt is not None and number is not None, html
    return alt[1], f"{number[1]} {number[2]}"


def test_the_start_is_drawn_at_once_and_made_full(hand: Hand) -> None:
    assert shows(hand.rest()) == ("alt 0", "full 0")
    assert hand.asked("quick") == [] and hand.asked("full") == [0]


def test_the_quick_picture_comes_first_and_says_so(hand: Hand) -> None:
    hand.rest()
    seen: list[str] = []
    hand.live.view.observe(lambda change: seen.append(change["new"]), "value")
    hand.move(3)
    hand.rest()
    assert [shows(html) for html in seen] == [("alt 3", "quick 3"), ("alt 3", "full 3")]
    assert ["Preview" in html for html in seen] == [True, False]


def test_dragging_piles_nothing_up(hand: Hand) -> None:
    hand.rest()
    hand.gate["quick"].inside.clear()
    hand.gate["quick"].open.clear()
    hand.move(1)
    assert hand.gate["quick"].inside.wait(LONG)
    for _ in range(20):
        for index in (2, 3, 4, 5, 6):
            hand.move(index)
    hand.gate["quick"].open.set()
    assert shows(hand.rest()) == ("alt 6", "full 6")
    assert hand.asked("quick") == [1, 6]
    assert hand.asked("full") == [0, 6]


def test_a_full_picture_in_the_making_holds_no_hand_up(hand: Hand) -> None:
    hand.rest()
    hand.gate["full"].inside.clear()
    hand.gate["full"].open.clear()
    hand.move(1)
    assert hand.gate["full"].inside.wait(LONG)
    drawn = threading.Event()
    hand.live.view.observe(lambda change: drawn.set(), "value")
    hand.move(2)
    assert drawn.wait(LONG)
    assert shows(hand.live.view.value) == ("alt 2", "quick 2")
    hand.gate["full"].open.set()
    assert shows(hand.rest()) == ("alt 2", "full 2")


def test_a_move_calls_off_the_full_picture_that_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live, "REST", LONG)
    hand = Hand()
    hand.move(1)
    assert hand.live._hand.join(LONG)
    hand.gate["quick"].open.clear()
    hand.move(2)
    assert hand.live._rest.join(LONG / 2)
    assert hand.asked("full") == []
    hand.live.close()
    hand.gate["quick"].open.set()
    assert hand.live.join(LONG)


def test_going_back_asks_no_function_again(hand: Hand) -> None:
    for index in (1, 2):
        hand.move(index)
        hand.rest()
    asked = hand.asked("quick"), hand.asked("full")
    seen: list[str] = []
    hand.live.view.observe(lambda change: seen.append(change["new"]), "value")
    hand.move(1)
    assert shows(hand.rest()) == ("alt 1", "full 1")
    assert (hand.asked("quick"), hand.asked("full")) == asked
    assert len(seen) == 1


@pytest.mark.parametrize("error", [RuntimeError, SystemExit])
def test_an_error_is_one_line_and_the_next_move_recovers(
    hand: Hand, error: type[BaseException]
) -> None:
    hand.broken[2,] = error("no <face>\nand more lines")
    hand.rest()
    hand.move(2)
    html = hand.rest()
    line = f"{error.__name__}: no &lt;face&gt;"
    assert f'<p class="facersa-error" role="alert">{line}</p>' in html
    assert "more lines" not in html and "<dd>" not in html
    hand.move(3)
    assert shows(hand.rest()) == ("alt 3", "full 3")
    hand.broken.clear()
    hand.move(2)
    assert shows(hand.rest()) == ("alt 2", "full 2")


def test_without_a_quick_function_the_full_one_answers() -> None:
    hand = Hand(quick=False)
    hand.move(4)
    assert shows(hand.rest()) == ("alt 4", "full 4")
    assert hand.asked("quick") == []
    assert "Preview" not in hand.live.view.value
    hand.live.close()


def test_only_so_many_frames_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "QUICK_FRAMES", 2)
    monkeypatch.setattr(live, "REST", 0.001)
    hand = Hand()
    for index in (1, 2, 1, 3, 1, 2):
        hand.move(index)
        hand.rest()
    # Full pictures of all of them are kept, so each quick one is made once.
    assert hand.asked("quick") == [1, 2, 3]
    hand.live.close()
    kept = live._Recent(hand.maker("quick"), 2)
    hand.gate["quick"].items.clear()
    for index in (1, 2, 1, 3, 1, 2):
        kept((index,))
    assert hand.asked("quick") == [1, 2, 3, 2]


def test_a_closed_figure_draws_nothing_and_ends_its_threads(hand: Hand) -> None:
    hand.rest()
    before = threading.active_count()
    hand.gate["full"].inside.clear()
    hand.gate["full"].open.clear()
    hand.move(5)
    assert hand.gate["full"].inside.wait(LONG)
    drawn = hand.live.view.value
    hand.live.close()
    hand.gate["full"].open.set()
    assert hand.live.join(LONG)
    assert hand.live.view.value == drawn
    assert threading.active_count() == before


def test_sliders_have_names_and_values_to_read(hand: Hand) -> None:
    control = Control("size", "Size", ("small", "large"), 1)
    make = hand.maker("full")
    figure = Live([SHADE, control], None, make, make((0,)), 64)
    state = figure.sliders[1].get_state()
    assert state["description"] == "Size" and state["index"] == 1
    assert state["_options_labels"] == ("small", "large")
    assert state["continuous_update"]
    figure.close()
    figure = Live([SHADE, replace(control, menu=True)], None, make, make((0,)), 64)
    state = figure.sliders[1].get_state()
    assert state["_model_name"] == "DropdownModel" and state["index"] == 1
    figure.close()


def test_errors_are_one_line() -> None:
    assert one_line(ExploreError("first\nsecond")) == "first"
    assert one_line(KeyError("a")) == "KeyError: 'a'"
    assert one_line(RuntimeError()) == "RuntimeError: no message"


def test_missing_widgets_name_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with pytest.raises(ExploreError, match=r"pip install 'facersa\[book\]'"):
        Hand()


CELL = """
import threading, torch
from facersa.figures.explore import Frame, explore
asked, gate = {"quick": [], "full": []}, threading.Event()
gate.set()
def maker(kind):
    def make(shade, size):
        asked[kind].append((shade, size))
        assert gate.wait(60)
        if size == "none":
            raise ValueError("a face needs a size")
        grey = torch.full((3, 16, 16), shade / 10 - 1)
        return Frame(grey, {kind: f"{shade} {size}"}, f"shade {shade}")
    return make
explore(maker("full"), {"shade": range(20), "size": ["small", "large", "none"]},
        quick=maker("quick"), name="shades", alt="A shade", labels={"shade": "Shade"})
"""


@pytest.fixture(scope="module")
def kernel() -> Iterator[LiveKernel]:
    env = {key: value for key, value in os.environ.items() if key != "FACERSA_PAGE"}
    with LiveKernel(env) as started:
        yield started


def test_a_real_kernel_answers_the_hand(kernel: LiveKernel) -> None:
    kernel.run(CELL)
    bundle = kernel.bundles[-1]
    assert bundle["text/plain"] == "shade 0"
    assert bundle["image/png"].startswith("iVBOR")
    box = kernel.states[bundle[WIDGET_VIEW]["model_id"]]
    parts = [child.removeprefix("IPY_MODEL_") for child in box["children"]]
    shade, size = parts[1:3]
    assert [kernel.states[s]["description"] for s in (shade, size)] == ["Shade", "size"]

    def html() -> str:
        return str(kernel.states[parts[3]]["value"])

    def picture() -> str:
        return html().partition('src="')[2].partition('"')[0]

    kernel.until(lambda: "<dt>full</dt><dd>0 small</dd>" in html())
    first = picture()
    kernel.move(shade, 7)
    kernel.until(lambda: "<dt>quick</dt><dd>7 small</dd>" in html())
    assert 'alt="shade 7"' in html() and picture() != first
    kernel.until(lambda: "<dt>full</dt><dd>7 small</dd>" in html())

    # A fast drag while the function is slow: the first and the last are asked for.
    kernel.run("import time; gate.clear(); asked['quick'].clear()")
    kernel.move(shade, 8)
    kernel.run("while not asked['quick']: time.sleep(0.01)")
    for index in (*range(9, 20), *range(18, 10, -1)):
        kernel.move(shade, index)
    kernel.run("gate.set()")
    kernel.until(lambda: "<dt>full</dt><dd>11 small</dd>" in html())
    kernel.run("print(asked['quick'])")
    assert kernel.printed.splitlines()[-1] == "[(8, 'small'), (11, 'small')]"

    kernel.move(size, 2)
    kernel.until(lambda: "ValueError: a face needs a size" in html())
    kernel.move(size, 1)
    kernel.until(lambda: "<dt>full</dt><dd>11 large</dd>" in html())


def test_a_cell_that_runs_again_closes_its_old_widget(kernel: LiveKernel) -> None:
    kernel.run(CELL)
    old = set(kernel.states)
    kernel.run(CELL)
    controls = {*kernel.find("SelectionSliderModel"), *kernel.find("DropdownModel")}
    assert len(controls) == 2 and not controls & old


def test_a_wrong_start_is_an_error_of_the_cell(kernel: LiveKernel) -> None:
    with pytest.raises(AssertionError, match="a face needs a size"):
        kernel.run(CELL.replace("labels=", 'start={"size": "none"}, labels='))
