"""Tests of the mapper's training: its steps, its draws, its resuming."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from facersa.cipher.catalogue import LEARNED, build_learned, load_learned, model_card
from facersa.cipher.steered import SteeredMapper
from facersa.errors import CheckpointError, FaceRSAError
from facersa.generator.base import Generator
from facersa.generator.parts import load_parser
from facersa.generator.statistics import WStatistics
from facersa.judges.bisenet import BiSeNet
from facersa.judges.networks import load_identity, load_landmarks, load_lpips
from facersa.training.chains import GROUPS
from facersa.training.critic import Painter
from facersa.training.loop import stored_run, train
from facersa.training.losses import LossWeights
from facersa.training.mapper import MapperTask
from facersa.training.recipes import Recipe, ScratchRecipe, mapper_preset, recipe_of
from facersa.training.scratch import STAGE

QUIET = ("different", "recover_id", "recover_pixels", "code", "radius", "outliers")
QUIET += ("landmarks", "lpips", "parts")

MakeTask = Callable[..., MapperTask]


@pytest.fixture(scope="module")
def make_task(generator: Generator) -> MakeTask:
    teacher = load_learned("ring")
    judges = load_identity(), load_landmarks(), load_parser(), load_lpips("alex")

    def make(recipe: Recipe, seed: int = 0) -> MapperTask:
        return MapperTask(generator, *judges, recipe, teacher, seed=seed)

    return make


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ring", "assembled"])
def test_a_stopped_run_resumes_to_the_same_weights(
    kind: str, make_task: MakeTask, tmp_path: Path
) -> None:
    """Through both stages, a critic that learns included."""
    config, recipe = mapper_preset("smoke", kind)

    class Stop(Exception):
        pass

    def stop(figures: dict[str, float]) -> None:
        if figures["step"] == 4:
            raise Stop

    train(make_task(recipe), config, tmp_path / "whole", progress=False)
    parts = tmp_path / "parts"
    with pytest.raises(Stop):
        train(make_task(recipe), config, parts, progress=False, report=stop)
    stored_config, settings = stored_run(parts)
    assert (stored_config, recipe_of(settings, Recipe)) == (config, recipe)
    train(make_task(recipe_of(settings, Recipe)), config, parts, progress=False)
    name = f"mapper_{kind}"
    for file in (f"{name}.safetensors", f"{name}.json"):
        whole = (tmp_path / "whole" / file).read_bytes()
        assert whole == (parts / file).read_bytes()
    assert (parts / "log.jsonl").read_text() == (
        tmp_path / "whole" / "log.jsonl"
    ).read_text()
    log = [json.loads(x) for x in (parts / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == list(range(config.steps))
    assert "id_raw" in log[-1]  # painted
    assert ("distillation" in log[0]) == (kind == "assembled")
    card = json.loads((parts / f"{name}.json").read_text())
    mapper = build_learned(kind, card["settings"]["mapper"])
    weights = load_file(parts / f"{name}.safetensors")
    mapper.load_state_dict({k: v.float() for k, v in weights.items()})


def test_a_recipe_of_another_version_is_explained() -> None:
    stored = asdict(mapper_preset("smoke", "assembled")[1])
    assert (
        recipe_of({"recipe": stored}, Recipe) == mapper_preset("smoke", "assembled")[1]
    )
    with pytest.raises(CheckpointError, match="another version.*assembly_steps"):
        recipe_of({"recipe": {**stored, "assembly_steps": 6000}}, Recipe)
    with pytest.raises(CheckpointError, match="of another network"):
        recipe_of({}, Recipe)  # as the preview head has it


@pytest.mark.slow
def test_the_gpu_recipe_takes_every_group_at_each_step(
    make_task: MakeTask, tmp_path: Path
) -> None:
    config, recipe = mapper_preset("gpu", "faithful")
    assert recipe.every_group
    small = replace(config, steps=1, batch=1, pool=2)
    task = make_task(recipe)
    shipped = load_learned("faithful").state_dict()
    first = task.mapper.state_dict()
    assert all(torch.equal(first[name], value) for name, value in shipped.items())
    task.prepare(small, tmp_path)
    loss, figures = task.loss(0, torch.Generator().manual_seed(0))
    loss.backward()
    expected = {"different", "recover_id", "recover_pixels", "landmarks", "code"}
    assert expected | {"lpips", "parts", "reader", "hinge"} <= set(figures)
    gradients = [p.grad for p in task.mapper.parameters()]
    assert all(g is not None and torch.isfinite(g).all() for g in gradients)


def test_recovery_grows_to_its_full_weight(make_task: MakeTask) -> None:
    config, recipe = mapper_preset("smoke", "assembled")
    assert recipe.ramp == 0  # it starts from a mapper that recovers
    recipe = replace(recipe, ramp=0.6)
    task = make_task(recipe)
    task.config = replace(config, steps=100)
    weights = [task.weights_at(step).recover_id for step in (0, 30, 60, 99)]
    assert weights[0] == pytest.approx(0.01 * recipe.weights.recover_id)
    assert weights[1] == pytest.approx(0.1 * recipe.weights.recover_id)
    assert weights[2] == weights[3] == recipe.weights.recover_id


def test_the_critic_learns_and_the_ring_learns_from_it(
    make_task: MakeTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, recipe = mapper_preset("smoke", "ring")
    task = make_task(recipe)
    task.prepare(config, tmp_path)
    critic = task.critic
    assert (critic.mean != 0).float().mean() > 0.9 and (critic.spread != 1).all()
    torch.nn.init.normal_(critic.linear.weight)
    textures: list[Tensor] = []
    critic_loss = critic.loss

    def recorded(plain: Tensor, encrypted: Tensor, r1: float) -> Tensor:
        textures.extend([plain, encrypted])
        return critic_loss(plain, encrypted, r1)

    monkeypatch.setattr(critic, "loss", recorded)
    only = LossWeights(**dict.fromkeys(QUIET, 0.0), natural=1.0)
    task.recipe = replace(recipe, weights=only)
    loss, figures = task.loss(0, torch.Generator().manual_seed(0))
    assert loss.item() == pytest.approx(figures["natural"] + figures["critic"])
    loss.backward()
    for learned in (critic.linear.weight, *task.mapper.parameters()):
        assert learned.grad is not None and learned.grad.abs().max() > 0
    plain, encrypted = textures
    assert not plain.requires_grad and encrypted.requires_grad
    assert len(plain) == config.batch and len(encrypted) >= 2 * config.batch
    of_people = [
        task.painter.texture(task.generator.preview(ws[None]))[1] for ws in task.codes
    ]
    assert any(torch.allclose(plain, one, atol=1e-5) for one in of_people)
    assert not any(torch.allclose(plain, one, atol=1e-5) for one in encrypted.split(1))


def test_a_critic_needs_an_exact_mapper(make_task: MakeTask) -> None:
    recipe = mapper_preset("smoke", "assembled")[1]
    with pytest.raises(ValueError, match="`natural` needs an exact cipher"):
        make_task(replace(recipe, weights=replace(recipe.weights, natural=1.0)))


def test_distillation_learns_in_code_space(make_task: MakeTask, tmp_path: Path) -> None:
    steps = 80  # the second half on codes of its own
    config, recipe = mapper_preset("smoke", "assembled")
    recipe = replace(recipe, assembled=False, distillation_steps=steps)
    recipe = replace(recipe, distillation_batch=16)
    task = make_task(recipe)
    task.prepare(replace(config, steps=steps, pool=32), tmp_path)

    def measured() -> float:
        with torch.no_grad():
            steps = [task.loss(0, torch.Generator().manual_seed(k)) for k in range(4)]
        return float(sum(loss for loss, _ in steps))

    before = measured()
    optimizer = torch.optim.Adam(task.mapper.parameters(), lr=2e-3)
    for step in range(steps):
        loss, figures = task.loss(step, torch.Generator().manual_seed(100 + step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert figures == {"distillation": loss.item()}
    assert measured() < 0.8 * before


def test_distillation_needs_a_teacher(make_task: MakeTask) -> None:
    task = make_task(mapper_preset("smoke", "steered")[1])
    recipe = mapper_preset("cpu", "assembled")[1]
    judges = task.painter.identity, task.painter.landmarks, task.painter.parser
    with pytest.raises(ValueError, match="as teacher"):
        MapperTask(task.generator, *judges, task.lpips, recipe)
    with pytest.raises(ValueError, match="pass a ring"):
        MapperTask(task.generator, *judges, task.lpips, recipe, SteeredMapper())


@pytest.mark.slow
def test_a_bisenet_of_the_user_parses_the_picture(generator: Generator) -> None:
    torch.manual_seed(0)
    painter = Painter(generator, load_identity(), load_landmarks(), BiSeNet().eval())
    view = painter(generator.sample([3], 0.7), torch.zeros(1, 4, 128))
    assert view.parts is not None and view.parts.shape == (1, 19, 64, 64)
    again = painter.parser(view.picture)
    torch.testing.assert_close(view.parts, again, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["ring", "steered", "assembled"])
def test_initial_weights_depend_on_the_seed_alone(
    kind: str, make_task: MakeTask
) -> None:
    """And drawing them leaves the caller's random numbers as they were."""
    recipe = mapper_preset("cpu", kind)[1]
    torch.manual_seed(7)
    state = torch.get_rng_state()
    first = make_task(recipe).mapper.state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(8)
    again, other = make_task(recipe), make_task(recipe, seed=1)
    assert all(torch.equal(v, first[k]) for k, v in again.mapper.state_dict().items())
    differs = {k for k, v in other.mapper.state_dict().items() if (v != first[k]).any()}
    assert "converter.first.weight" in differs if kind == "assembled" else differs
    torch.manual_seed(0)  # as the shipped weights began
    shipped = build_learned(kind, recipe.options).state_dict()
    assert all(torch.equal(v, first[k]) for k, v in shipped.items())


