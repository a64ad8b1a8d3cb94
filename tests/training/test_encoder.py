"""Tests of the encoder's training."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from facersa.errors import FaceRSAError
from facersa.generator.base import Generator
from facersa.inversion.encoder import Pyramid
from facersa.judges.networks import IdentityJudge, load_identity, load_lpips
from facersa.training.encoder import EncoderTask
from facersa.training.loop import stored_run, train
from facersa.training.recipes import EncoderRecipe, encoder_preset, recipe_of

SMOKE, RECIPE = encoder_preset("smoke")


@cache
def judges() -> tuple[IdentityJudge, nn.Module]:
    return load_identity(), load_lpips("alex")


def make(
    generator: Generator, recipe: EncoderRecipe = RECIPE, seed: int = 0
) -> EncoderTask:
    return EncoderTask(generator, *judges(), recipe, seed=seed)


def test_rows_are_unlocked_one_after_the_other(generator: Generator) -> None:
    task = make(generator, replace(RECIPE, unlocked_at=0.5))
    task.config = replace(SMOKE, steps=100)
    unlocked = [task._unlocked(step) for step in range(100)]
    assert unlocked[0] == 1 and unlocked[50] == unlocked[-1] == 16
    assert unlocked == sorted(unlocked) and set(unlocked) == set(range(1, 17))


def test_a_perfect_guess_costs_nothing_and_a_stranger_about_one(
    generator: Generator,
) -> None:
    task = make(generator)
    ws = generator.sample(range(20), 1.0)
    z = task._whiten(ws)
    torch.testing.assert_close(task.encoder.unwhiten(z), ws, rtol=0, atol=1e-4)
    gap = task.basis @ z  # against the mean code
    cost = (task.shows * gap.square()).sum((1, 2)).mean().item()
    assert cost == pytest.approx(1.0, rel=0.15)


def test_each_side_of_the_game_teaches_its_own_player(generator: Generator) -> None:
    task = make(generator)
    z = torch.randn(4, 16, 512, requires_grad=True)
    terms = task._realism(z, torch.Generator().manual_seed(0))
    terms["realism"].backward(retain_graph=True)
    assert z.grad is not None and z.grad.abs().max() > 0
    assert all(p.grad is None for p in task.row_critic.parameters())
    z.grad = None
    (terms["row_critic"] + terms["r1"]).backward()
    assert z.grad is None
    assert all(p.grad is not None for p in task.row_critic.parameters())


def test_pictures_are_painted_and_augmented_anew(
    generator: Generator, tmp_path: Path
) -> None:
    task = make(generator)
    task.prepare(SMOKE, tmp_path)
    assert task.pyramid.read.up.weight.any()  # fitted
    codes = task.codes[:2]
    with torch.no_grad():
        clean = generator.preview(codes)
    (one, first), (two, second) = (
        task._staged(codes, 1, torch.Generator().manual_seed(seed)) for seed in (0, 4)
    )
    assert not torch.equal(one.fine, two.fine)  # augmented anew
    assert not torch.equal(first[0], second[0])  # each time another scene
    assert not torch.equal(first[0], clean[0])
    assert torch.equal(first[1], clean[1]) and torch.equal(second[1], clean[1])


def test_nobody_knows_the_code_of_another_scene(
    generator: Generator, tmp_path: Path
) -> None:
    """Its error does not count, that of the picture does."""
    task = make(generator)
    task.prepare(SMOKE, tmp_path)
    staged = task._staged
    drawn: list[Tensor] = []

    def recorded(codes: Tensor, restaged: int, rng: torch.Generator) -> object:
        assert restaged == 1 and len(codes) == 2
        drawn.append(codes)
        return staged(codes, restaged, rng)

    task._staged = recorded  # type: ignore[assignment, method-assign]
    _, figures = task.loss(0, torch.Generator().manual_seed(0))
    assert figures["lpips"] > 0
    rng = torch.Generator().manual_seed(0)
    torch.randint(task.first_unread, len(task.codes), (SMOKE.batch,), generator=rng)
    features, _ = staged(drawn[0], 1, rng)
    with torch.no_grad():
        ws = task.encoder.unwhiten(task.pyramid(features, task._unlocked(0)))
    known = task.recipe.code * (ws - drawn[0])[1:].square().mean() / task.variance
    assert figures["code"] == pytest.approx(float(known), rel=1e-3)


@pytest.mark.slow
def test_a_resumed_run_gives_the_same_numbers(
    generator: Generator, tmp_path: Path
) -> None:
    folders = [tmp_path / name for name in ("whole", "parts")]
    torch.manual_seed(1)
    whole = train(make(generator), SMOKE, folders[0], progress=False)
    torch.manual_seed(2)  # nothing may depend on the caller's random numbers
    train(make(generator), SMOKE, folders[1], progress=False, until=3)
    config, settings = stored_run(folders[1])
    recipe = recipe_of(settings, EncoderRecipe)
    assert (config, recipe) == (SMOKE, RECIPE)
    parts = train(make(generator, recipe), config, folders[1], progress=False)
    assert whole == parts
    one, two = (load_file(folder / "encoder.safetensors") for folder in folders)
    assert all(torch.equal(one[name], two[name]) for name in one)
    log = [json.loads(x) for x in (folders[0] / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == list(range(6))
    pyramid = Pyramid()
    pyramid.load_state_dict({name: value.float() for name, value in one.items()})


def test_initial_weights_depend_on_the_seed_alone(generator: Generator) -> None:
    """And drawing them leaves the caller's random numbers as they were."""
    judges()
    torch.manual_seed(7)
    state = torch.get_rng_state()
    first = make(generator).module.state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(8)
    again, other = make(generator).module, make(generator, seed=1).module
    assert all(torch.equal(v, first[k]) for k, v in again.state_dict().items())
    weight = "pyramid.lateral.fine.weight"
    assert not torch.equal(other.state_dict()[weight], first[weight])
    torch.manual_seed(0)  # as the shipped weights began
    assert torch.equal(Pyramid().state_dict()[weight[8:]], first[weight])


def test_presets_and_the_shipped_recipe() -> None:
    card = files("facersa") / "weights" / "encoder.json"
    settings = json.loads(card.read_text())["settings"]
    assert recipe_of(settings, EncoderRecipe) == encoder_preset("gpu")[1]
    with pytest.raises(FaceRSAError, match="smoke, cpu, gpu; got 'tiny'"):
        encoder_preset("tiny")
