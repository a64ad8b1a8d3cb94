"""Tests of what every judge says of every cipher; pictures are not painted."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from facersa.cipher.rotation import RotationCipher
from facersa.errors import CheckpointError, FaceRSAError
from facersa.evaluation import verification
from facersa.evaluation.results import table, value
from facersa.evaluation.verification import (
    GRID,
    PAIRS,
    SAME,
    STRANGERS,
    equal_error_rate,
    thresholds_of,
    verify,
)
from facersa.generator.base import Generator
from facersa.generator.statistics import WStatistics
from facersa.judges.calibration import JUDGES
from facersa.judges.panel import Panel, Report


def test_the_equal_error_rate_is_where_both_errors_meet() -> None:
    """Against a slow loop over all thresholds."""
    random = np.random.default_rng(0)
    genuine, impostors = random.normal(1, 1, 80), random.normal(-0.5, 1, (3, 50))
    gaps = []
    for t in np.concatenate([genuine, impostors.ravel()]):
        missed, matched = (genuine <= t).mean(), (impostors > t).mean()
        gaps.append((abs(missed - matched), (missed + matched) / 2))
    assert equal_error_rate(genuine, impostors) == pytest.approx(min(gaps)[1])
    assert 0.15 < min(gaps)[1] < 0.3


def test_the_equal_error_rate_of_clear_cases() -> None:
    low, high = np.linspace(0, 1, 50), np.linspace(2, 3, 50)
    assert equal_error_rate(high, low) == 0
    assert equal_error_rate(low, high) == 1
    assert equal_error_rate(low, low) == pytest.approx(0.5, abs=0.02)


def test_a_threshold_has_its_false_match_rate() -> None:
    cosines = np.random.default_rng(0).normal(size=10_000)
    for line, rate in zip(thresholds_of(cosines, GRID), GRID, strict=True):
        assert (cosines > line).mean() <= rate
        assert (cosines > line).mean() > rate - 2e-4 or rate == 1


class Seen:
    """Judges who see whitened rows of the code: all, the edited ones, the others."""

    def __init__(self, *_: Any) -> None:
        self.stats = WStatistics.load()

    def report(self, ws: Tensor) -> Report:
        z = self.stats.whiten(ws[0]).float()
        parts = {"train": z, "heldout": z[3:9], "outside": z[9:]}
        shape = torch.linspace(0, 1, 68 * 2).view(1, 68, 2) + 0.01 * z[4, 0]
        return Report(
            torch.empty(0),
            identity={judge: part.flatten() for judge, part in parts.items()},
            detected=dict.fromkeys(("train", "heldout"), 1.0),
            landmarks=dict.fromkeys(("train", "heldout"), shape),
            rotations=dict.fromkeys(("train", "heldout"), torch.eye(3)[None]),
            expression=z[12, :7],
            mesh=torch.rand(1, 468, 2),
            gaze=z[12, :4].view(1, 2, 2),
            expression_outside=z[3, :7],
        )

    def reports(self, codes: Any, **_: Any) -> list[Report]:
        return [self.report(ws) for ws in codes]


@pytest.fixture
def result(
    generator: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    monkeypatch.setattr(verification, "JudgedPictures", Seen)
    panel = object.__new__(Panel)  # its figures need no network
    ciphers = {"turn": RotationCipher(num_bits=16, kappa=0.0, layers=(3, 4, 5, 6, 7))}
    how: dict[str, Any] = {"panel": panel, "progress": False, "psi": 0.7}
    return verify(ciphers, generator, tmp_path, n=6, gallery=70, **how)


def test_each_judge_says_what_it_sees(result: dict[str, Any]) -> None:
    assert json.loads(json.dumps(result, allow_nan=False)) == result

    def mean(case: str, metric: str, judge: str | None, pair: str = "I~Ie1") -> float:
        row = value(result, case, pair, metric, judge)
        assert row.n == 6 and row.low <= row.high
        return row.mean

    # Rows 3 to 7 were turned: who looks at rows 9 on sees the same person.
    assert mean("turn", "id_raw", "outside") == pytest.approx(1)
    assert mean("turn", "eer", "outside") == 0
    assert mean("turn", "rank1", "outside") == 1
    assert mean("turn", "same_person_strict", "outside") == 1
    # Of six rows that the second looks at one is left; with turned ones it is a sixth.
    assert mean("turn", "id_raw", "heldout") < mean("turn", "id_raw", "train")
    assert mean("turn", "same_person_strict", "heldout") <= mean(
        "turn", "same_person", "heldout"
    )
    # Other rows from 9 on, and nothing else, are the same person for the second.
    assert mean(SAME, "id_raw", "heldout") == pytest.approx(1)
    assert mean(SAME, "rank1", "outside") < 1
    for judge in JUDGES:
        assert mean(STRANGERS, "same_person", judge) == 0
        assert mean(STRANGERS, "rank10", judge) < 0.7
    for a, b in PAIRS:
        assert not math.isnan(mean("turn", "gaze", "outside", f"{a}~{b}"))
    assert mean("turn", "expression_kept", None) == pytest.approx(1)
    assert mean("turn", "expression_kept", "outside") < 0.9


def test_curves_and_agreement(result: dict[str, Any]) -> None:
    assert result["rates"] == list(GRID)
    for judge in JUDGES:
        curve = result["curves"][judge]
        assert curve["cosine"] == sorted(curve["cosine"], reverse=True)
        assert set(curve["above"]) >= {"turn", SAME, STRANGERS}
        for shares in curve["above"].values():
            assert shares == sorted(shares)  # more false matches, more accepted
    both = value(result, "agreement", "train~heldout", "correlation")
    apart = value(result, "agreement", "heldout~outside", "correlation")
    assert both.n == 70 and both.mean > 0.5
    assert apart.mean <= 1
    assert "(turn)" in table(result)


@pytest.mark.parametrize("few", [{"n": 1}, {"gallery": 63}])
def test_few_people_are_refused(
    few: dict[str, int], generator: Generator, tmp_path: Path
) -> None:
    with pytest.raises(FaceRSAError, match="a gallery of 64"):
        verify({}, generator, tmp_path, **few)


def test_a_psi_without_a_calibration_is_refused_before_painting(
    generator: Generator, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="psi 0.5"):
        verify({}, generator, tmp_path / "judged", psi=0.5)
    assert not (tmp_path / "judged").exists()
