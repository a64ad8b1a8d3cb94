"""Tests of the attacks that are trained."""

from __future__ import annotations

import torch

from facersa.cipher.catalogue import load_cipher
from facersa.evaluation.attacks import classifier_accuracy
from facersa.evaluation.learned import Reading, train_inverse, views
from facersa.generator.base import Generator
from facersa.generator.statistics import WStatistics


def test_a_reading_is_measured_and_simulated() -> None:
    random = torch.Generator().manual_seed(0)
    codes, mix = torch.randn(40, 4, 32), torch.randn(4, 4)
    offset = torch.randn(4, 32)
    errors = 0.1 * torch.randn(40, 4, 32)
    reading = Reading(codes, mix @ codes + offset + errors)
    torch.testing.assert_close(reading.mix, mix, atol=0.05, rtol=0)
    others = torch.randn(500, 4, 32)
    apart = reading.read(others, random) - (mix @ others + offset)
    assert 0.08 < float(apart.std()) < 0.15


def test_rows_that_agree_are_seen_where_a_linear_look_at_the_code_is_blind() -> None:
    """The edited row of an encrypted code is anybody's, but not the person's."""
    rows = torch.randn(200, 1, 64)
    plain = rows.repeat(1, 4, 1)
    edited = torch.cat([plain[:, :3], torch.randn(200, 1, 64)], 1)
    both = torch.stack([plain, edited], 1).flatten(0, 1)
    features = torch.randn(400, 8)
    shares = {
        name: float(classifier_accuracy(view[::2], view[1::2]).mean())
        for name, view in views(features, both).items()
    }
    assert shares["its rows"] > 0.95 and shares["the picture"] < 0.65
    assert shares["the code"] < shares["its rows"]


def test_an_inverse_learns_from_codes_that_are_read_badly(generator: Generator) -> None:
    """With a reading without error it would copy an unedited row, which is exact."""
    stats, cipher = WStatistics.of(generator), load_cipher("steady")
    with torch.no_grad():
        drawn = generator.sample(range(64), 0.85)[:, :1].clone()
        shown = stats.whiten(drawn.repeat(1, 16, 1)).float()
    reading = Reading(shown, shown + torch.randn_like(shown))
    network = train_inverse(cipher, drawn, reading, stats, steps=3)
    again = train_inverse(cipher, drawn, reading, stats, steps=3)
    for one, other in zip(network.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
    with torch.no_grad():
        found = network(shown)
    error = (found - shown[:, 0]).norm() / shown[:, 0].norm()
    assert error < 0.5
