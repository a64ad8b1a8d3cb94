from __future__ import annotations

import numpy as np
import pytest
import torch

from facersa.generator.statistics import WStatistics
from facersa.sealing.prior import LEVELS, NormalPrior

PRIOR = NormalPrior()
STATS = WStatistics.load()


def draw(prior: NormalPrior, count: int, seed: int = 0) -> torch.Tensor:
    """Codes drawn from the prior: what wrong passwords decode to."""
    random = np.random.default_rng(seed)
    shape = (len(prior.scales), 512)
    levels = [random.integers(0, LEVELS, shape) for _ in range(count)]
    return torch.stack([prior.decode(level, STATS) for level in levels])


def test_any_numbers_decode_to_what_encodes_to_them() -> None:
    levels = np.random.default_rng(0).integers(0, LEVELS, (16, 512))
    levels[0, :4] = [0, 1, LEVELS - 2, LEVELS - 1]
    assert (PRIOR.encode(PRIOR.decode(levels, STATS), STATS) == levels).all()


def test_drawn_codes_are_standard_normal() -> None:
    """Whitened rows of a draw: mean 0, spread 1, no correlated axes, few far out."""
    z = STATS.whiten(draw(PRIOR, 40))
    assert z.mean().abs() < 0.03
    spread = (sum(scale**2 for scale in PRIOR.scales) / 16) ** 0.5
    assert abs(z.std() / spread - 1) < 0.04  # the tails widen it a little
    assert abs((z.abs() < spread).double().mean() - 0.6827) < 0.02
    assert (z.abs() > 4).double().mean() < 4e-3 and z.abs().max() < 12
    axes = torch.corrcoef(z.mean(1).T) - torch.eye(512)
    assert abs(axes.abs().mean() - (2 / (40 * torch.pi)) ** 0.5) < 0.01


def test_rows_of_a_draw_agree_as_rows_of_a_person() -> None:
    z = STATS.whiten(draw(PRIOR, 6))
    same = torch.cosine_similarity(z[:, 3], z[:, 12], dim=-1)
    other = torch.cosine_similarity(z[:3, 3], z[3:, 3], dim=-1)
    assert same.min() > 0.6 and other.abs().max() < 0.2


def test_rounding_costs_little_in_the_core() -> None:
    ws = draw(PRIOR, 4) + 1e-3 * torch.randn(4, 16, 512)
    rounded = PRIOR.quantise(ws, STATS)
    x = PRIOR.standardise(ws, STATS)
    error = (PRIOR.standardise(rounded, STATS) - x).abs()
    assert error[x.abs() < 2.5].max() < 1e-3
    assert error[x.abs() < 6].max() < 0.1
    z_error = STATS.whiten(rounded) - STATS.whiten(ws)
    assert z_error.square().mean().sqrt() < 2e-3


def test_rounding_twice_changes_nothing() -> None:
    ws = torch.cat([draw(PRIOR, 2), 30 * draw(PRIOR, 1)])  # typical, and far out
    once = PRIOR.quantise(ws, STATS)
    assert torch.equal(PRIOR.quantise(once, STATS), once)
    assert once.dtype == torch.float32 and once.shape == ws.shape


def test_codes_far_out_are_kept() -> None:
    """Three times as wide as the prior: almost nothing is clipped."""
    x = PRIOR.standardise(draw(NormalPrior(tail_weight=0.0), 1), STATS) * 3
    assert (x.abs() > 6).double().mean() > 0.03
    wide = STATS.unwhiten(3 * STATS.whiten(draw(NormalPrior(tail_weight=0.0), 1)))
    levels = PRIOR.encode(wide[0].float(), STATS)
    assert ((levels == 0) | (levels == LEVELS - 1)).mean() < 1e-3
    error = STATS.whiten(PRIOR.decode(levels, STATS)) - STATS.whiten(wide[0])
    assert error.square().mean().sqrt() < 0.1


@pytest.mark.parametrize(
    "change",
    [
        {"scales": (1.0,)},
        {"scales": (0.0,) * 16},
        {"tail_weight": 1.0},
        {"tail_scale": 0.5},
        {"tail_scale": float("nan")},
    ],
)
def test_bad_priors(change: dict) -> None:
    with pytest.raises(ValueError, match="prior"):
        NormalPrior(**change)


def test_bad_shapes() -> None:
    with pytest.raises(ValueError, match="ws must have shape"):
        PRIOR.quantise(torch.zeros(1, 18, 512), STATS)
