"""Tests of the surrogate of the judges."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from facersa.errors import CheckpointError
from facersa.generator.base import Generator
from facersa.generator.statistics import WStatistics
from facersa.judges.networks import load_identity, load_landmarks
from facersa.training.surrogate import (
    ROWS,
    CodeJudge,
    Judged,
    Surrogate,
    edited_codes,
    fit,
)


def invented(count: int) -> Judged:
    """Answers that depend on the rows that are read, as a judge's would."""
    stats = WStatistics.load()
    ws = stats.unwhiten(torch.randn(count, 16, 512)).float()
    z = stats.whiten(ws[:, 5])[:, :40].float()
    vectors = torch.cat([z, torch.ones(count, 1)], 1) @ torch.randn(41, 512)
    points = 0.5 + z[:, :1, None] * 0.01 * torch.ones(count, 68, 2)
    return Judged(ws, torch.nn.functional.normalize(vectors, dim=1), points)


def test_guesses_have_the_judges_form_and_read_the_first_rows_only() -> None:
    surrogate = Surrogate(WStatistics.load())
    ws = invented(3).ws
    identity, points = surrogate(ws)
    assert identity.shape == (3, 512) and points.shape == (3, 68, 2)
    torch.testing.assert_close(identity.norm(dim=1), torch.ones(3))
    other = ws.clone()
    other[:, ROWS:] += 1
    assert torch.equal(surrogate(other)[0], identity)


def test_fitting_learns_and_freezes_again() -> None:
    pool = invented(400)
    surrogate = Surrogate(WStatistics.load(), width=128).requires_grad_(False)
    before = float(surrogate.loss(*pool))
    fit(surrogate, pool, 60, torch.Generator().manual_seed(0), batch=64)
    assert float(surrogate.loss(*pool)) < 0.6 * before
    assert not any(p.requires_grad for p in surrogate.parameters())


def test_fitting_is_repeatable() -> None:
    pool = invented(50)
    losses = set()
    for _ in range(2):
        torch.manual_seed(0)
        surrogate = Surrogate(WStatistics.load(), width=32)
        rng = torch.Generator().manual_seed(1)
        losses.add(fit(surrogate, pool, 5, rng, recent=10, batch=8))
    assert len(losses) == 1


def test_edited_codes_move_only_the_layers(generator: Generator) -> None:
    bases = generator.sample(range(30), 0.7)
    edited = edited_codes(generator, bases, (5, 6), torch.Generator().manual_seed(0))
    kept = [r for r in range(16) if r not in (5, 6)]
    assert torch.equal(edited[:, kept], bases[:, kept])
    moved = edited[:, 5:7] - bases[:, 5:7]
    shared = (moved[:, 0] - moved[:, 1]).abs().amax(1) < 1e-6
    assert 0 < shared.sum() < 30  # some moves are shared by the rows, some are not


def test_a_judge_keeps_its_answers(generator: Generator, tmp_path: Path) -> None:
    judge = CodeJudge(generator, load_identity(), load_landmarks())
    ws = generator.sample([1, 2], 0.7)
    found = judge.kept(ws, tmp_path / "part")
    assert found.identity.shape == (2, 512) and found.landmarks.shape == (2, 68, 2)
    again = judge.kept(ws, tmp_path / "part")
    assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))
    with pytest.raises(CheckpointError, match="other settings"):
        judge.kept(ws + 1, tmp_path / "part")
