"""Tests of the ways from a face to its code."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_checkpoints import save_e4e, save_stylegan2

from facersa.errors import FaceRSAError
from facersa.generator.base import Generator
from facersa.generator.mobile_stylegan import MobileStyleGAN
from facersa.generator.openvino import Renderer
from facersa.generator.statistics import WStatistics
from facersa.inversion import inverter as module
from facersa.inversion.e4e import E4EEncoder
from facersa.inversion.encoder import Encoder, refine
from facersa.inversion.inverter import Inverter, load_backend
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
        assert inverter.encoder is not None
        others = refine(inverter.encoder, face, generator.preview, 2)
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


def _inverter(path: Path) -> Inverter:
    return Inverter(*load_backend(path))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inverter: Inverter) -> Path:
    """An empty cache for statistics and traces; judges come from the usual one."""
    judges = (inverter.identity, inverter.lpips)
    monkeypatch.setattr(module, "load_identity", lambda device: judges[0])
    monkeypatch.setattr(module, "load_lpips", lambda name, device: judges[1])
    monkeypatch.setenv("FACERSA_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_the_encoder_of_an_e4e_file_makes_the_guess(cache: Path) -> None:
    inverter = _inverter(save_e4e(cache / "e4e.pt"))
    generator, encoder = inverter.generator, inverter.encoder
    assert isinstance(encoder, E4EEncoder) and generator.num_ws == 18
    face = generator.synthesize(generator.sample([1])).clamp(-1, 1)
    guess = inverter.guess(face)
    assert torch.equal(guess, encoder(face))
    closest = inverter.find(face, config=ProjectConfig(steps=0))
    assert closest.shape == (1, 18, 16)
    assert _distance(inverter, closest, face) <= _distance(inverter, guess, face)
    ws = inverter.find(face, config=ProjectConfig(steps=3), progress=False)
    assert (ws - guess).norm() > 0.01
    again = inverter.find(face, config=ProjectConfig(steps=3), progress=False)
    assert torch.equal(ws, again)


def test_without_an_encoder_a_search_starts_from_nothing(cache: Path) -> None:
    inverter = _inverter(save_stylegan2(cache / "stylegan2.pt"))
    assert inverter.encoder is None
    generator = inverter.generator
    face = generator.synthesize(generator.sample([1])).clamp(-1, 1)
    config = ProjectConfig(steps=5, candidates=3)
    ws = inverter.find(face, config=config, progress=False)
    assert ws.shape == (1, 18, 16)
    mean = generator.broadcast(generator.w_avg[None])
    # Its pictures are far out of range, where pixels are nearly the whole loss.
    before, after = (
        (generator.preview(code) - _small(face)).square().mean() for code in (mean, ws)
    )
    assert after < 0.9 * before
    with pytest.raises(FaceRSAError, match="no encoder.*give 1 step or more"):
        inverter.find(face, config=ProjectConfig(steps=0))
    with pytest.raises(FaceRSAError, match="no encoder"):
        inverter.guess(face)


def test_the_encoder_of_another_program_is_left_out(tmp_path: Path) -> None:
    path = save_e4e(tmp_path / "psp.pt")
    content = torch.load(path, weights_only=True)
    content["opts"] = {"encoder_type": "GradualStyleEncoder"}
    torch.save(content, path)
    generator, encoder = load_backend(path)
    assert generator.num_ws == 18 and encoder is None


def test_without_a_file_the_shipped_networks_are_used(inverter: Inverter) -> None:
    assert isinstance(inverter.generator, MobileStyleGAN)
    assert isinstance(inverter.encoder, Encoder)