def test_any_generator_with_a_preview_will_do(
    generator: Generator, tmp_path: Path
) -> None:
    """Without a parser nothing of its inside is used."""
    names = ("preview", "map", "sample", "num_ws", "w_dim", "w_avg")
    names += ("truncate", "broadcast")
    other = SimpleNamespace(**{name: getattr(generator, name) for name in names})
    config, recipe = mapper_preset("smoke", "ring")
    judges = load_identity(), load_landmarks(), None, load_lpips("alex")
    task = MapperTask(
        other,  # type: ignore[arg-type]
        *judges,
        recipe,
        statistics=WStatistics.load(),
    )
    task.prepare(config, tmp_path)
    _, figures = task.loss(0, torch.Generator().manual_seed(0))
    assert figures["landmarks"] > 0 and "parts" not in figures


def test_a_misspelt_preset_or_mapper_is_an_error() -> None:
    with pytest.raises(FaceRSAError, match="smoke, cpu, gpu; got 'gpus'"):
        mapper_preset("gpus", "ring")
    with pytest.raises(
        FaceRSAError, match="steered, ring, faithful, assembled; got 'rings'"
    ):
        mapper_preset("cpu", "rings")


@pytest.mark.parametrize("kind", LEARNED)
def test_the_recipe_of_the_shipped_weights_can_be_read(kind: str) -> None:
    settings = model_card(kind)["settings"]
    if settings.get("stage") == STAGE:
        assert recipe_of(settings, ScratchRecipe).groups == GROUPS
    else:
        assert recipe_of(settings, Recipe).mapper == kind
