"""Training curves: plotted while a run goes on, and read back from its log.

``training.loop.train`` calls its ``report`` with the values of every step; a
``LivePlot`` is such a report.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from facersa.errors import CheckpointError
from facersa.figures.display import has_kernel, in_page, show

Row = Mapping[str, float]
LETTERS = 13  # points, so that they can be read on a phone


class LivePlot:
    """Plot the loss, and other logged values, over the steps of a run.

    In a notebook's kernel the plot is updated in place as the run goes on; outside of
    one, and in a build of the book, only ``figure`` draws it.

    Args:
        names: logged values for a second panel; without any there is one panel.
        log: whether the loss has a logarithmic axis.
        memory: b of ``smoothed``.
        seconds: least time from one update to the next.
    """

    def __init__(
        self, *names: str, log: bool = False, memory: float = 0.9, seconds: float = 3.0
    ) -> None:
        self.names, self.log, self.memory = names, log, memory
        self.seconds = seconds
        self.rows: list[dict[str, float]] = []
        self._handle: Any = None
        self._drawn = float("-inf")

    def __call__(self, figures: Row) -> None:
        """Store the values of one step; update the plot, if it is time to."""
        self.rows.append(dict(figures))
        watched = has_kernel() and not in_page()
        if watched and time.monotonic() - self._drawn >= self.seconds:
            self._draw()
            self._drawn = time.monotonic()  # after the drawing, which takes time

    def figure(self) -> Figure:
        """All steps so far: smoothed lines over the values as faint points."""
        with rc_context({"font.size": LETTERS}):
            return self._figure()

    def _figure(self) -> Figure:
        panels: list[tuple[str, ...]] = [("loss",)]
        if self.names:
            panels.append(self.names)
        many = len(self.names) > 3  # their legend stands below the panels
        size = 7.2 if self.names else 5.0, 4.6 if many else 3.4
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for axis, names in zip(axes, panels, strict=True):
            for index, name in enumerate(names):
                pairs = [(r["step"], r[name]) for r in self.rows if name in r]
                steps, values = [s for s, _ in pairs], [v for _, v in pairs]
                lines = smoothed(values, self.memory)
                axis.plot(steps, values, f"C{index}.", alpha=0.25, markersize=3)
                axis.plot(steps, lines, f"C{index}", label=name)
            axis.set(xlabel="step", ylabel=names[0] if len(names) == 1 else "")
        if self.log:
            axes[0].set_yscale("log")
        if many:
            figure.legend(frameon=False, loc="outside lower center", ncols=3)
        elif len(self.names) > 1:
            axes[-1].legend(frameon=False)
        return figure

    def _draw(self) -> None:
        from IPython.display import display

        last = f"{self.rows[-1]['step']:.0f}"
        names = ", ".join(("loss", *self.names))
        shown = show(self.figure(), alt=f"Curves up to step {last}: {names}.")
        if self._handle is None:
            self._handle = display(shown, display_id=True)
        else:
            self._handle.update(shown)


def smoothed(values: Sequence[float], memory: float = 0.9) -> list[float]:
    """Exponential moving average: s_t = sum_k b^(t-k) x_k / sum_k b^(t-k), k <= t.

    Args:
        values: x, one for each step.
        memory: b, from 0 (no smoothing) to below 1; about 1 / (1 - b) steps count.

    Raises:
        ValueError: ``memory`` is out of its range.
    """
    if not 0 <= memory < 1:
        raise ValueError(f"memory must be from 0 to below 1, got {memory}; try 0.9.")
    lines: list[float] = []
    for index, value in enumerate(values):
        share = (1 - memory) / (1 - memory ** (index + 1))
        lines.append(lines[-1] + share * (value - lines[-1]) if lines else value)
    return lines


def read_log(path: str | Path) -> list[dict[str, float]]:
    """The logged values of a run: a dictionary for each step.

    Args:
        path: ``log.jsonl`` of a run, which may still go on; or JSON of means over
            windows of steps: "steps", and "figures", names to values, null for none.

    Raises:
        CheckpointError: it cannot be read, or is neither.
    """
    path = Path(path)
    try:
        text = path.read_text()
        if path.suffix == ".json":
            stored = json.loads(text)
            columns = {"step": stored["steps"], **stored["figures"]}
            rows = [
                dict(zip(columns, row, strict=True))
                for row in zip(*columns.values(), strict=True)
            ]
        else:
            whole = text[: text.rfind("\n") + 1]  # the last line may be incomplete
            rows = [json.loads(line) for line in whole.splitlines()]
        return [{k: v for k, v in row.items() if v is not None} for row in rows]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path} is not the log of a run ({error}); give the path of log.jsonl in "
            "the run's folder."
        ) from error
