"""The commands that measure and train: ``compare``, ``evaluate``, ``train``, more."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facersa.cli.pictures import engine_of
from facersa.files import check_output

if TYPE_CHECKING:
    from torch import Tensor

    from facersa.cipher.catalogue import Mapper
    from facersa.cipher.rotation import RotationCipher


def show_compare(options: argparse.Namespace) -> None:
    """Say how alike two pictures are."""
    from facersa.evaluation.compare import compare
    from facersa.judges.panel import Panel
    from facersa.photo.images import load_image

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

    from facersa.evaluation.properties import evaluate
    from facersa.evaluation.results import table
    from facersa.evaluation.robustness import from_pixels
    from facersa.photo.images import load_image

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
            stratum="W" if photos else options.stratum,
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
    from facersa.evaluation.inversions import fidelity
    from facersa.generator.mobile_stylegan import load_generator
    from facersa.generator.openvino import Renderer
    from facersa.inversion.inverter import Inverter
    from facersa.people import people
    from facersa.photo.align import align

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
        stratum=options.stratum,
        psi=options.psi,
        what=f"generated people, {options.stratum}, psi {options.psi}",
    )


def _report(result: Mapping[str, Any], text: str, output: Path | None) -> None:
    from facersa.files import write_atomic

    print(text)
    if output is not None:
        write_atomic(output, (json.dumps(result, indent=1) + "\n").encode())


def _describe(cipher: RotationCipher | Mapper) -> str:
    from facersa.cipher.catalogue import fingerprint, kind_of
    from facersa.cipher.rotation import RotationCipher

    rows = list(cipher.layers)
    if isinstance(cipher, RotationCipher):
        return f"rotation, rows {rows}, kappa {cipher.kappa}"
    return f"{kind_of(cipher)} mapper, rows {rows}, weights {fingerprint(cipher)}"


def run_localise(options: argparse.Namespace) -> None:
    """Measure what each row of the code decides."""
    from facersa.evaluation.localisation import localise
    from facersa.evaluation.results import table
    from facersa.generator.mobile_stylegan import load_generator

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
    from facersa.cipher.catalogue import load_teacher
    from facersa.evaluation.ablation import ablate
    from facersa.evaluation.results import table
    from facersa.generator.mobile_stylegan import load_generator

    output = check_output(options.json) if options.json else None
    result = ablate(
        load_generator(),
        load_teacher("steered"),
        steps=options.steps,
        n=options.n,
        seed=options.seed,
    )
    _report(result, table(result), output)
