"""Curves of a training: smoothed, drawn now and then, and read back from logs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib

matplotlib.use("agg")

import IPython
import pytest

from facersa.errors import CheckpointError
from facersa.figures import curves
from facersa.figures.curves import LivePlot, read_log, smoothed
from facersa.figures.display import show

ROWS = [{"step": s, "loss": 4.0 - s, "a": float(s)} for s in range(4)]


class Page:
    """A notebook's page and a clock: what was displayed, and when."""

    def __init__(self) -> None:
        self.now = 100.0
        self.shown: list[str] = []  # alternative texts
        self.updated = 0

    def display(self, shown: Any, *, display_id: bool) -> Any:
        assert display_id and "image/png" in shown._repr_mimebundle_()
        self.shown.append(shown.alt)

        def update(newer: Any) -> None:
            self.shown.append(newer.alt)
            self.updated += 1

        return SimpleNamespace(update=update)


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Page:
    """A kernel that is watched, without a kernel."""
    made = Page()
    monkeypatch.delenv("FACERSA_PAGE", raising=False)
    monkeypatch.setattr(IPython, "get_ipython", lambda: SimpleNamespace(kernel=1))
    monkeypatch.setattr("IPython.display.display", made.display)
    monkeypatch.setattr(curves.time, "monotonic", lambda: made.now)
    return made


# --- Smoothing ---------------------------------------------------------------------


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.9, 0.999])
def test_a_constant_stays_constant(memory: float) -> None:
    assert smoothed([0.3] * 500, memory) == [0.3] * 500


def test_smoothing_is_the_weighted_mean_it_says() -> None:
    values, b = [3.0, -1.0, 2.0, 7.0], 0.8
    for t, found in enumerate(smoothed(values, b)):
        weights = [b ** (t - k) for k in range(t + 1)]
        slow = sum(w * x for w, x in zip(weights, values, strict=False)) / sum(weights)
        assert found == pytest.approx(slow)
    assert smoothed(values, 0.0) == values
    assert smoothed([]) == []


@pytest.mark.parametrize("memory", [1.0, -0.1])
def test_a_memory_that_never_forgets_is_refused(memory: float) -> None:
    with pytest.raises(ValueError, match="below 1"):
        smoothed([1.0], memory)


# --- Drawing -----------------------------------------------------------------------


def test_the_figure_has_labelled_panels_with_faint_points_under_lines() -> None:
    plot = LivePlot("a", "b", log=True, memory=0.0)
    for row in [*ROWS, {"step": 4, "loss": 0.5, "b": 1.0}]:
        plot(row)
    left, right = plot.figure().axes
    assert (left.get_xlabel(), left.get_ylabel()) == ("step", "loss")
    assert (left.get_yscale(), right.get_yscale()) == ("log", "linear")
    points, line = left.lines
    assert list(line.get_ydata()) == [4, 3, 2, 1, 0.5]
    assert list(points.get_xdata()) == [0, 1, 2, 3, 4] and points.get_alpha() < 0.5
    assert [text.get_text() for text in right.get_legend().texts] == ["a", "b"]
    assert [list(line.get_xdata()) for line in right.lines[::2]] == [[0, 1, 2, 3], [4]]


def test_one_panel_without_names_and_one_name_on_its_axis() -> None:
    plot = LivePlot()
    plot(ROWS[0])
    assert len(plot.figure().axes) == 1
    plot = LivePlot("a")
    plot(ROWS[0])
    assert plot.figure().axes[1].get_ylabel() == "a"
    show(plot.figure(), alt="A curve")


def test_it_draws_in_place_and_never_too_often(page: Page) -> None:
    plot = LivePlot("a", seconds=2)
    for step in range(100):  # ten seconds
        plot({"step": step, "loss": 1.0, "a": 2.0})
        page.now += 0.1
    assert len(page.shown) == 5 and page.updated == 4
    assert page.shown[0] == "Curves up to step 0: loss, a."
    assert len(plot.rows) == 100


def test_a_slow_drawing_leaves_time_for_the_training(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw: Callable[[LivePlot], None] = LivePlot._draw

    def slow(plot: LivePlot) -> None:
        draw(plot)
        page.now += 5

    monkeypatch.setattr(LivePlot, "_draw", slow)
    plot = LivePlot(seconds=2)
    for step in range(40):  # two seconds of steps, five of drawing, and so on
        plot({"step": step, "loss": 1.0})
        page.now += 0.1
    assert len(page.shown) == 2


def test_a_build_of_the_page_and_a_plain_program_are_left_alone(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACERSA_PAGE", "1")
    LivePlot()(ROWS[0])
    monkeypatch.delenv("FACERSA_PAGE")
    monkeypatch.setattr(IPython, "get_ipython", lambda: None)
    LivePlot()(ROWS[0])
    monkeypatch.delitem(sys.modules, "IPython")
    LivePlot()(ROWS[0])
    assert page.shown == []


# --- Logs --------------------------------------------------------------------------


def test_a_log_is_read_also_while_its_last_line_is_written(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    text = "".join(json.dumps(row) + "\n" for row in ROWS)
    path.write_text(text)
    assert read_log(path) == ROWS
    for cut in (1, 9, 20):
        path.write_text(text[:-cut])
        assert read_log(path) == ROWS[:-1]
    path.write_text("")
    assert read_log(path) == []


def test_a_log_of_means_is_read_and_its_gaps_left_out(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    figures = {"loss": [3.0, 2.0], "a": [None, 1.0]}
    kept = {"task": "t", "every": 10, "steps": [0, 10], "figures": figures}
    path.write_text(json.dumps(kept))
    rows = read_log(path)
    assert rows == [{"step": 0, "loss": 3.0}, {"step": 10, "loss": 2.0, "a": 1.0}]
    plot = LivePlot("a")
    for row in rows:
        plot(row)
    assert list(plot.figure().axes[1].lines[1].get_xdata()) == [10]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("log.json", "{}"),
        ("log.json", "[1]"),
        ("log.json", '{"steps": [0], "figures": {"loss": []}}'),
        ("log.json", '{"steps": [0'),
        ("log.jsonl", "1\n"),
        ("log.jsonl", "no json\n"),
        ("log.jsonl", None),
    ],
)
def test_what_is_no_log_is_named(tmp_path: Path, name: str, text: str | None) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(CheckpointError, match=r"is not the log of a run"):
        read_log(tmp_path / name)
