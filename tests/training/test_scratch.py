"""Tests of the mapper's training from random weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from facersa.cipher.catalogue import build_learned
from facersa.cipher.modulation import MapperConfig
from facersa.generator.base import Generator
from facersa.judges.networks import load_identity, load_landmarks
from facersa.training.distilled import CodeJudge, JudgeConfig
from facersa.training.loop import TrainConfig, stored_run, train
from facersa.training.losses import LossWeights
from facersa.training.recipes import ScratchRecipe, recipe_of, scratch_preset
from facersa.training.scratch import CURVES, STAGE, ScratchTask

PLAIN = LossWeights()
TINY = TrainConfig(steps=4, batch=2, pool=40, save_every=2, lr=1e-3)


def make(
    generator: Generator,
    recipe: ScratchRecipe,
    seed: int = 0,
    config: TrainConfig = TINY,
) -> ScratchTask:
    torch.manual_seed(9)
    judge = CodeJudge(JudgeConfig(width=32, context=16)).eval().requires_grad_(False)
    judges = load_identity(), load_landmarks()
    task = ScratchTask(judge, recipe, generator, *judges, seed=seed)
    task.painted = 2
    task.prepare(config, Path())
    return task


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_every_group_and_every_remedy_has_its_terms(generator: Generator) -> None:
    weights = replace(PLAIN, reader=0.1, hinge=1.0)
    task = make(generator, ScratchRecipe(weights=weights, pairs=2))
    loss, figures = task.loss(0, rng())
    loss.backward()
    expected = {"different", "recover_id", "recover_pixels", "landmarks", "lpips"}
    assert expected | {"parts", "code", "reader", "hinge"} <= set(figures)
    assert {f"curve {name}" for name in CURVES} <= set(figures)
    terms = [v for k, v in figures.items() if not k.startswith("curve")]
    assert sum(terms) == pytest.approx(loss.item(), rel=1e-4)
    gradients = [p.grad for p in task.mapper.parameters()]
    assert all(g is not None and torch.isfinite(g).all() for g in gradients)
    assert not any(p.grad is not None for p in task.judge.parameters())
    alone = make(generator, ScratchRecipe(groups=("single",)))
    _, fewer = alone.loss(1, rng())
    assert "reader" not in fewer and "different" in fewer


@pytest.mark.parametrize("group", ["single", "sequential", "associated"])
def test_a_group_of_losses_stands_alone(group: str, generator: Generator) -> None:
    recipe = ScratchRecipe(groups=(group,), curves_every=10**6)  # type: ignore[arg-type]
    _, figures = make(generator, recipe).loss(1, rng())
    assert ("different" in figures) == (group != "associated")
    assert "recover_id" in figures


def test_recovery_grows_and_the_start_can_be_moved_away(generator: Generator) -> None:
    task = make(generator, ScratchRecipe(ramp=0.5))
    task.config = replace(TINY, steps=100)
    grown = [task.weights_at(step).recover_id for step in (0, 25, 50, 99)]
    assert grown == pytest.approx([0.01, 0.1, 1, 1])
    at_once = make(generator, ScratchRecipe(ramp=0))
    assert at_once.weights_at(0) == PLAIN
    near = task.curves()["curve size"]
    far = make(generator, ScratchRecipe(first_size=3)).curves()["curve size"]
    assert far > 1.5 * near


def test_the_published_form_is_trained_as_it_is(generator: Generator) -> None:
    options = {"norm": "rows", "last_activation": True, "odd": False}
    task = make(generator, ScratchRecipe(options=options))
    assert task.mapper.config == MapperConfig.published()
    first = task.mapper.state_dict()
    again = make(generator, ScratchRecipe(options=options)).mapper.state_dict()
    other = make(generator, ScratchRecipe(options=options), seed=1).mapper.state_dict()
    assert all(torch.equal(again[k], v) for k, v in first.items())
    assert not torch.equal(
        other["converter.first.weight"], first["converter.first.weight"]
    )


def test_it_learns_to_hide_and_still_recovers(generator: Generator) -> None:
    """By the judge of codes, here one with random weights."""
    recipe = ScratchRecipe(weights=replace(PLAIN, landmarks=0, lpips=0, parts=0))
    config = replace(TINY, steps=40, batch=8, pool=80)
    task = make(generator, recipe, config=config)
    before = task.curves()
    optimizer = torch.optim.Adam(task.mapper.parameters(), lr=3e-3)
    for step in range(config.steps):
        loss, _ = task.loss(step, torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = task.curves()
    assert after["curve b"] < before["curve b"] - 0.02
    assert after["curve c"] > 0.9


@pytest.mark.slow
def test_a_stopped_run_resumes_and_its_card_rebuilds_the_mapper(
    generator: Generator, tmp_path: Path
) -> None:
    recipe = ScratchRecipe(weights=replace(PLAIN, reader=0.1), curves_every=2)
    train(make(generator, recipe), TINY, tmp_path / "whole", progress=False)
    parts = tmp_path / "parts"
    train(make(generator, recipe), TINY, parts, progress=False, until=2)
    config, settings = stored_run(parts)
    assert (config, settings["stage"]) == (TINY, STAGE)
    again = recipe_of(settings, ScratchRecipe)
    assert again == recipe
    results = train(make(generator, again), config, parts, progress=False)
    name = "mapper_faithful.safetensors"
    assert (parts / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert {f"painted {name}" for name in CURVES} <= set(results)
    card = json.loads((parts / "mapper_faithful.json").read_text())
    build_learned("faithful", card["settings"]["mapper"])


def test_the_shipped_recipe_is_the_preset() -> None:
    config, recipe = scratch_preset("cpu")
    assert set(recipe.groups) == {"single", "sequential", "associated"}
    assert recipe.first_size > 1 and config.steps > 100
