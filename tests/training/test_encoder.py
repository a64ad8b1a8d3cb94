"""Tests of the encoder's training."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from facersa.errors import CheckpointError
from facersa.generator.base import Generator
from facersa.inversion.encoder import Pyramid
from facersa.judges.networks import load_identity, load_lpips
from facersa.training.encoder import EncoderTask, RowJudge
from facersa.training.loop import stored_run, train
from facersa.training.recipes import EncoderRecipe, encoder_preset, encoder_recipe_of

SMOKE, RECIPE = encoder_preset("smoke")


def make(generator: Generator, recipe: EncoderRecipe = RECIPE) -> EncoderTask:
    return EncoderTask(generator, load_identity(), load_lpips("alex"), recipe)


@pytest.fixture(scope="module")
def pool(generator: Generator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the smoke preset's pool, painted and looked at."""
    folder = tmp_path_factory.mktemp("pool")
    make(generator).prepare(SMOKE, folder)
    return folder


def copy(pool: Path, folder: Path) -> Path:
    folder.mkdir()
    for path in pool.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


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
    assert all(p.grad is None for p in task.row_judge.parameters())
    z.grad = None
    (terms["row_judge"] + terms["r1"]).backward()
    assert z.grad is None
    assert all(p.grad is not None for p in task.row_judge.parameters())


def test_the_gradient_penalty_is_the_squared_slope() -> None:
    judge = RowJudge()
    z = torch.randn(5, 512, requires_grad=True)
    (slope,) = torch.autograd.grad(judge(z).sum(), z)
    step = 1e-2 * slope
    with torch.no_grad():
        rise = judge(z + step) - judge(z - step)
    expected = 2 * (slope * step).sum(1)
    torch.testing.assert_close(rise, expected, rtol=0.2, atol=1e-6)


def test_kept_features_are_those_of_the_trunk(generator: Generator, pool: Path) -> None:
    task = make(generator)
    task.prepare(SMOKE, pool)
    assert task.features is not None
    kept = load_file(pool / "features.000000.safetensors")
    assert torch.equal(kept["identity"], task.features.identity)
    assert len(task.features.coarse) == SMOKE.pool


def test_nothing_is_kept_where_pictures_are_painted_anew(
    generator: Generator, tmp_path: Path
) -> None:
    task = make(generator, replace(RECIPE, kept=False, scenes=0.5, latent_steps=0))
    task.prepare(SMOKE, tmp_path)
    assert not list(tmp_path.iterdir())
    assert task.pyramid.read.up.weight.any()  # fitted
    codes = task.codes[:2]
    with torch.no_grad():
        clean = generator.preview(codes)
    seen = [
        task._staged(codes, 1, torch.Generator().manual_seed(seed)) for seed in (0, 4)
    ]
    (one, first), (two, second) = seen
    assert not torch.equal(one.fine, two.fine)  # spoiled anew
    assert not torch.equal(first[0], second[0])  # each time another scene
    assert not torch.equal(first[0], clean[0])
    assert torch.equal(first[1], clean[1]) and torch.equal(second[1], clean[1])


def test_nobody_knows_the_code_of_another_scene(
    generator: Generator, tmp_path: Path
) -> None:
    """Its error does not count, that of the picture does."""
    task = make(generator, replace(RECIPE, kept=False, scenes=0.5, latent_steps=0))
    task.prepare(SMOKE, tmp_path)
    staged = task._staged

    def told(codes: Tensor, restaged: int, rng: torch.Generator) -> object:
        assert restaged == 1 and len(codes) == 2
        features, wanted = staged(codes, restaged, rng)
        picked.append(codes)
        return features, wanted

    picked: list[Tensor] = []
    task._staged = told  # type: ignore[assignment, method-assign]
    _, figures = task.loss(0, torch.Generator().manual_seed(0))
    assert figures["lpips"] > 0
    features, _ = staged(picked[0], 1, _after_picking(task))
    with torch.no_grad():
        ws = task.encoder.unwhiten(task.pyramid(features, task._unlocked(0)))
    known = (ws - picked[0])[1:].square().mean() / task.variance
    assert figures["code"] == pytest.approx(float(known), rel=1e-3)


def _after_picking(task: EncoderTask) -> torch.Generator:
    rng = torch.Generator().manual_seed(0)
    torch.randint(task.first_unread, len(task.codes), (SMOKE.batch,), generator=rng)
    return rng


@pytest.mark.slow
def test_a_resumed_run_gives_the_same_numbers(
    generator: Generator, pool: Path, tmp_path: Path
) -> None:
    folders = [copy(pool, tmp_path / name) for name in ("whole", "parts")]
    whole = train(make(generator), SMOKE, folders[0], progress=False)
    train(make(generator), SMOKE, folders[1], progress=False, until=3)
    config, settings = stored_run(folders[1])
    recipe = encoder_recipe_of(settings)
    assert (config, recipe) == (SMOKE, RECIPE)
    parts = train(make(generator, recipe), config, folders[1], progress=False)
    assert whole == parts
    one, two = (load_file(folder / "encoder.safetensors") for folder in folders)
    assert all(torch.equal(one[name], two[name]) for name in one)
    log = [json.loads(x) for x in (folders[0] / "log.jsonl").read_text().splitlines()]
    assert "lpips" not in log[3] and log[4]["lpips"] > 0  # painted from step 4
    pyramid = Pyramid()
    pyramid.load_state_dict({name: value.float() for name, value in one.items()})


def test_a_pool_of_another_size_is_refused(generator: Generator, pool: Path) -> None:
    with pytest.raises(CheckpointError, match="other settings"):
        make(generator).prepare(replace(SMOKE, pool=3), pool)


def test_presets_say_how_they_paint() -> None:
    config, recipe = encoder_preset("gpu")
    assert not recipe.kept and 0 < recipe.scenes < 1
    assert recipe.latent_steps < config.steps
    kept = encoder_preset("cpu")[1]
    assert kept.kept and kept.pictures == "preview"
