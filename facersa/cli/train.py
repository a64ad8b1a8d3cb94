"""The command ``train``: what it trains, and by which recipe."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from facersa.errors import FaceRSAError

if TYPE_CHECKING:
    from facersa.training.loop import Task, TrainConfig


def run_train(options: argparse.Namespace) -> None:
    """Train one of the networks, or go on with a run."""
    import torch
    from safetensors.torch import save

    from facersa.files import write_atomic
    from facersa.generator.mobile_stylegan import load_mobile_stylegan
    from facersa.generator.parts import fit_parser
    from facersa.generator.statistics import WStatistics
    from facersa.training.loop import open_run, train

    if options.device == "cuda" and not torch.cuda.is_available():
        raise FaceRSAError("there is no CUDA device here; use --device cpu.")
    if options.steps is not None and (options.resume or options.steps < 1):
        raise FaceRSAError(
            "--steps is for a new run, at least 1; a resumed run keeps its own."
        )
    torch.set_float32_matmul_precision("high")  # TF32 on CUDA; nothing on a CPU
    folder = open_run(
        options.resume or options.output or f"runs/{options.what}",
        resume=bool(options.resume),
    )
    if options.what in ("head", "encoder", "mapper"):
        task, config = _task(options, folder)
        if options.steps is not None:
            config = replace(config, steps=options.steps)
        results = train(task, config, folder, until=options.until)
        print(json.dumps(results, indent=1))
        return
    generator = load_mobile_stylegan(options.device)
    if options.what == "rotation":
        output = folder / "w_stats.safetensors"
        WStatistics.measure(generator).save(output)
    elif options.what == "compact":
        from facersa.sealing.compact import FILE
        from facersa.sealing.pixels import CODE_BITS
        from facersa.training.compact import train_compact

        output = folder / FILE
        write_atomic(output, train_compact(CODE_BITS).save())
    else:
        output = folder / "parser.safetensors"
        centres = fit_parser(generator).centres.half().contiguous()
        write_atomic(output, save({"centres": centres}))
    print(f"wrote {output}")


def _task(options: argparse.Namespace, folder: Path) -> tuple[Task, TrainConfig]:
    """What to train: as ``folder`` says when resuming, else by the preset."""
    from facersa.cipher.catalogue import load_teacher
    from facersa.generator.mobile_stylegan import load_mobile_stylegan
    from facersa.generator.parts import load_parser
    from facersa.judges.bisenet import load_bisenet
    from facersa.judges.networks import load_identity, load_landmarks, load_lpips
    from facersa.training.encoder import EncoderTask
    from facersa.training.loop import stored_run
    from facersa.training.mapper import MapperTask
    from facersa.training.preview import HeadTask
    from facersa.training.recipes import (
        encoder_preset,
        encoder_recipe_of,
        head_preset,
        mapper_preset,
        recipe_of,
    )

    device = options.device
    stored = stored_run(folder) if options.resume else None
    generator, identity = load_mobile_stylegan(device), load_identity(device)
    if options.what == "head":
        config = stored[0] if stored else head_preset(options.preset)
        return HeadTask(generator, identity, seed=config.seed), config
    lpips = load_lpips("alex", device)
    if options.what == "encoder":
        config, learned = encoder_preset(options.preset)
        if stored:
            config, learned = stored[0], encoder_recipe_of(stored[1])
        return EncoderTask(
            generator, identity, lpips, learned, seed=config.seed
        ), config
    config, recipe = mapper_preset(options.preset, options.mapper)
    if stored:
        config, recipe = stored[0], recipe_of(stored[1])
    task = MapperTask(
        generator,
        identity,
        load_landmarks(device),
        load_bisenet(options.bisenet, device)
        if options.bisenet
        else load_parser(device),
        lpips,
        recipe,
        teacher=load_teacher(recipe.teacher, device)
        if recipe.distillation_steps
        else None,
        seed=config.seed,
    )
    return task, config
