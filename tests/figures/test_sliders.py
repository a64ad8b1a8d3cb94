"""The grid of settings, and what is wrong with a description of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from facersa.errors import ExploreError
from facersa.figures.sliders import MAX_FRAMES, Grid, name_of

SLIDERS: Mapping[str, Any] = {"row": range(4), "rows": ["5-8", "3-8"]}


def test_a_setting_is_an_index_for_each_slider() -> None:
    grid = Grid.of(SLIDERS, {"row": "Row"}, {"rows": "3-8"})
    assert grid.start == (0, 1)
    assert grid.settings()[:3] == [(0, 0), (0, 1), (1, 0)]
    assert len(grid.settings()) == 8
    assert grid.keywords((2, 1)) == {"row": 2, "rows": "3-8"}
    assert grid.words((2, 1)) == "Row 2, rows 3-8"


def test_a_page_may_hold_fewer_values_and_keeps_the_start() -> None:
    whole = Grid.of(SLIDERS, {}, {"row": 2})
    paged = whole.fewer({"row": [0, 2], "rows": ["5-8"]})
    assert paged.start == (1, 0)
    assert paged.keywords(paged.start) == whole.keywords(whole.start)
    assert len(paged.settings()) == 2
    assert whole.fewer({}).settings() == whole.settings()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (3, "3"),
        (-3, "\N{MINUS SIGN}3"),
        (0.1 + 0.2, "0.3"),
        (-0.5, "\N{MINUS SIGN}0.5"),
        (np.float64(0.25), "0.25"),
        (np.int64(7), "7"),
        ("a-b", "a-b"),
        (True, "True"),
    ],
)
def test_values_read_as_a_person_writes_them(value: object, words: str) -> None:
    assert name_of(value) == words


@pytest.mark.parametrize(
    ("sliders", "labels", "start", "cure"),
    [
        ({}, {}, {}, "one slider or more"),
        ({"a": []}, {}, {}, "2 values or more"),
        ({"a": [1]}, {}, {}, "inside the function"),
        ({"a": "xy"}, {}, {}, "2 values or more"),
        ({"a": 5}, {}, {}, "2 values or more"),
        ({"a": [1, (2, 3)]}, {}, {}, "use a string"),
        ({"a": [1, float("nan")]}, {}, {}, "use a string"),
        ({"a": ["x", " "]}, {}, {}, "use a string"),
        ({"a": [1, 1.0]}, {}, {}, "leave out the repeated"),
        ({"a": [1, 2]}, {"b": "B"}, {}, "labels names b.*the sliders are a"),
        ({"a": [1, 2]}, {}, {"b": 1}, "start names b"),
        ({"a": [1, 2]}, {}, {"a": 3}, "choose one of 1, 2"),
    ],
)
def test_a_wrong_description_says_what_to_do(
    sliders: Mapping[str, Any],
    labels: Mapping[str, str],
    start: Mapping[str, Any],
    cure: str,
) -> None:
    with pytest.raises(ExploreError, match=cure) as caught:
        Grid.of(sliders, labels, start)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("page", "cure"),
    [
        ({"b": [1]}, "page names b"),
        ({"a": []}, "1 values or more"),
        ({"a": [0, 99]}, "its start 0 among them"),
        ({"a": [1, 2]}, "its start 0 among them"),
    ],
)
def test_a_wrong_page_says_what_to_do(page: Mapping[str, Any], cure: str) -> None:
    with pytest.raises(ExploreError, match=cure):
        Grid.of({"a": range(30)}, {}, {}).fewer(page)


def test_a_page_too_large_says_how_large() -> None:
    grid = Grid.of({"a": range(20), "b": range(21)}, {}, {})
    with pytest.raises(ExploreError, match=f"{MAX_FRAMES} frames, got 20 x 21 = 420"):
        grid.fewer({})
    assert len(grid.fewer({"b": range(20)}).settings()) == MAX_FRAMES


def test_menus_stay_menus_and_are_known() -> None:
    grid = Grid.of(SLIDERS, {}, {}, ("rows",))
    assert [control.menu for control in grid.controls] == [False, True]
    fewer = grid.fewer({"row": [0, 1]})
    assert [control.menu for control in fewer.controls] == [False, True]
    with pytest.raises(ExploreError, match="menus names other"):
        Grid.of(SLIDERS, {}, {}, ("other",))


@pytest.mark.parametrize(
    ("values", "menu"),
    [
        (["turn", "shift"], True),
        (["right", "12345678"], True),
        (["1, then 2", "both at once"], True),
        (["0.1 %", "1 %"], False),
        (["5 · 17", "5 · 23"], False),
        ([1, 2], False),
    ],
)
def test_a_choice_among_names_is_a_menu(values: list[Any], menu: bool) -> None:
    (control,) = Grid.of({"a": values}, {}, {}).controls
    assert control.menu == menu
    (control,) = Grid.of({"a": values}, {}, {}, ()).controls
    assert not control.menu
