"""Calibration of the judges: against a slow loop, its file, and what ships."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from facersa.errors import CheckpointError
from facersa.judges.calibration import (
    EXPRESSIONS,
    JUDGES,
    MIN_PAIRS,
    Calibration,
    calibrate,
    calibration,
    load_calibrations,
    save_calibrations,
)
from facersa.people import STRATA


def test_calibrate_gives_mean_and_one_percent_threshold() -> None:
    """Against a slow loop over all pairs, with one undetected person."""
    people = torch.randn(70, 16) + 0.5
    people[3] = math.nan
    scale = calibrate(people, judge="train", stratum="W", psi=0.7)
    detected = [row.double() for row in people if not row.isnan().any()]
    slow = [
        torch.nn.functional.cosine_similarity(detected[i], detected[j], dim=0).item()
        for i in range(len(detected))
        for j in range(i)
    ]
    assert (scale.people, scale.n) == (69, 69 * 68 // 2) == (69, len(slow))
    assert scale.s0 == pytest.approx(np.mean(slow), abs=1e-5)
    assert scale.spread == pytest.approx(np.std(slow), abs=1e-5)
    share = scale.same_person(torch.tensor(slow, dtype=torch.float64)).mean().item()
    assert 0.005 < share <= 0.01
    assert scale.identity(torch.tensor(scale.s0)).item() == pytest.approx(0, abs=1e-6)


def test_calibrate_needs_enough_people() -> None:
    with pytest.raises(ValueError, match="64 people"):
        calibrate(torch.randn(63, 8), judge="train", stratum="W", psi=1.0)
    assert calibrate(torch.randn(64, 8), judge="t", stratum="W", psi=1.0).n == 2016


def test_calibrations_survive_their_file(tmp_path: Path) -> None:
    one = Calibration("train", "W", 0.7, 0.15, 0.1, 0.44, 72, 2556)
    save_calibrations([one], tmp_path / "c.json")
    assert load_calibrations(tmp_path / "c.json") == (one,)


@pytest.mark.parametrize("text", ["", "[]", '{"calibrations": [{"judge": "x"}]}'])
def test_a_damaged_file_says_how_to_make_it_again(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.json"
    path.write_text(text)
    with pytest.raises(CheckpointError, match="train calibration"):
        load_calibrations(path)


def test_shipped_calibrations_are_complete_and_sensible() -> None:
    for psi in (0.7, 0.85, 1.0):
        for stratum in STRATA:
            train = calibration("train", stratum, psi)
            held_out = calibration("heldout", stratum, psi)
            outside = calibration("outside", stratum, psi)
            for scale in (calibration(judge, stratum, psi) for judge in JUDGES):
                assert scale.n >= MIN_PAIRS
                assert scale.s0 + scale.spread < scale.threshold < 1
            # The two cosines live on scales of their own.
            assert train.s0 < 0.35 and 0.75 < held_out.s0 < 0.95
            assert 0.3 < outside.s0 < 0.6
            for name in EXPRESSIONS.values():
                assert 0 < calibration(name, stratum, psi).s0 < 0.9
    with pytest.raises(CheckpointError, match="choose from"):
        calibration("train", "W", 0.5)
