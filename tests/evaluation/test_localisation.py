"""Tests of the experiment that locates the identity layers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from facersa.errors import CheckpointError
from facersa.evaluation import localisation
from facersa.evaluation.localisation import (
    all_edits,
    exchange,
    groups,
    leverage,
    localise,
    windows,
)
from facersa.evaluation.results import rows, table, value
from facersa.generator.base import Generator
from facersa.generator.stylegan2 import StyleGAN2

RESULTS = Path(__file__).parents[2] / "book" / "results"
FEW = {"9": (9,), "5-8": (5, 6, 7, 8), "3-8": (3, 4, 5, 6, 7, 8)}


def two_codes() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(2, 16, 512), torch.randn(2, 16, 512)


def test_a_difference_of_shares_may_be_negative() -> None:
    first, second = localisation.CONTRAST
    shares = {
        ("localisation", first, "same_person", "train"): [0.0, 1.0],
        ("localisation", second, "same_person", "train"): [1.0, 1.0],
    }
    (row,) = rows(localisation._contrast(shares))
    assert (row["mean"], row["low"], row["high"]) == (-0.5, -1, 0)


def test_only_the_named_rows_move_and_all_the_way() -> None:
    ws, donors = two_codes()
    before = ws.clone()
    moved = exchange(ws, donors, (5, 6, 7, 8))
    assert torch.equal(moved[:, 5:9], donors[:, 5:9])
    assert torch.equal(moved[:, :5], ws[:, :5])
    assert torch.equal(moved[:, 9:], ws[:, 9:])
    assert torch.equal(ws, before)


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0, 1.5])
def test_strength_is_a_way_along_a_line(strength: float) -> None:
    ws, donors = two_codes()
    moved = exchange(ws, donors, [2], strength)
    slow = (1 - strength) * ws[:, 2] + strength * donors[:, 2]
    torch.testing.assert_close(moved[:, 2], slow)
    if strength == 0:
        assert torch.equal(moved, ws)


def test_there_and_back_is_the_same_code() -> None:
    ws, donors = two_codes()
    there, back = exchange(ws, donors, (3, 4)), exchange(donors, ws, (3, 4))
    assert torch.equal(exchange(there, back, (3, 4)), ws)


@pytest.mark.parametrize("rows", [(16,), (-1,), (3, 3)])
def test_rows_must_exist_once(rows: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="from 0 to 15"):
        exchange(*two_codes(), rows)


def test_everybody_needs_a_donor_and_a_finite_strength() -> None:
    ws, donors = two_codes()
    with pytest.raises(ValueError, match="give each person a donor"):
        exchange(ws, donors[:1], (3,))
    with pytest.raises(ValueError, match="finite"):
        exchange(ws, donors, (3,), math.nan)


def test_leverage_is_the_ratio_it_says() -> None:
    identity, pixels = [0.5, 0.7], [0.01, 0.03]
    whole = ([0.0, 0.2], [0.1, 0.2])
    ratio = leverage(identity, pixels, *whole)
    assert ratio.mean == pytest.approx((0.4 / 0.02) / (0.9 / 0.15))
    assert ratio.low <= ratio.mean <= ratio.high and ratio.n == 2
    assert leverage(*whole, *whole) == (1, 1, 1, 2)


def test_leverage_resamples_people_not_figures() -> None:
    """The interval of 200 people agrees with drawing 200 people anew."""
    rng = np.random.default_rng(0)

    def people() -> tuple[np.ndarray, ...]:
        moved = rng.uniform(0.01, 0.03, 200)
        changed = 1 - 20 * moved * rng.uniform(0.8, 1.2, 200)
        all_moved = rng.uniform(0.05, 0.15, 200)
        return changed, moved, rng.uniform(-0.1, 0.1, 200), all_moved

    means = [leverage(*people(), resamples=1).mean for _ in range(400)]
    interval = leverage(*people())
    width = np.quantile(means, 0.975) - np.quantile(means, 0.025)
    assert interval.high - interval.low == pytest.approx(width, rel=0.2)


def test_leverage_leaves_out_undetected_faces() -> None:
    one = leverage([0.5], [0.01], [0.1], [0.1])
    assert leverage([0.5, math.nan], [0.01, 0.1], [0.1, 0.1], [0.1, 0.1]) == one
    nobody = leverage([math.nan], [0.01], [0.1], [0.1])
    assert nobody.n == 0 and math.isnan(nobody.mean)
    assert math.isnan(leverage([1], [0], [1], [0]).mean)


def test_edits_are_of_all_rows_there_are() -> None:
    assert len(all_edits()) == 34 and all_edits()["9-15"] == tuple(range(9, 16))
    assert set(groups(18)) == {"0-2", "3-8", "0-8", "9-17", "all"}
    assert groups(18)["all"] == tuple(range(18))
    assert list(windows(18))[-1] == "14-17" and "17" in all_edits(18)


class Painter:
    """Stands in for ``Renderer``, which compiles one network only."""

    def __init__(self, generator: StyleGAN2) -> None:
        self.full = generator.synthesize


def test_a_generator_of_18_rows_goes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(localisation, "Renderer", Painter)
    small: Any = StyleGAN2([4] * 9).requires_grad_(False)
    assert small.num_ws == 18
    few = {"17": (17,), "3-8": (3, 4, 5, 6, 7, 8), "5-8": (5, 6, 7, 8)}
    result = localise(small, people=1, edits=few, progress=False)
    assert result["edits"]["all"] == list(range(18))
    assert value(result, "localisation", "17", "mse").mean > 0
    nobody = value(result, "localisation", "all", "same_person", "heldout")
    assert nobody.n == 0 and nobody.mean is None


def test_a_psi_without_calibration_is_refused(generator: Generator) -> None:
    with pytest.raises(CheckpointError, match="no calibration"):
        localise(generator, psi=0.5)


@pytest.fixture(scope="module")
def result(generator: Generator) -> dict[str, Any]:
    return localise(generator, people=2, psi=0.85, edits=FEW, progress=False)


def mean(result: dict[str, Any], edit: str, metric: str, judge: str | None) -> float:
    row = value(result, "localisation", edit, metric, judge)
    assert row.low <= row.mean <= row.high and row.n == 2
    return row.mean


@pytest.mark.slow
def test_edits_of_more_identity_rows_change_identity_more(
    result: dict[str, Any],
) -> None:
    for judge in ("train", "heldout", "outside"):
        order = [mean(result, edit, "id", judge) for edit in ("9", "5-8", "3-8", "all")]
        assert order == sorted(order, reverse=True)
        assert order[0] > 0.85 and order[-1] < 0.4
        to_donor = mean(result, "all", "id_donor", judge)
        assert to_donor == pytest.approx(1, abs=1e-4)
        assert mean(result, "all", "leverage", judge) == 1
        assert mean(result, "5-8", "leverage", judge) > 1
    assert mean(result, "5-8", "mse", None) < mean(result, "3-8", "mse", None)


@pytest.mark.slow
def test_the_result_goes_through_json(result: dict[str, Any]) -> None:
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result["edits"]["5-8"] == [5, 6, 7, 8] and "all" in result["edits"]
    assert set(result) >= {"experiment", "seed", "settings", "versions", "date"}
    contrasts = [row for row in result["rows"] if row["property"] == "contrast"]
    assert len(contrasts) == 29
    for row in contrasts:
        key = row["metric"], row["judge"]
        gap = mean(result, "3-8", *key) - mean(result, "5-8", *key)
        assert row["pair"] == "3-8 minus 5-8"
        assert row["mean"] == pytest.approx(gap, abs=1e-6)
    lines = table(result).splitlines()
    assert [line.split()[0] for line in lines[3:7]] == [*FEW, "all"]


@pytest.mark.slow
def test_strength_zero_changes_nothing(generator: Generator) -> None:
    result = localise(
        generator, people=1, edits={"5": (5,)}, strength=0, noise=True, progress=False
    )
    assert value(result, "localisation", "5", "mse").mean == 0
    for judge in ("train", "heldout"):
        identity = value(result, "localisation", "5", "id", judge).mean
        assert identity == pytest.approx(1, abs=1e-5)
    assert result["settings"]["towards"] == "noise"
    assert {row["property"] for row in result["rows"]} == {"localisation"}


def test_the_full_runs_of_the_book_are_whole() -> None:
    runs = {
        path.name: json.loads(path.read_text())
        for path in RESULTS.glob("localisation_*.json")
    }
    edits = set(all_edits())
    assert any(set(run["edits"]) == edits for run in runs.values())
    for name, run in runs.items():
        assert {"5-8", "3-8", "all"} <= set(run["edits"]) <= edits, name
        assert run["settings"]["people"] >= 48, name
        assert value(run, "contrast", "3-8 minus 5-8", "id", "heldout").n >= 40, name
        for edit in run["edits"]:
            assert value(run, "localisation", edit, "id", "heldout").n >= 40, name
