"""Locating the identity layers: which rows of W+ hold the person?

The paper picks its rows by changing the code step by step and looking at what
changes (section "FaceRSA"; its details are in a supplement). Here that is an
experiment: give some rows of one person the values of another person's, paint
the result, and ask judges that know nothing of rows what became of identity, of
the shape and turn of the face, and of the pixels.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from facersa.errors import FaceRSAError
from facersa.evaluation.results import Interval, bootstrap
from facersa.generator.base import Generator
from facersa.generator.openvino import Renderer
from facersa.judges.calibration import calibration
from facersa.judges.metrics import mse
from facersa.judges.panel import Panel, Report
from facersa.people import draw_noise, draw_people
from facersa.photo.images import resize

LPIPS_SIDE = 256

GROUPS: Mapping[str, tuple[int, ...]] = {
    f"{first}-{last}": tuple(range(first, last + 1))
    for first, last in ((0, 2), (3, 8), (0, 8), (9, 15))
} | {"all": tuple(range(16))}

SINGLE: Mapping[str, tuple[int, ...]] = {str(row): (row,) for row in range(16)}

WINDOWS: Mapping[str, tuple[int, ...]] = {  # as many rows as the paper's choice
    f"{row}-{row + 3}": tuple(range(row, row + 4)) for row in range(13)
}

EDITS: Mapping[str, tuple[int, ...]] = {**SINGLE, **WINDOWS, **GROUPS}

CONTRAST = ("3-8", "5-8")  # what the first costs and buys beyond the second

Figures = dict[tuple[str, str | None], float]

Found = dict[str, dict[tuple[str, str | None], list[float]]]


def exchange(
    ws: Tensor, donors: Tensor, rows: Sequence[int], strength: float = 1.0
) -> Tensor:
    """Move some rows of each person towards those of a donor.

    w'_r = w_r + strength (v_r - w_r) for r in ``rows``, w'_r = w_r for the others.

    Args:
        ws: (B, R, D) codes of the people.
        donors: (B, R, D) codes v, one for each.
        rows: which rows, 0-based, each at most once.
        strength: 0 leaves the person, 1 puts the donor's rows in their place
            (both exactly), beyond 1 goes on in the same direction.

    Returns:
        (B, R, D), a new tensor.

    Raises:
        ValueError: shapes differ, or rows or strength make no sense.
    """
    if ws.ndim != 3 or ws.shape != donors.shape:
        raise ValueError(
            f"expected codes (B, rows, D) of people and donors alike, got "
            f"{tuple(ws.shape)} and {tuple(donors.shape)}; give each person a donor."
        )
    chosen = sorted(set(rows))
    if len(chosen) < len(rows) or not set(chosen) <= set(range(ws.shape[1])):
        raise ValueError(
            f"rows must be different numbers from 0 to {ws.shape[1] - 1}, got "
            f"{tuple(rows)}."
        )
    if not math.isfinite(strength):
        raise ValueError(f"strength must be a finite number, got {strength}.")
    moved = ws.clone()
    moved[:, chosen] = torch.lerp(ws[:, chosen], donors[:, chosen], strength)
    return moved


def figures(
    panel: Panel, before: Report, after: Report, donor: Report, psi: float
) -> Figures:
    """What the judges say of one edited picture beside the original.

    id, id_raw and same_person by both judges, landmarks on two scales, pose,
    expression, detection; mse of the whole pictures on [0, 1]; LPIPS at a side
    of 256; id_donor: id beside the donor instead.
    """
    small = (resize(report.picture, LPIPS_SIDE) for report in (before, after))
    with torch.no_grad():
        lpips = float(panel.lpips(*small))
    found: Figures = {("detected", j): v for j, v in after.detected.items()}
    found |= panel.identity_figures(before, after, "W", psi)
    taken = panel.identity_figures(donor, after, "W", psi)
    found |= {("id_donor", judge): taken["id", judge] for judge in after.detected}
    found |= panel.attribute_figures(before, after)
    found["mse", None] = float(mse(before.picture, after.picture))
    found["lpips", None] = lpips
    return found


def leverage(
    identity: Sequence[float],
    pixels: Sequence[float],
    whole_identity: Sequence[float],
    whole_pixels: Sequence[float],
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Identity change per changed pixel, in units of an exchange of all rows.

        leverage = (mean(1 - id) / mean(mse)) / (mean(1 - id*) / mean(mse*))

    with * for the exchange of every row with the same donor. So 1 is what one
    gets by simply becoming somebody else, and 5 is five times as much change of
    identity for the same change of pixels. Both parts are squares: 1 - cosine is
    half a squared distance of unit vectors, and id is linear in it.

    Args:
        identity, pixels: id and mse of the edit, one of each per person.
        whole_identity, whole_pixels: the same for all rows.
        resamples: of the people, for the 95 % percentile interval.
        seed: of the resampling.

    Returns:
        The interval; people with an undetected face (NaN) are left out. NaN where
        nobody is left, or where no pixel changed.
    """
    columns = (identity, pixels, whole_identity, whole_pixels)
    values = np.array(columns, dtype=np.float64).T
    values = values[~np.isnan(values).any(1)]
    if not len(values) or not values[:, 1::2].all():
        return Interval(math.nan, math.nan, math.nan, 0)

    def ratio(means: np.ndarray) -> np.ndarray:
        changed, moved, all_changed, all_moved = means.T
        return (1 - changed) / moved / ((1 - all_changed) / all_moved)

    picks = np.random.default_rng(seed).integers(
        len(values), size=(resamples, len(values))
    )
    low, high = np.quantile(ratio(values[picks].mean(1)), [0.025, 0.975])
    return Interval(float(ratio(values.mean(0))), float(low), float(high), len(values))


