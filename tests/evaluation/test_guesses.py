"""Tests of telling right guesses from wrong ones."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from facersa.errors import FaceRSAError
from facersa.evaluation.guesses import (
    FALSE,
    Distinguishers,
    classifier,
    cross_validated,
    inverted,
    levels_apart,
    linear,
    placed,
    refits,
    repainted,
    roc,
    told_apart,
)
from facersa.generator.base import Generator
from facersa.generator.statistics import WStatistics
from facersa.inversion.search import ProjectConfig
from facersa.pipeline import FaceRSA
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


def test_a_stopped_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    calls: list[int] = []

    def find(picture: Tensor, **how: Any) -> Tensor:
        calls.append(how["config"].steps)
        return torch.full((1, 2, 3), float(len(calls)))

    engine = SimpleNamespace(
        generator=SimpleNamespace(num_ws=2, w_dim=3),
        renderer=SimpleNamespace(full=lambda ws: torch.zeros(1, 3, 4, 4)),
        inverter=SimpleNamespace(find=find),
    )
    config, path = ProjectConfig(steps=0), tmp_path / "codes.safetensors"

    def run(count: int) -> Tensor:
        codes, prior = torch.zeros(count, 2, 3), CompactCode.load()
        return inverted(cast(FaceRSA, engine), codes, config, prior, path, False)

    first = run(2)
    assert torch.equal(run(3)[:2], first) and calls == [0, 0, 0]
    assert torch.equal(run(1), first[:1]) and len(calls) == 3


def test_only_the_right_guess_paints_the_picture_again(generator: Generator) -> None:
    engine = FaceRSA(generator)
    ws = generator.sample([3], 0.7)
    preview = engine.renderer.preview(ws).clamp(-1, 1)
    assert float(levels_apart(engine, preview, ws)) < 1e-3
    table = CompactCode.load()
    sealed = table.quantise(ws, engine.statistics)
    near, far, codes = repainted(engine, table, sealed, 2, seed=0)
    assert codes.shape == (2, 16, 512) and far.shape == (2,)
    assert float(near) < 12 < 20 < float(far.min())


def test_too_few_people_are_refused(generator: Generator) -> None:
    with pytest.raises(FaceRSAError, match="20 people and 9 guesses or more, got 5"):
        told_apart(FaceRSA(generator), ProjectConfig(steps=0), n=5)
