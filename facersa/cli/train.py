"""The command ``train``: what it trains, and by which recipe."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from facersa.cli.fit import FITS
from facersa.cli.parser import Device, Preset, command, refuse
from facersa.errors import FaceRSAError

if TYPE_CHECKING:
    from facersa.training.loop import Task, TrainConfig


@dataclass(frozen=True)
class TrainOptions:
    """What a run is made by: names, files of one's own, or a run to go on with."""

    cipher: str
    preset: Preset
    device: Device
    generator: str | None
    bisenet: str | None
    weights: str | None
    judge: str | None
    stored: tuple[TrainConfig, dict[str, Any]] | None  # configuration and settings
    new: Mapping[str, int]  # where a new run differs from its preset

    def config(self, preset: TrainConfig) -> TrainConfig:
        """Of the run to resume, or of a new one."""
        return self.stored[0] if self.stored else replace(preset, **self.new)


def _head(options: TrainOptions) -> tuple[Task, TrainConfig]:
    from facersa.generator.mobile_stylegan import load_mobile_stylegan
    from facersa.judges.networks import load_identity
    from facersa.training.preview import HeadTask
    from facersa.training.recipes import HEAD, named

    device = options.device
    config = options.config(named("preset", options.preset, HEAD))
    generator, identity = load_mobile_stylegan(device), load_identity(device)
    return HeadTask(generator, identity, seed=config.seed), config


def _encoder(options: TrainOptions) -> tuple[Task, TrainConfig]:
    from facersa.generator.mobile_stylegan import load_mobile_stylegan
    from facersa.judges.networks import load_identity, load_lpips
    from facersa.training.encoder import EncoderTask
    from facersa.training.recipes import EncoderRecipe, encoder_preset, recipe_of

    preset, recipe = encoder_preset(options.preset)
    device, config = options.device, options.config(preset)
    if options.stored:
        recipe = recipe_of(options.stored[1], EncoderRecipe)
    networks = load_identity(device), load_lpips("alex", device)
    generator = load_mobile_stylegan(device)
    return EncoderTask(generator, *networks, recipe, seed=config.seed), config


def _mapper(options: TrainOptions) -> tuple[Task, TrainConfig]:
    from facersa.cipher.catalogue import load_learned
    from facersa.generator.load import load_generator
    from facersa.generator.mobile_stylegan import MobileStyleGAN
    from facersa.generator.parts import GeneratorParser, load_parser
    from facersa.generator.statistics import WStatistics
    from facersa.judges.bisenet import BiSeNet, load_bisenet
    from facersa.judges.networks import load_identity, load_landmarks, load_lpips
    from facersa.training.mapper import MapperTask
    from facersa.training.recipes import Recipe, mapper_preset, recipe_of
    from facersa.training.scratch import STAGE

    from_scratch = options.cipher == "faithful" and options.preset != "gpu"
    if options.stored[1].get("stage") == STAGE if options.stored else from_scratch:
        if options.generator or options.bisenet:
            raise FaceRSAError(
                "the faithful mapper learns from a judge of codes, which knows neither "
                "--generator nor --bisenet; leave them out, or use --preset gpu."
            )
        return _from_scratch(options)
    if options.judge:
        raise FaceRSAError(
            "only the faithful mapper learns from a judge of codes, on a CPU preset; "
            "leave out --judge."
        )
    preset, recipe = mapper_preset(options.preset, options.cipher)
    device, config = options.device, options.config(preset)
    if options.stored:
        recipe = recipe_of(options.stored[1], Recipe)
    generator = load_generator(options.generator, device)
    parser: BiSeNet | GeneratorParser | None = None
    if options.bisenet:
        parser = load_bisenet(options.bisenet, device)
    elif isinstance(generator, MobileStyleGAN):
        parser = load_parser(device)
    distils = recipe.distillation_steps > 0
    task = MapperTask(
        generator,
        load_identity(device),
        load_landmarks(device),
        parser,
        load_lpips("alex", device),
        recipe,
        load_learned(recipe.teacher, device=device) if distils else None,
        statistics=WStatistics.of(generator),
        seed=config.seed,
    )
    return task, config


def _judge(options: TrainOptions, pool: Path | None = None) -> tuple[Task, TrainConfig]:
    from facersa.cipher.catalogue import load_learned
    from facersa.generator.mobile_stylegan import load_mobile_stylegan
    from facersa.generator.parts import load_parser
    from facersa.judges.networks import load_identity, load_landmarks, load_lpips
    from facersa.training.judge import JudgeTask
    from facersa.training.pool import Judged
    from facersa.training.recipes import JUDGE, named

    device = options.device
    config = options.config(named("preset", options.preset, JUDGE))
    judged = Judged(
        load_mobile_stylegan(device),
        load_identity(device),
        load_landmarks(device),
        load_parser(device),
        load_lpips("alex", device),
    )
    mapper = load_learned("faithful", options.weights) if options.weights else None
    return JudgeTask(judged, mapper=mapper, pool=pool, seed=config.seed), config


