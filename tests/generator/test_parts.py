"""Tests of the parser made of clusters of generator features."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from facersa.generator.base import Generator
from facersa.generator.parts import (
    BLOCKS,
    PARTS,
    GeneratorParser,
    fit_parser,
    load_parser,
)


def test_shares_sum_to_one_and_follow_the_nearest_centre() -> None:
    centres = F.normalize(torch.randn(5, 512), dim=1)
    features = centres.T[None, :, None, :].expand(1, -1, 3, -1) * 7.0
    shares = GeneratorParser(centres)(features)
    assert shares.shape == (1, 5, 3, 5)
    torch.testing.assert_close(shares.sum(1), torch.ones(1, 3, 5))
    assert torch.equal(shares[0, :, 0].argmax(0), torch.arange(5))


def test_gradients_reach_the_features() -> None:
    features = torch.randn(1, 512, 4, 4, requires_grad=True)
    GeneratorParser(torch.randn(3, 512))(features)[:, 0].sum().backward()
    assert features.grad is not None and features.grad.abs().max() > 0


def test_shipped_parts_are_parts_of_faces(generator: Generator) -> None:
    """The corner shows background, the middle shows skin, for everybody."""
    parser = load_parser()
    assert parser.centres.shape == (PARTS, 512)
    ws = generator.sample(range(40, 46), 0.7)
    with torch.no_grad():
        parts = parser(generator.synthesis.features(ws, BLOCKS)).argmax(1)
    nose = parts[:, 34:38, 30:34].flatten(1).mode(1).values
    corner = parts[:, :6, :6].flatten(1).mode(1).values
    assert len(nose.unique()) <= 2
    assert not set(nose.tolist()) & set(corner.tolist())


def test_background_is_around_people(generator: Generator) -> None:
    ws = generator.sample(range(50, 58), 0.7)
    with torch.no_grad():
        features = generator.synthesis.features(ws, BLOCKS)
        background = load_parser().background(features)
    assert background.shape == (8, 1, 64, 64)
    assert background[:, :, 20:50, 20:44].mean() < 0.05
    corners = torch.cat([background[..., :8, :8], background[..., :8, -8:]])
    assert corners.median() > 0.9 and corners.mean() > 0.7  # some have long hair


@pytest.mark.slow
def test_fitting_finds_clusters_that_explain_features(generator: Generator) -> None:
    with torch.no_grad():
        features = generator.synthesis.features(generator.sample([3], 0.85), BLOCKS)
    unit = F.normalize(features.flatten(2)[0].T, dim=1)

    def fit(parser: GeneratorParser) -> float:
        return float((unit @ parser.centres.T).amax(1).mean())

    few = fit_parser(generator, people=3, places=128, rounds=1)
    more = fit_parser(generator, people=3, places=128, rounds=15)
    assert fit(more) > fit(few)
