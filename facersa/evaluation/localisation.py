"""Locating the identity layers: which rows of W+ hold the person?

The paper picks its rows by changing the code step by step and looking at what
changes (section "FaceRSA"; its details are in a supplement). Here that is an
experiment: give some rows of one person the values of another person's, paint
the result, and let judges that know nothing of rows measure the change in identity,
in shape and pose of the face, and in the pixels.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from facersa.evaluation.results import Interval, Key, bootstrap, head, rows
from facersa.generator.base import Generator
from facersa.generator.openvino import Renderer
from facersa.generator.statistics import WStatistics
from facersa.judges.calibration import JUDGES, calibration
from facersa.judges.metrics import mse
from facersa.judges.panel import Figures, Panel, Report
from facersa.people import draw_noise, draw_people
from facersa.photo.images import resize

LPIPS_SIDE = 256
Edits = dict[str, tuple[int, ...]]  # rows of each edit, by name
CONTRAST = ("3-8", "5-8")  # the first edit is compared with the second


def single_rows(num_ws: int = 16) -> Edits:
    """Each row alone."""
    return {str(row): (row,) for row in range(num_ws)}


def windows(num_ws: int = 16) -> Edits:
    """Any four rows in sequence, as many as the paper's choice."""
    return {f"{n}-{n + 3}": tuple(range(n, n + 4)) for n in range(num_ws - 3)}


def groups(num_ws: int = 16) -> Edits:
    """Coarse, middle and fine rows, the first two together, and all."""
    spans = ((0, 2), (3, 8), (0, 8), (9, num_ws - 1))
    named = {f"{n}-{last}": tuple(range(n, last + 1)) for n, last in spans}
    return named | {"all": tuple(range(num_ws))}


def all_edits(num_ws: int = 16) -> Edits:
    """The edits that ``localise`` measures unless given others."""
    return single_rows(num_ws) | windows(num_ws) | groups(num_ws)


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
    """What the judges say of an edited picture, compared with the original.

    Identity, landmarks, pose, expression and detection as in ``Panel``; mse of the
    whole pictures on [0, 1]; LPIPS at a side of 256; id_donor: id compared with the
    donor instead.
    """
    small = (resize(report.picture, LPIPS_SIDE) for report in (before, after))
    with torch.no_grad():
        lpips = float(panel.lpips(*small))
    measured: Figures = {("detected", j): v for j, v in after.detected.items()}
    measured |= panel.identity_figures(before, after, "W", psi)
    to_donor = panel.identity_figures(donor, after, "W", psi)
    measured |= {("id_donor", judge): to_donor["id", judge] for judge in JUDGES}
    measured |= panel.attribute_figures(before, after, "W", psi)
    measured["mse", None] = float(mse(before.picture, after.picture))
    measured["lpips", None] = lpips
    return measured


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

    with * for the exchange of every row with the same donor. So 1 is the leverage of
    simply becoming somebody else, and 5 is five times as much change of identity for
    the same change of pixels. Both parts are squares: 1 - cosine is half a squared
    distance of unit vectors, and id is linear in it.

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
    edits: Mapping[str, Sequence[int]] | None = None,
    strength: float = 1.0,
    noise: bool = False,
    statistics: WStatistics | None = None,
    panel: Panel | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Edit rows of many people and measure each edit.

    Args:
        generator: paints the codes at full size.
        people: how many, each with a donor of their own.
        psi: truncation of people and donors, one the judges were calibrated for.
        seed: draws people and donors; a run can be repeated exactly.
        edits: name to rows, ``all_edits`` by default. "all" is always measured, as the
            unit of ``leverage``.
        strength: as in ``exchange``.
        noise: fresh Gaussian rows of ``draw_noise`` in place of a person's.
        statistics: of w, for these; the shipped ones by default.
        panel: judges that are loaded already.
        progress: show a bar.

    Returns:
        A result, see ``results``, with the rows of each of "edits". In property
        "localisation" the pair is the edit's name; in "contrast" the figures are
        differences of the two edits of ``CONTRAST``, person by person.

    Raises:
        FaceRSAError: people that cannot be drawn, or a psi not calibrated.
        ValueError: rows that do not exist.
    """
    for judge in JUDGES:
        calibration(judge, "W", psi)  # an error now rather than after the work
    codes, donors = draw_people(generator, people, psi, seed)
    if noise:
        donors = draw_noise(generator, people, psi, seed, statistics=statistics)
    chosen = all_edits(generator.num_ws) if edits is None else dict(edits)
    chosen |= {"all": tuple(range(generator.num_ws))}
    for layers in chosen.values():
        exchange(codes[:1], donors[:1], layers, strength)
    panel, renderer = panel or Panel(), Renderer(generator)
    values: dict[Key, list[float]] = defaultdict(list)
    with tqdm(
        total=people * len(chosen), desc="localise", unit="face", disable=not progress
    ) as bar:
        for ws, donor in zip(codes.split(1), donors.split(1), strict=True):
            before, other = (panel.report(renderer.full(code)) for code in (ws, donor))
            for name, layers in chosen.items():
                edited = exchange(ws, donor, layers, strength)
                after = panel.report(renderer.full(edited))
                for key, x in figures(panel, before, after, other, psi).items():
                    values["localisation", name, *key].append(x)
                bar.update()
    towards = "noise" if noise else "person"
    settings = {"people": people, "psi": psi, "strength": strength, "towards": towards}
    return head(
        "localisation",
        edits={name: list(layers) for name, layers in chosen.items()},
        settings=settings,
        seed=seed,
    ) | {"rows": rows({**values, **_leverages(values), **_contrast(values)})}


def _leverages(values: Mapping[Key, list[float]]) -> dict[Key, Interval]:
    def columns(edit: str, judge: str) -> tuple[list[float], list[float]]:
        identity = values["localisation", edit, "id", judge]
        return identity, values["localisation", edit, "mse", None]

    return {
        ("localisation", edit, "leverage", judge): leverage(
            *columns(edit, judge), *columns("all", judge)
        )
        for edit in dict.fromkeys(pair for _, pair, _, _ in values)
        for judge in JUDGES
    }


def _contrast(values: Mapping[Key, list[float]]) -> dict[Key, Interval]:
    """Person by person: the first edit of ``CONTRAST`` minus the second.

    A difference of shares is no share, so its interval is bootstrapped here.
    """
    first, second = CONTRAST
    differences: dict[Key, Interval] = {}
    for (prop, pair, metric, judge), minuend in values.items():
        subtrahend = values.get((prop, second, metric, judge))
        if pair == first and subtrahend:
            key: Key = ("contrast", " minus ".join(CONTRAST), metric, judge)
            gaps = torch.tensor(minuend) - torch.tensor(subtrahend)
            differences[key] = bootstrap(gaps)
    return differences