def localise(
    generator: Generator,
    *,
    people: int = 48,
    psi: float = 0.85,
    seed: int = 0,
    edits: Mapping[str, Sequence[int]] = EDITS,
    strength: float = 1.0,
    noise: bool = False,
    panel: Panel | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Edit rows of many people and measure each edit.

    Args:
        generator: paints the codes at full size.
        people: how many, each with a donor of their own.
        psi: truncation of people and donors, one the judges were calibrated for.
        seed: draws people and donors; a run can be repeated exactly.
        edits: name to rows. "all" is always measured, as the unit of ``leverage``.
        strength: as in ``exchange``.
        noise: fresh Gaussian rows of ``draw_noise`` in place of a person's.
        panel: judges that are loaded already.
        progress: show a bar.

    Returns:
        A dictionary ready for JSON: experiment, seed, settings, versions, date,
        edits, rows (per edit, metric and judge the mean, its bootstrap interval
        over people and n; None where no face was found) and contrasts (the same
        for the difference of the two edits of ``CONTRAST``, person by person).

    Raises:
        FaceRSAError: people that cannot be drawn, or a psi not calibrated.
        ValueError: rows that do not exist.
    """
    for judge in ("train", "heldout"):
        calibration(judge, "W", psi)  # named now, not after the work
    codes, donors = draw_people(generator, people, psi, seed)
    if noise:
        donors = draw_noise(generator, people, psi, seed)
    edits = dict(edits) | {"all": GROUPS["all"]}
    for rows in edits.values():
        exchange(codes[:1], donors[:1], rows, strength)
    panel, renderer = panel or Panel(), Renderer(generator)
    found: Found = {name: defaultdict(list) for name in edits}
    with tqdm(
        total=people * len(edits), desc="localise", unit="face", disable=not progress
    ) as bar:
        for ws, donor in zip(codes.split(1), donors.split(1), strict=True):
            before, other = (panel.report(renderer.full(code)) for code in (ws, donor))
            for name, rows in edits.items():
                after = panel.report(renderer.full(exchange(ws, donor, rows, strength)))
                measured = figures(panel, before, after, other, psi)
                for key, figure in measured.items():
                    found[name][key].append(figure)
                bar.update()
    return {
        "experiment": "localisation",
        "seed": seed,
        "settings": {
            "people": people,
            "psi": psi,
            "strength": strength,
            "towards": "noise" if noise else "person",
        },
        "versions": {"facersa": version("facersa"), "torch": torch.__version__},
        "date": datetime.now(UTC).date().isoformat(),
        "edits": {name: list(rows) for name, rows in edits.items()},
        "rows": _rows(found),
        "contrasts": _contrasts(found),
    }


def _row(
    edit: str, key: tuple[str, str | None], interval: Interval, **more: str
) -> dict[str, Any]:
    metric, judge = key
    known = {  # JSON has no NaN
        name: None if math.isnan(number) else number
        for name, number in interval._asdict().items()
    }
    return {"edit": edit, "metric": metric, "judge": judge} | more | known


def _rows(found: Found) -> list[dict[str, Any]]:
    rows = []
    for name, columns in found.items():
        rows += [_row(name, key, bootstrap(column)) for key, column in columns.items()]
        for judge in ("train", "heldout"):
            keys = (("id", judge), ("mse", None))
            parts = [found[edit][key] for edit in (name, "all") for key in keys]
            rows.append(_row(name, ("leverage", judge), leverage(*parts)))
    return rows


def _contrasts(found: Found) -> list[dict[str, Any]]:
    """Person by person: the first edit of CONTRAST less the second."""
    more, less = CONTRAST
    if not {more, less} <= set(found):
        return []
    return [
        _row(
            more,
            key,
            bootstrap(torch.tensor(column) - torch.tensor(found[less][key])),
            against=less,
        )
        for key, column in found[more].items()
    ]


def value(
    result: Mapping[str, Any], edit: str, metric: str, judge: str | None = None
) -> dict[str, Any]:
    """The row of a result of ``localise``: mean, low, high and n of one figure.

    Raises:
        FaceRSAError: the result holds no such figure.
    """
    for row in result["rows"]:
        if (row["edit"], row["metric"], row["judge"]) == (edit, metric, judge):
            return row
    raise FaceRSAError(
        f"no figure {metric!r} of judge {judge!r} for the edit {edit!r} in this "
        "result; measure that edit, or look at the names in its rows."
    )


COLUMNS: tuple[tuple[str, str, str | None], ...] = (
    ("id", "id", "train"),
    ("held-out", "id", "heldout"),
    ("same", "same_person", "heldout"),
    ("lm/eyes", "landmarks_eyes", "heldout"),
    ("pose", "pose", "heldout"),
    ("mse", "mse", None),
    ("lpips", "lpips", None),
    ("leverage", "leverage", "train"),
    ("held-out", "leverage", "heldout"),
)


def table(result: Mapping[str, Any]) -> str:
    """The result as aligned text, an edit a line; "-" where no face was found."""
    titles = [title for title, _, _ in COLUMNS]
    lines = [
        f"localisation, {result['settings']}, seed {result['seed']}",
        f"{'rows':<6}" + "".join(f"{title:>10}" for title in titles),
    ]
    for name in dict.fromkeys(row["edit"] for row in result["rows"]):
        means = [value(result, name, m, judge)["mean"] for _, m, judge in COLUMNS]
        cells = ["-" if mean is None else f"{mean:.4f}" for mean in means]
        lines.append(f"{name:<6}" + "".join(f"{cell:>10}" for cell in cells))
    return "\n".join(lines)
