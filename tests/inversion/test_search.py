"""Tests of inversion by optimisation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from facersa.errors import ImageError
from facersa.generator.base import Generator
from facersa.generator.openvino import Renderer
from facersa.inversion.search import (
    ProjectConfig,
    _importance,
    _stalled,
    project,
    project_config,
)
from facersa.judges.networks import load_identity, load_lpips
from facersa.photo.images import resize


def test_a_few_steps_move_towards_the_face_and_repeat_exactly(
    generator: Generator,
) -> None:
    target = Renderer(generator).full(generator.sample([41], 0.7))
    judge, perceptual = load_identity(), load_lpips()
    config = replace(ProjectConfig(), steps=8, candidates=3)
    runs = [
        project(
            generator,
            target,
            perceptual=perceptual,
            embed=judge.embed,
            config=config,
            progress=False,
        )
        for _ in range(2)
    ]
    history = runs[0].history
    assert len(history) == 8
    assert history[-1]["lpips"] < history[0]["lpips"]
    assert history[-1]["identity"] < history[0]["identity"]
    assert runs[0].ws.shape == (1, 16, 512)
    assert torch.equal(runs[0].ws, runs[1].ws)
    start = generator.broadcast(generator.w_avg[None])
    assert (runs[0].ws - start).abs().max() > 0.01


def test_the_last_steps_look_at_the_code_as_it_will_be_stored(
    generator: Generator,
) -> None:
    target = Renderer(generator).full(generator.sample([42], 0.7))
    judge, perceptual = load_identity(), load_lpips()
    config = replace(ProjectConfig(), steps=20, candidates=3, lr=0.15)

    def search(rounded: Callable[[torch.Tensor], torch.Tensor] | None) -> torch.Tensor:
        return project(
            generator,
            target,
            perceptual=perceptual,
            embed=judge.embed,
            config=config,
            rounded=rounded,
            progress=False,
        ).ws

    def coarse(ws: torch.Tensor) -> torch.Tensor:
        return (ws / 0.8).round() * 0.8

    def distance(ws: torch.Tensor) -> float:
        painted, wanted = generator.preview(ws), resize(target, 256)
        likeness = (judge.embed(painted) * judge.embed(wanted)).sum()
        return (0.8 * perceptual(painted, wanted) + 0.5 * (1 - likeness)).item()

    found = search(coarse)
    torch.testing.assert_close(found, coarse(found))
    assert distance(found) < distance(coarse(search(None)))


def test_a_guess_is_where_the_search_starts(generator: Generator) -> None:
    ws = generator.sample([41, 42], 0.7)
    mixed = torch.cat([ws[:1, :8], ws[1:, 8:]], 1)  # offsets too are taken over
    target = Renderer(generator).preview(mixed)
    judge, perceptual = load_identity(), load_lpips()

    def first_loss(start: torch.Tensor | None) -> float:
        found = project(
            generator,
            target,
            perceptual=perceptual,
            embed=judge.embed,
            config=replace(ProjectConfig(), steps=2, candidates=1),
            start=start,
            progress=False,
        )
        assert len(found.history) == 2
        return found.history[0]["lpips"]

    # Beside the answer, not on it: gradients of zero are slow on a processor.
    near = mixed + 0.02 * torch.randn(mixed.shape)
    assert first_loss(near) < 0.02 < 0.1 < first_loss(None)


def test_a_code_is_found_whose_encryption_paints_the_picture(
    generator: Generator,
) -> None:
    """The search paints what comes out of ``through``, and moves what goes in."""
    hidden = generator.sample([43], 0.7)
    target = Renderer(generator).preview(hidden)
    judge, perceptual = load_identity(), load_lpips()
    rng = torch.Generator().manual_seed(0)
    away = 1.5 * torch.randn(512, generator=rng)
    start = hidden - away + 0.3 * torch.randn(hidden.shape, generator=rng)
    found = project(
        generator,
        target,
        perceptual=perceptual,
        embed=judge.embed,
        config=replace(ProjectConfig(), steps=10),
        start=start,
        through=lambda ws: ws + away,
        progress=False,
    )
    first, last = found.history[0], found.history[-1]
    assert first["lpips"] < 0.5  # painted as it is, the start is somebody else
    assert last["lpips"] < 0.8 * first["lpips"] and last["identity"] < first["identity"]
    assert 1 < (found.ws - start).norm() < 0.5 * (found.ws - hidden).norm()


def test_a_search_that_stands_still_goes_on_to_its_last_steps(
    generator: Generator,
) -> None:
    ws = generator.sample([41, 42], 0.7)
    judge, perceptual = load_identity(), load_lpips()
    found = project(
        generator,
        Renderer(generator).preview(ws[1:]),
        perceptual=perceptual,
        embed=judge.embed,
        config=ProjectConfig(steps=40, patience=3, progress=0.9),
        start=ws[:1],
        progress=False,
    )
    assert len(found.history) == 6 + 10  # twice the patience, and the last quarter


def test_standing_still_is_told_by_the_mean_of_many_steps() -> None:
    config = ProjectConfig(patience=4, progress=0.01)
    assert not _stalled([1.0] * 7, config)
    assert _stalled([1.0] * 8, config)
    assert not _stalled([1.0] * 4 + [0.9] * 4, config)
    assert _stalled([0.9] * 4 + [1.0] * 4, config)


def test_the_face_counts_more_than_the_corner() -> None:
    weight = _importance(4.0)[0, 0]
    assert weight.mean().item() == pytest.approx(1.0)
    assert weight[128, 128] / weight[2, 2] == pytest.approx(4.0, rel=0.01)


def test_one_square_picture_is_asked_for(generator: Generator) -> None:
    judge = load_identity()
    with pytest.raises(ValueError, match="image must have shape"):
        project(
            generator,
            torch.zeros(2, 3, 64, 64),
            perceptual=load_lpips(),
            embed=judge.embed,
        )


def test_steps_are_checked() -> None:
    assert project_config(None) == ProjectConfig()
    assert (project_config(9).steps, project_config(9).candidates) == (9, 9)
    assert project_config(0).steps == 0
    with pytest.raises(ImageError, match="0 steps .* or more, got -1"):
        project_config(-1)
