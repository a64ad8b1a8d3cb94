"""The commands that measure and train: ``compare``, ``evaluate``, ``train``, more."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facersa.encrypting import engine_of
from facersa.errors import FaceRSAError
from facersa.images import check_output

if TYPE_CHECKING:
    from torch import Tensor

    from facersa.mapper import Mapper
    from facersa.rotation import RotationCipher
    from facersa.training import Task, TrainConfig


def show_compare(options: argparse.Namespace) -> None:
    """Say how alike two pictures are."""
    from facersa.images import load_image
    from facersa.panel import Panel, compare

    first, second = load_image(options.first), load_image(options.second)
    figures = compare(first, second, Panel())
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:<12} {'no face' if value is None else f'{value:.4f}'}")


def run_evaluate(options: argparse.Namespace) -> None:
    """Measure a cipher, its ways from pixels, or inversions."""
    import torch

    from facersa.evaluation import evaluate, table
    from facersa.images import load_image
    from facersa.robustness import from_pixels

    output = check_output(options.json) if options.json else None
    photos = [load_image(path) for path in options.photo]
    if options.inversion:
        result = _inversions(options, photos)
        _report(result, table(result), output)
        return
    engine = engine_of(options)
    cipher = engine.cipher(options.bits)
    inversions = [engine.invert(photo) for photo in photos] or None
    if options.from_pixels:
        result = from_pixels(
            engine,
            name=_describe(cipher),
            n=options.n,
            seed=options.seed,
            psi=1.0 if photos else options.psi,
            inversions=inversions,
            fits=options.fit,
        )
        _report(result, table(result), output)
        return
    codes = torch.cat([i.ws for i in inversions]) if inversions else None
    result = evaluate(
        cipher,
        engine.generator,
        name=_describe(cipher),
        num_bits=cipher.num_bits,
        codes=codes,
        n=options.n,
        seed=options.seed,
        stratum="W" if photos else options.stratum,
        psi=1.0 if photos else options.psi,
        layers=cipher.layers,
    )
    _report(result, table(result), output)


def _inversions(
    options: argparse.Namespace, photos: Sequence[Tensor]
) -> dict[str, Any]:
    from facersa.alignment import align
    from facersa.fidelity import fidelity, people
    from facersa.generator import load_generator
    from facersa.inverter import Inverter
    from facersa.rendering import Renderer

    generator = load_generator()
    if photos:
        faces = [align(photo).image for photo in photos]
        return fidelity(Inverter(generator), faces)
    codes = people(
        generator, options.stratum, options.psi, options.n, seed=options.seed
    )
    pictures = list(Renderer(generator).stream(codes))
    return fidelity(
        Inverter(generator),
        pictures,
        codes=codes,
        psi=options.psi,
        what=f"generated people, {options.stratum}, psi {options.psi}",
    )


def _report(result: Mapping[str, Any], text: str, output: Path | None) -> None:
    from facersa.images import write_atomic

    print(text)
    if output is not None:
        write_atomic(output, (json.dumps(result, indent=1) + "\n").encode())


def _describe(cipher: RotationCipher | Mapper) -> str:
    from facersa.mapper import fingerprint, kind_of
    from facersa.rotation import RotationCipher

    rows = list(cipher.layers)
    if isinstance(cipher, RotationCipher):
        return f"rotation, rows {rows}, kappa {cipher.kappa}"
    return f"{kind_of(cipher)} mapper, rows {rows}, weights {fingerprint(cipher)}"


def run_localise(options: argparse.Namespace) -> None:
    """Measure what each row of the code decides."""
    from facersa.generator import load_generator
    from facersa.localisation import localise, table

    output = check_output(options.json) if options.json else None
    result = localise(
        load_generator(),
        people=options.people,
        psi=options.psi,
        seed=options.seed,
        noise=options.noise,
    )
    _report(result, table(result), output)


def run_ablate(options: argparse.Namespace) -> None:
    """Measure what each choice in the paper's mapper does."""
    from facersa.ablation import ablate, table
    from facersa.generator import load_generator
    from facersa.mapper import load_teacher

    output = check_output(options.json) if options.json else None
    result = ablate(
        load_generator(),
        load_teacher("steered"),
        steps=options.steps,
        n=options.n,
        seed=options.seed,
    )
    _report(result, table(result), output)


def run_train(options: argparse.Namespace) -> None:
    """Train one of the networks, or go on with a run."""
    import torch
    from safetensors.torch import save

    from facersa.generator import load_generator
    from facersa.images import write_atomic
    from facersa.parsing import fit_parser
    from facersa.rotation import WStatistics
    from facersa.training import open_run, train

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
    generator = load_generator(options.device)
    if options.what == "rotation":
        output = folder / "w_stats.safetensors"
        WStatistics.of_generator(generator).save(output)
    elif options.what == "compact":
        from facersa.compact import FILE, train_compact
        from facersa.inpixels import CODE_BITS

        output = folder / FILE
        write_atomic(output, train_compact(CODE_BITS).save())
    else:
        output = folder / "parser.safetensors"
        centres = fit_parser(generator).centres.half().contiguous()
        write_atomic(output, save({"centres": centres}))
    print(f"wrote {output}")


def _task(options: argparse.Namespace, folder: Path) -> tuple[Task, TrainConfig]:
    """What to train: as ``folder`` says when resuming, else by the preset."""
    from facersa.bisenet import load_bisenet
    from facersa.encoder_task import EncoderTask
    from facersa.generator import load_generator
    from facersa.head_task import HeadTask
    from facersa.judges import load_identity, load_landmarks, load_lpips
    from facersa.mapper import load_teacher
    from facersa.mapper_task import MapperTask
    from facersa.parsing import load_parser
    from facersa.recipes import (
        encoder_preset,
        encoder_recipe_of,
        mapper_preset,
        recipe_of,
    )
    from facersa.training import PRESETS, stored_run

    device = options.device
    stored = stored_run(folder) if options.resume else None
    generator, identity = load_generator(device), load_identity(device)
    if options.what == "head":
        config = stored[0] if stored else PRESETS[options.preset]
        return HeadTask(generator, identity), config
    lpips = load_lpips("alex", device)
    if options.what == "encoder":
        config, learned = encoder_preset(options.preset)
        if stored:
            config, learned = stored[0], encoder_recipe_of(stored[1])
        return EncoderTask(generator, identity, lpips, learned), config
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
        if recipe.imitation_steps
        else None,
    )
    return task, config