def _from_scratch(options: TrainOptions) -> tuple[Task, TrainConfig]:
    from facersa.generator.mobile_stylegan import load_mobile_stylegan
    from facersa.judges.networks import load_identity, load_landmarks
    from facersa.training.distilled import load_judge
    from facersa.training.recipes import ScratchRecipe, recipe_of, scratch_preset
    from facersa.training.scratch import ScratchTask

    preset, recipe = scratch_preset(options.preset)
    device, config = options.device, options.config(preset)
    judge = load_judge(options.judge, device)
    if options.stored:
        recipe = recipe_of(options.stored[1], ScratchRecipe)
        if options.stored[1].get("judge") != judge.fingerprint:
            raise FaceRSAError(
                "this run learned from another judge of codes; pass its file with "
                "--judge."
            )
    judges = load_identity(device), load_landmarks(device)
    generator = load_mobile_stylegan(device)
    return ScratchTask(judge, recipe, generator, *judges, seed=config.seed), config


def _by_turns(options: TrainOptions, folder: Path, rounds: int) -> Path:
    from facersa.training.rounds import take_turns

    def judge(mapper: Path | None) -> tuple[Task, TrainConfig]:
        own = replace(options, weights=str(mapper) if mapper else None)
        return _judge(own, folder / "judge-1" / "pool")  # painted once

    def mapper(judge: Path | None) -> tuple[Task, TrainConfig]:
        return _from_scratch(replace(options, judge=str(judge) if judge else None))

    return take_turns(judge, mapper, folder, rounds)


def _baselines(options: TrainOptions) -> tuple[Task, TrainConfig]:
    from facersa.evaluation.baselines.teach import BASELINES, BaselineTask
    from facersa.generator.mobile_stylegan import load_mobile_stylegan
    from facersa.training.distilled import load_judge
    from facersa.training.recipes import named

    device = options.device
    config = options.config(named("preset", options.preset, BASELINES))
    judge = load_judge(options.judge, device)
    return BaselineTask(judge, load_mobile_stylegan(device), seed=config.seed), config


TASKS = {
    "head": _head,
    "encoder": _encoder,
    "judge": _judge,
    "mapper": _mapper,
    "baselines": _baselines,
}


@command("train", "what")
def run_train(
    what: Literal[
        "head",
        "encoder",
        "judge",
        "mapper",
        "baselines",
        "rotation",
        "steady",
        "parser",
        "compact",
        "calibration",
    ],
    *,
    cipher: str | None = None,
    preset: Preset = "cpu",
    device: Device = "cpu",
    steps: int | None = None,
    seed: int | None = None,
    until: int | None = None,
    generator: str | None = None,
    bisenet: str | None = None,
    weights: str | None = None,
    judge: str | None = None,
    rounds: int | None = None,
    output: str | None = None,
    resume: str | None = None,
) -> None:
    """Train a network of this package, or fit one of its tables.

    \b
    WHAT is trained, in steps:
      head      the fast preview of the generator
      encoder   the encoder of photographs
      judge     the judge of codes, from which the faithful mapper learns
      mapper    a trained cipher: --cipher ring (default), steered, faithful, assembled
      baselines two other systems, to compare with, in three minutes
    or fitted, at once:
      rotation     the statistics of w that the rotation uses
      steady       the directions that the steady cipher keeps, in ten minutes
      parser       the clusters of features that find the parts of a face
      compact      the table of bits for codes in pixels
      calibration  what the judges say of strangers, in ten minutes
    """
    import torch

    from facersa.training.loop import open_run, stored_run, train

    if what != "mapper":
        options_of_mapper = ("cipher", "bisenet", "judge", "rounds")
        refuse(f"train {what} does not use it", *options_of_mapper)
    if what != "judge":
        refuse(f"train {what} does not use it", "weights")
    if what not in ("mapper", "rotation", "calibration"):
        refuse(f"train {what} is for MobileStyleGAN", "generator")
    if what == "compact":
        refuse("train compact runs on the CPU", "device")
    if what in FITS:
        unused = ("preset", "steps", "seed", "until", "resume")
        refuse(f"train {what} takes no steps", *unused)
    if rounds is not None:
        own = ("steps", "until", "judge", "bisenet", "generator", "resume")
        refuse("rounds have their own; the same command goes on with them", *own)
        if cipher != "faithful" or preset == "gpu":
            raise FaceRSAError(
                "--rounds expects --cipher faithful, which learns from a judge, and "
                f"not --preset gpu, which paints; got {cipher or 'ring'}, {preset}."
            )
    if resume:
        stored = ("cipher", "preset", "steps", "seed", "output")
        refuse("a resumed run keeps its own", *stored)
    if device == "cuda" and not torch.cuda.is_available():
        raise FaceRSAError("there is no CUDA device here; use --device cpu.")
    torch.set_float32_matmul_precision("high")  # TF32 on CUDA; nothing on a CPU
    folder = open_run(resume or output or f"runs/{what}", resume=bool(resume))
    if what in FITS:
        click.echo(f"wrote {FITS[what](device, generator, folder)}")
        return
    options = TrainOptions(
        cipher=cipher or "ring",
        preset=preset,
        device=device,
        generator=generator,
        bisenet=bisenet,
        weights=weights,
        judge=judge,
        stored=stored_run(folder) if resume else None,
        new={k: v for k, v in (("steps", steps), ("seed", seed)) if v is not None},
    )
    if rounds:
        click.echo(f"wrote {_by_turns(options, folder, rounds)}")
        return
    task, config = TASKS[what](options)
    results = train(task, config, folder, until=until)
    click.echo(json.dumps(results, indent=1))
