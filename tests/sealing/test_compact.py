"""Tests of codes in half a kilobyte."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facersa.generator.base import Generator
from facersa.generator.statistics import WStatistics, cosine_basis
from facersa.judges.networks import load_identity, load_lpips
from facersa.sealing.compact import MAX_DEPTH, CompactCode, make_compact, photo_widths
from facersa.sealing.pixels import CODE_BITS
from facersa.training.compact import visibility

STATS = WStatistics.load()
TABLE = CompactCode.load()


def people(count: int, seed: int = 0) -> torch.Tensor:
    """Codes (count, 16, 512) as wide as inversions of photographs."""
    rng = torch.Generator().manual_seed(seed)
    found = torch.randn(count, 16, 512, generator=rng, dtype=torch.float64)
    return STATS.unwhiten(cosine_basis(16).T @ (found * TABLE.widths)).float()


def test_the_shipped_table_fills_the_pixels_and_never_changes() -> None:
    assert TABLE.num_bits == CODE_BITS
    assert TABLE.depths.shape == TABLE.widths.shape == (16, 512)
    assert TABLE.depths.max() <= MAX_DEPTH
    # Pictures out there were made with it: a new table needs a new version of format.
    assert TABLE.fingerprint() == "caf3b9aead0bb9b5"
    torch.testing.assert_close(TABLE.widths.float(), photo_widths(16, 512).float())


def test_rounding_is_idempotent_and_near() -> None:
    ws = people(3)
    once = TABLE.quantise(ws, STATS)
    assert torch.equal(TABLE.quantise(once, STATS), once)
    assert once.dtype == torch.float32 and once.shape == ws.shape
    error, spread = (
        ((x - y) ** 2).sum() for x, y in ((once, ws), (ws, STATS.mean.float()))
    )
    assert error < 0.12 * spread


def test_any_bits_are_somebody_from_the_prior() -> None:
    """What a wrong password decodes to: no bits are out of the ordinary."""
    rng = np.random.default_rng(0)
    found = [
        TABLE.decode(rng.integers(0, 2, TABLE.num_bits, dtype=np.uint8), STATS)
        for _ in range(40)
    ]
    x = cosine_basis(16) @ STATS.whiten(torch.stack(found)) / TABLE.widths
    deep = x[:, TABLE.depths >= 4]
    assert deep.mean().abs() < 0.01
    assert deep.square().mean().item() == pytest.approx(1, abs=0.03)
    bits = np.stack([TABLE.encode(ws, STATS) for ws in people(40)])
    assert bits.mean() == pytest.approx(0.5, abs=0.005)  # as under a wrong password
    assert np.abs(np.corrcoef(bits[:, ::400].T) - np.eye(11)).max() < 0.6


def test_bytes_keep_code_and_side() -> None:
    ws = people(1)[0]
    for side in (False, True):
        data = TABLE.to_bytes(ws, side, STATS)
        assert len(data) == TABLE.payload_bytes(16, 512) == 512
        found, kept = TABLE.from_bytes(data, STATS)
        assert kept is side
        assert torch.equal(found, TABLE.quantise(ws[None], STATS)[0])
    with pytest.raises(ValueError, match="the table"):
        TABLE.payload_bytes(18, 512)


def test_bits_go_where_they_show() -> None:
    shown = torch.zeros(2, 8)
    shown[0, 1], shown[1, 2], shown[0, 5] = 1.0, 1.0, 1e-6
    widths = torch.ones(2, 8)
    widths[1] = 0.5
    made = make_compact(shown, widths, 8)
    depths = made.depths
    assert made.num_bits == 8
    assert depths[0, 1] > depths[1, 2] > 0  # as visible, but a quarter the variance
    assert depths[0, 5] == depths[1, 0] == 0


def test_more_bits_are_nearer() -> None:
    shown, widths = torch.ones(16, 512), photo_widths(16, 512)
    ws = people(2, seed=1)
    errors = []
    for bits in (500, 2000, 8000):
        table = make_compact(shown, widths, bits)
        gap = STATS.whiten(table.quantise(ws, STATS)) - STATS.whiten(ws)
        errors.append(gap.square().mean().item())
    assert errors[0] > errors[1] > errors[2]


@pytest.mark.slow
def test_leading_axes_show_most(generator: Generator) -> None:
    codes = generator.broadcast(generator.sample([3, 4], 0.8)[:, 0])
    shown = visibility(generator, codes, load_identity(), load_lpips())
    assert shown.shape == (16, 512) and (shown >= 0).all()
    assert shown.sum().item() == pytest.approx(2, rel=1e-4)
    assert shown[0, :32].sum() > 10 * shown[0, 256:].sum()
