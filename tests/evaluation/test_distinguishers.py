"""Tests of the distinguishers."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from facersa.evaluation.distinguishers import (
    FALSE,
    Distinguishers,
    classifier,
    cross_validated,
    linear,
    placed,
    refits,
    roc,
)
from facersa.generator.statistics import WStatistics
from facersa.sealing.compact import CompactCode


def test_two_normal_distributions_have_the_known_area() -> None:
    """AUC of two normals a deviation apart: ndtr(1 / sqrt 2) = 0.760."""
    right, wrong = torch.randn(4000) + 1, torch.randn(4000)
    places = placed(right, wrong)
    assert float(places.mean()) == pytest.approx(0.760, abs=0.015)
    curve = roc(places)
    assert len(curve) == len(FALSE) == 50 and curve == sorted(curve)
    middle = (torch.tensor(FALSE) - 0.1587).abs().argmin()  # half of right ones are > 1
    assert curve[int(middle)] == pytest.approx(0.5, abs=0.05)
    assert curve[-1] == 1


def test_ties_count_half_and_extremes_whole() -> None:
    wrong = torch.tensor([1.0, 2.0, 2.0, 3.0])
    assert placed(torch.tensor([0.0, 2.0, 4.0]), wrong).tolist() == [0, 0.5, 1]


@pytest.mark.parametrize("fit", [linear, classifier])
def test_a_distinguisher_is_at_chance_where_nothing_differs(fit: Any) -> None:
    right, wrong = torch.randn(100, 30), torch.randn(100, 10, 30)
    assert 0.4 < cross_validated(right, wrong, fit).mean() < 0.6
    assert cross_validated(right + 1, wrong, fit).mean() > 0.95


def test_the_classifier_finds_correlations_that_a_line_cannot() -> None:
    axes = torch.randn(3, 30)
    right = torch.randn(100, 3) @ axes
    spread = axes.square().sum(0).sqrt()
    wrong = spread * torch.randn(100, 10, 30)
    assert cross_validated(right, wrong, linear).mean() < 0.65
    assert cross_validated(right, wrong, classifier).mean() > 0.95


def test_refitted_priors_have_what_they_were_fitted_to() -> None:
    scale = (0.5 * torch.randn(400, 1)).exp()
    shared = torch.randn(400, 1)
    x = 3 + scale * torch.cat([shared, shared, torch.randn(400, 4)], 1)
    for name, draw in refits(x).items():
        drawn = draw(4000)
        assert (drawn.mean(0) - x.mean(0)).abs().max() < 0.15, name
        assert (drawn.std(0) / x.std(0) - 1).abs().max() < 0.2, name
        together = float(torch.corrcoef(drawn.T)[0, 1])
        assert (together > 0.7) == (name == "correlations too")


def test_coefficients_come_back_from_their_codes() -> None:
    told, statistics = Distinguishers(CompactCode.load()), WStatistics.load()
    x = torch.randn(2, int((told.table.depths > 0).sum()))
    again = told.coefficients(told.codes(x, statistics), statistics)
    assert (again - x).abs().max() < 1e-3
