"""Tests of the ways from a face to its code."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from facersa.generator.mobile_stylegan import Generator
from facersa.generator.openvino import Renderer
from facersa.generator.statistics import WStatistics
from facersa.inversion.inverter import Inverter
from facersa.inversion.search import ProjectConfig
from facersa.sealing.compact import CompactCode


@pytest.fixture(scope="module")
def inverter(generator: Generator) -> Inverter:
    return Inverter(generator)


@pytest.fixture(scope="module")
def face(generator: Generator) -> torch.Tensor:
    return Renderer(generator).full(generator.sample([10_003], 0.7))


def test_no_steps_leave_the_encoder_s_guess(
    inverter: Inverter, face: torch.Tensor
) -> None:
    config = ProjectConfig(steps=0)
    found = inverter.find(face, config=config)
    assert torch.equal(found, inverter.closest_guess(face))
    assert torch.equal(inverter.find(face, config=config, guess=False), found)
    table, stats = CompactCode.load(), WStatistics.load()
    stored = inverter.find(
        face, config=config, rounded=lambda ws: table.quantise(ws, stats)
    )
    assert torch.equal(stored, table.quantise(found, stats))


def test_a_search_from_the_guess_starts_there_and_gets_closer(
    inverter: Inverter, face: torch.Tensor
) -> None:
    config = replace(ProjectConfig(), steps=12)
    found = inverter.find(face, config=config, progress=False)
    guess = inverter.guess(face)
    assert 0.01 < (found - guess).norm() < guess.norm()
    assert _distance(inverter, found, face) < _distance(inverter, guess, face)


@pytest.mark.parametrize(("guess", "steps"), [(True, 5), (False, 0)])
def test_a_guess_is_not_of_what_an_encryption_paints(
    inverter: Inverter, face: torch.Tensor, guess: bool, steps: int
) -> None:
    config = replace(ProjectConfig(), steps=steps)
    with pytest.raises(ValueError, match="through needs guess=False"):
        inverter.find(face, config=config, guess=guess, through=lambda ws: ws)


def test_the_closest_guess_is_the_closest_of_all(
    inverter: Inverter, generator: Generator
) -> None:
    """A face in a bad light that the encoder has trouble with, and a clear one."""
    render = Renderer(generator).full
    clear = render(generator.sample([10_004], 0.7))
    odd = render(generator.sample([10_005], 1.0)).clamp(0, 1) * 2 - 1
    chosen = set()
    for face in (clear, odd):
        closest = inverter.closest_guess(face)
        others = [
            inverter.encoder.look_again(face, generator.preview, looks)
            for looks in range(3)
        ]
        others.append((others[1] + others[1].mean(1, keepdim=True)) / 2)
        far = [_distance(inverter, ws, face) for ws in others]
        assert _distance(inverter, closest, face) == pytest.approx(min(far), rel=0.02)
        chosen.add(far.index(min(far)))
    assert chosen != {1}  # what a search starts from


def _distance(inverter: Inverter, ws: torch.Tensor, face: torch.Tensor) -> float:
    with torch.no_grad():
        return float(inverter.lpips(inverter.generator.preview(ws), _small(face)))


def _small(face: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.adaptive_avg_pool2d(face, 256)
