"""One form of results: rows of means with intervals, and their table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from facersa.errors import FaceRSAError


def rows_of(
    values: Mapping[tuple[str, str, str, str | None], list[float]],
) -> list[dict[str, Any]]:
    """Mean and interval of each figure: the rows of a report, ready for JSON.

    Keys are property, pair, metric and judge.
    """
    return [
        {"property": prop, "pair": pair, "metric": metric, "judge": judge}
        | {k: or_none(v) for k, v in bootstrap(found)._asdict().items()}
        for (prop, pair, metric, judge), found in values.items()
    ]


def value(
    result: Mapping[str, Any],
    prop: str,
    pair: str,
    metric: str,
    judge: str | None = None,
) -> dict[str, Any]:
    """The row of a result of ``evaluate``: mean, low, high and n of one figure.

    Raises:
        FaceRSAError: the result holds no such figure.
    """
    wanted = (prop, pair, metric, judge)
    for row in [*result["rows"], *result["attacks"]]:
        if (row["property"], row["pair"], row["metric"], row["judge"]) == wanted:
            return row
    raise FaceRSAError(
        f"no figure {metric!r} of judge {judge!r} for ({prop}) {pair} in this result; "
        "look at the names in its rows."
    )


def table(result: Mapping[str, Any]) -> str:
    """The report as aligned text: identity by both judges, then the rest."""
    lines = [f"cipher {result['cipher']}, {result['settings']}"]
    for row in [*result["rows"], *result["attacks"]]:
        if row["metric"] in ("mse", "landmarks_eyes"):
            continue
        judge = row["judge"] or "-"
        if row["mean"] is None:
            lines.append(
                f"({row['property']}) {row['pair']:<22} {row['metric']}: no face"
            )
            continue
        lines.append(
            f"({row['property']}) {row['pair']:<22} {row['metric']:<12} {judge:<8}"
            f"{row['mean']:10.4g}  [{row['low']:.4g}, {row['high']:.4g}]  n={row['n']}"
        )
    return "\n".join(lines)


class Interval(NamedTuple):
    """A mean with its bootstrap interval, over ``n`` values."""

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


def or_none(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else value
