"""One form of results: rows of means with intervals, their head, and their table.

Means have bootstrap intervals. Shares of people have exact ones, since a resampled
share has no width where all people agree.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from facersa.errors import FaceRSAError

Key = tuple[str, str, str, str | None]  # property, pair, metric and judge of a row


# Metrics that count people: 1, 0, or of several pictures of one person a part of them.
SHARES = (
    *("detected", "same_person", "same_person_strict", "same_code"),
    *("classifier_accuracy", "accuracy", "rank1", "rank10", "first"),
)


class Interval(NamedTuple):
    """A mean with its interval, over ``n`` values."""

    mean: float
    low: float
    high: float
    n: int


class Row(NamedTuple):
    """One figure of a result; mean, low and high are None where ``n`` is 0.

    Attributes:
        property: (a) to (h), or what else was measured.
        pair: the two pictures compared, or the case.
        metric: of the two.
        judge: "train", "heldout", "outside" or "arcface"; None where none is needed.
        mean, low, high: over people, with the 95 % interval.
        n: people; those with an undetected face are left out.
    """

    property: str
    pair: str
    metric: str
    judge: str | None
    mean: float
    low: float
    high: float
    n: int


def bootstrap(
    values: Tensor | Sequence[float],
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Mean of ``values`` and the percentile interval of its resampled means.

    NaN (an undetected face) is left out and not counted in ``n``; no value at
    all gives NaN.
    """
    array = torch.as_tensor(values, dtype=torch.float64).detach().cpu().numpy().ravel()
    array = array[~np.isnan(array)]
    if not len(array):
        return Interval(math.nan, math.nan, math.nan, 0)
    generator = np.random.default_rng(seed)
    picks = generator.integers(len(array), size=(resamples, len(array)))
    tail = (1 - level) / 2
    low, high = np.quantile(array[picks].mean(1), [tail, 1 - tail])
    return Interval(float(array.mean()), float(low), float(high), len(array))


def proportion(share: float, n: int, *, level: float = 0.95) -> tuple[float, float]:
    """The interval of Clopper and Pearson of a share of ``n`` people: it never misses
    the true share more often than it says, however small n is.

    Where half a person counts (one of two pictures was right), the count is rounded
    down for the lower end and up for the upper one, so the interval can only be wider.
    """
    from scipy.stats import binomtest  # slow to import

    count = round(share * n, 6)
    ends = [
        binomtest(k, n).proportion_ci(level, "exact")
        for k in (math.floor(count), math.ceil(count))
    ]
    return float(ends[0].low), float(ends[1].high)


def interval(metric: str, values: Tensor | Sequence[float]) -> Interval:
    """Mean and 95 % interval: of a share ``proportion``, else ``bootstrap``."""
    found = bootstrap(values, resamples=1 if metric in SHARES else 2000)
    if metric not in SHARES or not found.n:
        return found
    return Interval(found.mean, *proportion(found.mean, found.n), found.n)


def rows(values: Mapping[Key, Sequence[float] | Interval]) -> list[dict[str, Any]]:
    """A ``Row`` of each figure, ready for JSON: from its values, or its interval."""
    intervals = {
        key: x if isinstance(x, Interval) else interval(key[2], x)
        for key, x in values.items()
    }
    return [
        {name: or_none(entry) for name, entry in Row(*key, *x)._asdict().items()}
        for key, x in intervals.items()
    ]


def head(experiment: str, **more: Any) -> dict[str, Any]:
    """What every result begins with: experiment, ``more``, versions, date."""
    return {
        "experiment": experiment,
        **more,
        "versions": {"facersa": version("facersa"), "torch": torch.__version__},
        "date": datetime.now(UTC).date().isoformat(),
    }


def value(
    result: Mapping[str, Any],
    property: str,
    pair: str,
    metric: str,
    judge: str | None = None,
) -> Row:
    """The row of one figure of a result.

    Raises:
        FaceRSAError: the result holds no such figure.
    """
    for entry in result["rows"]:
        row = Row(**entry)
        if row[:4] == (property, pair, metric, judge):
            return row
    raise FaceRSAError(
        f"no figure {metric!r} of judge {judge!r} for ({property}) {pair} in this "
        "result; use the names in its rows."
    )


# Shown by the training judge too.
BOTH = ("id", "leverage", "same_person", "same_person_strict", "eer", "rank1", "rank10")
# Another metric of the same pair and judge says as much in a better unit.
BETTER = {
    "id_raw": "id",
    "id_donor": "id",
    "landmarks_eyes": "landmarks",
    "mse": "psnr",
}


def table(result: Mapping[str, Any]) -> str:
    """A result as aligned text: for each property a line per pair, a column per metric.

    A cell is the mean and half the width of its interval; "-" where no face was
    detected, empty where nothing was measured. Identity is shown by every judge, the
    rest by the held-out one; metrics that repeat others are left out.
    """
    entries = {Row(**entry)[:4]: Row(**entry) for entry in result["rows"]}
    title = map(result.get, ("experiment", "cipher", "pictures", "settings"))
    lines = [", ".join(str(part) for part in title if part)]
    for name in dict.fromkeys(row.property for row in entries.values()):
        columns: dict[tuple[str, str | None], dict[str, str]] = {}
        for row in entries.values():
            better = (name, row.pair, BETTER.get(row.metric), row.judge)
            other = row.judge == "train" and row.metric not in BOTH
            if row.property == name and better not in entries and not other:
                columns.setdefault((row.metric, row.judge), {})[row.pair] = (
                    f"{row.mean:.3g} ± {(row.high - row.low) / 2:.1g}" if row.n else "-"
                )
        pairs = list(
            dict.fromkeys(pair for cells in columns.values() for pair in cells)
        )
        grid = [[f"({name})", "", *pairs]]
        for (metric, judge), cells in columns.items():
            grid.append([metric, judge or "", *(cells.get(pair, "") for pair in pairs)])
        widths = [max(map(len, column)) + 2 for column in grid]
        for first, *others in zip(*grid, strict=True):
            padded = (f"{x:>{w}}" for x, w in zip(others, widths[1:], strict=True))
            lines.append((f"{first:<{widths[0]}}" + "".join(padded)).rstrip())
    return "\n".join(lines)


def or_none(value: Any) -> Any:
    """The value, or None for NaN, which JSON does not have."""
    return None if isinstance(value, float) and math.isnan(value) else value
