"""Table 1 as tests: which property a system has, by thresholds written down before.

For each property a threshold is written down here. A *tick* says that the whole 95 %
interval keeps it, for every judge of identity; a *cross*, that for one of them the
whole interval breaks it. In between, so few people decide nothing. Intervals are exact
(Clopper and Pearson). Of n people who all agree the lower end is .025^(1/n), so 36
people at least decide about nine in ten. Only where a cipher gives back the very code
is no picture needed, and many more people are tried.

The tests are separate. A system that changes nothing would pass (c), (f), (g) and (h),
and fail (b).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from facersa.evaluation.results import proportion

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
        holds: whether the worst of its figures keeps the threshold; None where that is
            not decided, or (``bound`` is None, too) the system has no such operation.
        figure: the worst mean, with ``low`` and ``high``.
        bound: the threshold.
        of: pair, metric and judge of that figure.
        n: its people.
    """

    holds: bool | None
    figure: float | None = None
    low: float | None = None
    high: float | None = None
    bound: float | None = None
    of: str = ""
    n: int = 0


def verdicts(entries: Sequence[Mapping[str, Any]], people: int) -> dict[str, Verdict]:
    """The line of Table 1 that a system's rows give: a verdict for (a) to (h).

    A pair in which a face was not detected counts for nobody, so where fewer than half
    of the ``people`` are left (for chains, of those who have chains) the property does
    not hold. Where codes are equal, so are their pictures, and every judge accepts
    them: such a row ("same_code") stands for all judges if it keeps the threshold.
    """
    found: dict[str, list[Verdict]] = {prop: [] for prop in "abcdefgh"}
    asked = {row["property"]: row["n"] for row in entries if row["metric"] == "lpips"}
    equal = {
        (row["property"], row["pair"]): row
        for row in entries
        if row["metric"] == "same_code"
        and proportion(row["mean"], row["n"])[0] >= ACCEPTED_AT_LEAST
    }
    for row in entries:
        prop, metric = row["property"], row["metric"]
        bound, upper = ACCEPTED_AT_LEAST, False
        if metric == "detected":
            bound = DETECTED_AT_LEAST
        elif metric == "classifier_accuracy":
            bound, upper = TOLD_APART_AT_MOST, True
        elif metric != "same_person":
            continue
        elif prop in DIFFERENT:
            bound, upper = ACCEPTED_AT_MOST, True
        shown = equal.get((prop, row["pair"]), row)
        few = metric == "same_person" and shown["n"] < asked.get(prop, people) / 2
        found[prop].append(_verdict(shown, bound, upper, few))
    return {
        prop: min(cells, key=_margin) if cells else Verdict(None)
        for prop, cells in found.items()
    }


def _verdict(row: Mapping[str, Any], bound: float, upper: bool, few: bool) -> Verdict:
    of = " ".join(filter(None, (row["pair"], row["metric"], row["judge"])))
    mean, n = row["mean"], row["n"]
    if not n:
        return Verdict(False, bound=bound, of=of)
    low, high = proportion(mean, n)
    best, worst = (bound - low, bound - high) if upper else (high - bound, low - bound)
    holds = True if worst >= 0 else None if best >= 0 else False
    return Verdict(False if few else holds, mean, low, high, bound, of, n)


def _margin(cell: Verdict) -> tuple[int, float]:
    """How far a cell keeps its threshold, the worst first."""
    order = (False, None, True).index(cell.holds)
    if cell.low is None or cell.high is None or cell.bound is None:
        return order, -math.inf
    upper = cell.bound in (ACCEPTED_AT_MOST, TOLD_APART_AT_MOST)
    return order, cell.bound - cell.high if upper else cell.low - cell.bound


def table_1(result: Mapping[str, Any]) -> str:
    """Table 1 as text: a line per system, a mark and the worst figure per property.

    "+" is a tick, "-" a cross, "?" that so few people decide nothing, and "." that the
    system has no such operation.
    """
    marks = {True: "+", False: "-", None: "?"}
    lines = [f"{'':<24}" + "".join(f"{f'({prop})':>9}" for prop in "abcdefgh")]
    for name, system in result["systems"].items():
        cells = []
        for prop in "abcdefgh":
            cell = Verdict(**system["table_1"][prop])
            figure = "" if cell.figure is None else f"{cell.figure:.2f}"
            mark = "." if cell.bound is None else marks[cell.holds]
            cells.append(f"{mark} {figure:<4}".rjust(9))
        lines.append(f"{name:<24}" + "".join(cells).rstrip())
    return "\n".join(lines)
