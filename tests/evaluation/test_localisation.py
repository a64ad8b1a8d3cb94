"""Tests of the experiment that locates the identity layers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from facersa.errors import CheckpointError, FaceRSAError
from facersa.evaluation.localisation import (
    EDITS,
    exchange,
    leverage,
    localise,
    table,
    value,
)
from facersa.generator.base import Generator
from facersa.people import FIRST_SEED, draw_noise, draw_people

RESULTS = Path(__file__).parents[2] / "book" / "results"
FEW = {"9": (9,), "5-8": (5, 6, 7, 8), "3-8": (3, 4, 5, 6, 7, 8)}


def two_codes() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(2, 16, 512), torch.randn(2, 16, 512)


def test_only_the_named_rows_move_and_all_the_way() -> None:
    ws, donors = two_codes()
    kept = ws.clone()
    moved = exchange(ws, donors, (5, 6, 7, 8))
    assert torch.equal(moved[:, 5:9], donors[:, 5:9])
    assert torch.equal(moved[:, :5], ws[:, :5])
    assert torch.equal(moved[:, 9:], ws[:, 9:])
    assert torch.equal(ws, kept)


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
    there, taken = exchange(ws, donors, (3, 4)), exchange(donors, ws, (3, 4))
    assert torch.equal(exchange(there, taken, (3, 4)), ws)


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


def test_people_and_donors_are_different_every_time(generator: Generator) -> None:
    drawn = [*draw_people(generator, 3, 0.7, 0), *draw_people(generator, 3, 0.7, 1)]
    rows = torch.cat(drawn)[:, 0]
    assert len(torch.unique(rows, dim=0)) == 12
    again = draw_people(generator, 3, 0.7, 1)
    assert torch.equal(again[0], drawn[2]) and torch.equal(again[1], drawn[3])
    first = generator.sample([FIRST_SEED], 0.7)
    torch.testing.assert_close(drawn[0][:1], first)


@pytest.mark.parametrize(("people", "seed"), [(0, 0), (4, -1), (1000, 1000)])
def test_people_outside_the_range_are_refused(
    people: int, seed: int, generator: Generator
) -> None:
    with pytest.raises(FaceRSAError, match="cannot draw"):
        draw_people(generator, people, 0.7, seed)


def test_noise_has_the_spread_of_people_and_rows_of_its_own(
    generator: Generator,
) -> None:
    noise = draw_noise(generator, 40, 0.85)
    people, _ = draw_people(generator, 200, 0.85)
    assert noise.shape == (40, 16, 512)
    assert (noise[:, 0] - noise[:, 1]).abs().max() > 0.5
    spread = (noise - generator.w_avg).norm(dim=-1).mean()
    natural = (people[:, 0] - generator.w_avg).norm(dim=-1).mean()
    assert spread == pytest.approx(float(natural), rel=0.1)
    assert torch.equal(draw_noise(generator, 40, 0.85), noise)


def test_leverage_is_the_ratio_it_says() -> None:
    identity, pixels = [0.5, 0.7], [0.01, 0.03]
    whole = ([0.0, 0.2], [0.1, 0.2])
    found = leverage(identity, pixels, *whole)
    assert found.mean == pytest.approx((0.4 / 0.02) / (0.9 / 0.15))
    assert found.low <= found.mean <= found.high and found.n == 2
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
    found = leverage(*people())
    width = np.quantile(means, 0.975) - np.quantile(means, 0.025)
    assert found.high - found.low == pytest.approx(width, rel=0.2)


def test_leverage_leaves_out_who_was_not_seen() -> None:
    seen = leverage([0.5], [0.01], [0.1], [0.1])
    assert leverage([0.5, math.nan], [0.01, 0.1], [0.1, 0.1], [0.1, 0.1]) == seen
    nobody = leverage([math.nan], [0.01], [0.1], [0.1])
    assert nobody.n == 0 and math.isnan(nobody.mean)
    assert math.isnan(leverage([1], [0], [1], [0]).mean)


def test_a_psi_without_calibration_is_refused(generator: Generator) -> None:
    with pytest.raises(CheckpointError, match="no calibration"):
        localise(generator, psi=0.5)


@pytest.fixture(scope="module")
def result(generator: Generator) -> dict[str, Any]:
    return localise(generator, people=2, psi=0.85, edits=FEW, progress=False)


def mean(result: dict[str, Any], edit: str, metric: str, judge: str | None) -> float:
    row = value(result, edit, metric, judge)
    assert row["low"] <= row["mean"] <= row["high"] and row["n"] == 2
    return row["mean"]


@pytest.mark.slow
def test_what_is_known_of_rows_is_found(result: dict[str, Any]) -> None:
    for judge in ("train", "heldout"):
        order = [mean(result, edit, "id", judge) for edit in ("9", "5-8", "3-8", "all")]
        assert order == sorted(order, reverse=True)
        assert order[0] > 0.85 and order[-1] < 0.4
        taken = mean(result, "all", "id_donor", judge)
        assert taken == pytest.approx(1, abs=1e-4)
        assert mean(result, "all", "leverage", judge) == 1
        assert mean(result, "5-8", "leverage", judge) > 1
    assert mean(result, "5-8", "mse", None) < mean(result, "3-8", "mse", None)


@pytest.mark.slow
def test_the_result_goes_through_json(result: dict[str, Any]) -> None:
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result["edits"]["5-8"] == [5, 6, 7, 8] and "all" in result["edits"]
    assert set(result) >= {"experiment", "seed", "settings", "versions", "date"}
    for row in result["contrasts"]:
        key = row["metric"], row["judge"]
        gap = mean(result, "3-8", *key) - mean(result, "5-8", *key)
        assert row["mean"] == pytest.approx(gap, abs=1e-6)
    lines = table(result).splitlines()
    assert [line.split()[0] for line in lines[2:]] == [*FEW, "all"]
    with pytest.raises(FaceRSAError, match="no figure"):
        value(result, "5-8", "beauty")


@pytest.mark.slow
def test_strength_zero_changes_nothing(generator: Generator) -> None:
    result = localise(
        generator, people=1, edits={"5": (5,)}, strength=0, noise=True, progress=False
    )
    assert value(result, "5", "mse")["mean"] == 0
    for judge in ("train", "heldout"):
        assert value(result, "5", "id", judge)["mean"] == pytest.approx(1, abs=1e-5)
    assert result["settings"]["towards"] == "noise"
    assert result["contrasts"] == []


def test_the_full_runs_of_the_book_are_whole() -> None:
    runs = {
        path.name: json.loads(path.read_text())
        for path in RESULTS.glob("localisation_*.json")
    }
    assert any(set(run["edits"]) == set(EDITS) for run in runs.values())
    for name, run in runs.items():
        assert {"5-8", "3-8", "all"} <= set(run["edits"]) <= set(EDITS), name
        assert run["settings"]["people"] >= 48 and run["contrasts"], name
        for edit in run["edits"]:
            assert value(run, edit, "id", "heldout")["n"] >= 40, name
