"""Table 1 as tests: which property a system has, by thresholds written down before.

A tick is a test: for each property a threshold is written down here, and the
unfavourable end of the 95 % interval has to keep it, for every judge of identity. The
tests are separate. A system that changes nothing would pass (c), (f), (g) and (h), and
fail (b). The intervals are resampled, so where all people agree they have no width: a
tick then says that nobody failed, and of n people up to 3 / n of all others still may.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

# Pairs of pictures by property, and whether two people should be seen in them.
DIFFERENT: Mapping[str, tuple[str, ...]] = {
    "b": ("I~Ie1",),
    "d": ("I~Ie1d'", "Ie1~Ie1d'"),
    "e": ("Ie1~Ie2",),
}
SAME: Mapping[str, tuple[str, ...]] = {
    "c": ("I~Ie1d1",),
    "f": ("Ie1~Ie1e2d2", "I~Ie1e2d2d1"),
    "g": ("Ie2~Ie1e2d1", "I~Ie1e2d1d2"),
    "h": ("Ie1e2~I(e1+e2)",),
}
# The thresholds of the ticks. Shares are those of people.
DETECTED_AT_LEAST = 0.9  # (a): by each detector
TOLD_APART_AT_MOST = 0.75  # (a): pictures that a classifier gets right; .5 is chance
ACCEPTED_AT_MOST = 0.25  # (b), (d), (e): accepted as one person, by each judge
ACCEPTED_AT_LEAST = 0.9  # (c), (f), (g), (h): likewise


class Verdict(NamedTuple):
    """One cell of Table 1.

    Attributes:
        holds: whether the worst of its figures keeps the threshold; None where the
            system has no such operation.
        figure: the worst mean, with ``low`` and ``high``.
        bound: the threshold.
        of: pair, metric and judge of that figure.
    """

    holds: bool | None
    figure: float | None = None
    low: float | None = None
    high: float | None = None
    bound: float | None = None
    of: str = ""


def verdicts(entries: Sequence[Mapping[str, Any]]) -> dict[str, Verdict]:
    """The line of Table 1 that a system's rows give: a verdict for (a) to (h).

    A pair in which a face was not detected counts for nobody, so where fewer than half
    of the people are left the property does not hold.
    """
    found: dict[str, list[Verdict]] = {prop: [] for prop in "abcdefgh"}
    # Of these figures nobody is ever left out, so they know how many people there were.
    asked = {
        entry["property"]: entry["n"]
        for entry in entries
        if entry["metric"] in ("classifier_accuracy", "lpips")
    }
    for entry in entries:
        prop, metric = entry["property"], entry["metric"]
        if metric == "detected":
            upper, bound = False, DETECTED_AT_LEAST
        elif metric == "classifier_accuracy":
            upper, bound = True, TOLD_APART_AT_MOST
        elif metric == "same_person":
            upper = prop in DIFFERENT
            bound = ACCEPTED_AT_MOST if upper else ACCEPTED_AT_LEAST
        else:
            continue
        mean, low, high = entry["mean"], entry["low"], entry["high"]
        of = f"{entry['pair']} {metric}" + (
            f" {entry['judge']}" if entry["judge"] else ""
        )
        holds = mean is not None and (high <= bound if upper else low >= bound)
        if metric == "same_person" and entry["n"] < asked.get(prop, asked["a"]) / 2:
            holds = False
        found[prop].append(Verdict(holds, mean, low, high, bound, of))
    line = {}
    for prop, cells in found.items():
        if not cells:
            line[prop] = Verdict(None)
            continue
        line[prop] = min(cells, key=_margin)
    return line


def _margin(cell: Verdict) -> tuple[bool, float]:
    """How far a cell keeps its threshold, the worst first."""
    if cell.low is None or cell.high is None or cell.bound is None:
        return False, -math.inf
    upper = cell.bound in (ACCEPTED_AT_MOST, TOLD_APART_AT_MOST)
    room = cell.bound - cell.high if upper else cell.low - cell.bound
    return bool(cell.holds), room


def table_1(result: Mapping[str, Any]) -> str:
    """Table 1 as text: a line per system, a mark and the worst figure per property.

    "+" is a tick, "-" none, and "." that the system has no such operation.
    """
    marks = {True: "+", False: "-", None: "."}
    lines = [f"{'':<24}" + "".join(f"{f'({prop})':>9}" for prop in "abcdefgh")]
    for name, system in result["systems"].items():
        cells = []
        for prop in "abcdefgh":
            cell = Verdict(**system["table_1"][prop])
            figure = "" if cell.figure is None else f"{cell.figure:.2f}"
            cells.append(f"{marks[cell.holds]} {figure:<4}".rjust(9))
        lines.append(f"{name:<24}" + "".join(cells).rstrip())
    return "\n".join(lines)
