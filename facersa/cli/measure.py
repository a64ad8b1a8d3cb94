"""The commands that measure: ``compare``, ``evaluate``, ``localise``, ``ablate``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from facersa.cli.parser import Preset, Stratum, build_engine, command, refuse
from facersa.errors import FaceRSAError

if TYPE_CHECKING:
    from torch import Tensor

    from facersa.judges.panel import Panel

MEANINGS = {
    "id_train": "identity by the training judge: 1 the same picture, 0 strangers",
    "id_heldout": "identity by the held-out judge",
    "id_outside": "identity by the judge from outside, to whom nobody ever listened",
    "id_arcface": "raw cosine of your own network",
    "lpips": "perceptual distance of the pictures, 0 equal",
    "mse": "mean square error of the pixels on [0, 1]",
    "psnr": "in dB; 30 is close, 40 hard to see",
    "ssim": "structural similarity, 1 equal",
    "landmarks": "distance of the landmarks, 0 equal",
    "pose": "cosine of the head poses, 1 equal",
    "expression": "similarity of the expressions, 1 equal",
    "landmarks_outside": "distance of 468 landmarks, 0 equal",
    "gaze": "distance of the irises in widths of an eye, 0 equal",
    "expression_outside": "similarity of the expressions by another network",
}

ALIKE = ((0.02, "look equal"), (0.15, "are much alike"), (0.4, "are somewhat alike"))


def load_panel(arcface: str | None) -> Panel:
    """All judges, and the user's own network if one was given."""
    from facersa.judges.panel import Panel

    settings: dict[str, Any] = {"arcface": arcface} if arcface else {}
    return Panel(**settings)


@command("compare", "first", "second")
def show_compare(
    first: str, second: str, json: bool = False, arcface: str | None = None
) -> None:
    """Measure how alike two pictures of one size are.

    Identity, landmarks, pose and expression are those of the face at the place where
    the FIRST picture shows one.
    """
    from facersa.evaluation.compare import compare
    from facersa.photo.images import load_image

    figures = compare(load_image(first), load_image(second), load_panel(arcface))
    if json:
        click.echo(dumps(figures))
        return
    click.echo(verdict(figures))
    for name, value in figures.items():
        shown = "no face" if value is None else f"{value:.4f}"
        click.echo(f"{name:<18} {shown:>8}  {MEANINGS.get(name, '')}".rstrip())


def verdict(figures: Mapping[str, float | None]) -> str:
    """Two lines in words: whether it is one person, and how alike the pictures are.

    Each judge says "the same person" above its own threshold, which 1 % of pairs of
    different people exceed.
    """
    import torch

    from facersa.judges.calibration import JUDGES, calibration

    same = set()
    for judge in JUDGES:
        scale, identity = calibration(judge), figures[f"id_{judge}"]
        threshold = float(scale.identity(torch.tensor(scale.threshold)))
        same.add(None if identity is None else identity > threshold)
    if same == {True}:
        person = "the same person, by all judges"
    elif same == {False}:
        person = "somebody else, by all judges"
    elif None in same:
        person = "cannot tell whether it is the same person: a judge found no face"
    else:
        person = "cannot tell whether it is the same person: the judges disagree"
    distance = figures["lpips"] or 0.0
    alike = next((text for most, text in ALIKE if distance <= most), "are different")
    return f"{person}\nthe pictures {alike}"


@command("evaluate")
def run_evaluate(
    *,
    tables: bool = False,
    preset: Preset = "cpu",
    hifd: str | None = None,
    judges: bool = False,
    from_pixels: bool = False,
    inversion: bool = False,
    whole: bool = False,
    look: Literal["same", "any"] = "same",
    steps: int | None = None,
    keep_inversion: str | None = None,
    photo: tuple[str, ...] = (),
    n: int = 64,
    seed: int = 0,
    psi: float = 0.85,
    stratum: Stratum = "W",
    fit: int = 0,
    gallery: int = 500,
    output: str = "runs/judged",
    bits: int | None = None,
    cipher: str | None = None,
    weights: str | None = None,
    layers: tuple[int, ...] | None = None,
    kappa: float | None = None,
    generator: str | None = None,
    arcface: str | None = None,
    json: str | None = None,
) -> None:
    """Measure the properties (a) to (h) of a cipher, by three judges of identity."""
    if tables:
        run_tables(preset, seed=seed, arcface=arcface, file=json, hifd=hifd)
        return
    refuse("only --tables has presets and writes predictions", "preset", "hifd")
    import torch

    from facersa.cipher.description import label
    from facersa.evaluation import properties, robustness
    from facersa.evaluation.photographs import on_photographs
    from facersa.files import check_output, make_folder
    from facersa.inversion.kept import KeptInversions
    from facersa.inversion.search import project_config
    from facersa.photo.images import load_photo

    if not whole:
        refuse(
            "only --whole encrypts as the command encrypt does",
            "look",
            "steps",
            "keep_inversion",
        )
    if judges:
        refuse(
            "--judges measures all ciphers on generated people",
            *("cipher", "weights", "layers", "kappa", "bits", "from_pixels"),
            *("inversion", "whole", "photo", "fit", "generator", "arcface"),
        )
        if json:
            check_output(json)
        make_folder(output)
        run = {"n": n, "gallery": gallery, "seed": seed, "psi": psi}
        report(_by_all_judges(output, stratum=stratum, **run), json)
        return
    refuse("only --judges looks in a gallery", "gallery", "output")
    if whole:
        settings = "bits from_pixels inversion fit n psi stratum seed"
        refuse("--whole measures photographs", *settings.split())
        if not photo:
            raise FaceRSAError("--whole measures photographs; name them with --photo.")
    elif inversion:
        settings = "cipher weights layers kappa bits from_pixels fit"
        refuse("--inversion measures no cipher", *settings.split())
    elif from_pixels:
        refuse("--from-pixels uses codes of the cipher's own length", "bits")
        refuse("pixels hold codes of MobileStyleGAN only", "generator")
    else:
        refuse("only --from-pixels fits codes", "fit")
    if photo:
        unused = ["seed"] if inversion else []
        refuse("--photo replaces generated people", "n", "psi", "stratum", *unused)
    own = [*photo, *filter(None, (weights, generator, arcface))]
    if keep_inversion:
        check_output(keep_inversion, *own)
        own.append(keep_inversion)
    if json:
        check_output(json, *own)
    photos = [load_photo(path) for path in photo]
    people: dict[str, Any] = {"n": n, "seed": seed, "psi": psi, "stratum": stratum}
    own_panel: dict[str, Any] = {"panel": load_panel(arcface)} if arcface else {}
    if inversion:
        report(_inversions(generator, photos, **people | own_panel), json)
        return
    engine = build_engine(
        generator, cipher=cipher, weights=weights, layers=layers, kappa=kappa
    )
    if whole:
        config, same = project_config(steps), look == "same"
        keep = KeptInversions(Path(keep_inversion)) if keep_inversion else None
        result = on_photographs(
            engine, photos, config=config, keep=keep, same_look=same, **own_panel
        )
        report(result, json)
        return
    measured = engine.cipher(bits)
    inversions = [engine.invert(picture) for picture in photos] or None
    how = people | own_panel
    if inversions:
        how["psi"] = 1.0
    if from_pixels:
        how |= {"inversions": inversions, "fits": fit, "name": label(measured)}
        report(robustness.from_pixels(engine, **how), json)
        return
    if inversions:
        how["codes"] = torch.cat([found.ws for found in inversions])
    report(properties.evaluate(measured, engine.generator, **how), json)


def run_tables(
    preset: Preset,
    *,
    seed: int,
    arcface: str | None,
    file: str | None,
    hifd: str | None,
) -> None:
    """Tables 1 to 3 of the paper for every system; a stopped run goes on with ``file``.

    More than half an hour on one core; the preset smoke takes two minutes.
    """
    settings = "cipher weights layers kappa bits from_pixels inversion whole photo fit"
    refuse(
        "--tables measures every system on its own people",
        *settings.split(),
        *("n", "psi", "stratum", "look", "steps", "keep_inversion", "generator"),
        *("judges", "gallery", "output"),
    )
    from facersa.evaluation.tables import PRESETS, measure_tables
    from facersa.evaluation.verdicts import table_1
    from facersa.files import check_output, make_folder
    from facersa.generator.load import load_generator

    if file:
        check_output(file, *filter(None, [arcface]))
    folder = make_folder(hifd) if hifd else None
    own = (".json", ".yaml")  # folders of systems that were measured are replaced
    if folder and any(p.is_file() and p.suffix not in own for p in folder.rglob("*")):
        raise FaceRSAError(f"{folder} holds files of another kind; name a new folder.")
    result = measure_tables(
        load_generator(),
        PRESETS[preset],
        file,
        seed=seed,
        panel=load_panel(arcface),
        folder=folder,
    )
    click.echo(table_1(result))


def _by_all_judges(folder: str, **how: Any) -> dict[str, Any]:
    from facersa.cipher.catalogue import CATALOGUE, load_cipher
    from facersa.evaluation.verification import verify
    from facersa.generator.load import load_generator

    ciphers = {name: load_cipher(name) for name in CATALOGUE}
    return verify(ciphers, load_generator(), folder, **how)


def _inversions(
    backend: str | None,
    photos: Sequence[Tensor],
    *,
    n: int,
    seed: int,
    psi: float,
    stratum: Stratum,
    **judges: Any,
) -> dict[str, Any]:
    from facersa.evaluation.inversions import fidelity
    from facersa.generator.openvino import Renderer
    from facersa.inversion.inverter import Inverter, load_backend
    from facersa.people import people
    from facersa.photo.align import align

    inverter = Inverter(*load_backend(backend))
    generator = inverter.generator
    if photos:
        return fidelity(inverter, [align(photo).image for photo in photos], **judges)
    codes = people(generator, stratum, psi, n, seed=seed)
    pictures = list(Renderer(generator).stream(codes))
    judges |= {"codes": codes, "psi": psi, "stratum": stratum}
    what = f"generated people, {stratum}, psi {psi}"
    return fidelity(inverter, pictures, what=what, **judges)


def report(result: Mapping[str, Any], path: str | None) -> None:
    """Write a result as JSON where a file was named, and print its table."""
    from facersa.evaluation.results import table
    from facersa.files import write_atomic

    if path is not None:
        write_atomic(path, (dumps(result, indent=1) + "\n").encode())
    click.echo(table(result))


@command("localise")
def run_localise(
    people: int = 48,
    psi: float = 0.85,
    seed: int = 0,
    noise: bool = False,
    generator: str | None = None,
    json: str | None = None,
) -> None:
    """Measure which rows of the code hold identity: single rows, windows, groups."""
    from facersa.evaluation import localisation
    from facersa.files import check_output
    from facersa.generator.load import load_generator

    if json:
        check_output(json, *filter(None, [generator]))
    painter = load_generator(generator)
    result = localisation.localise(
        painter, people=people, psi=psi, seed=seed, noise=noise
    )
    report(result, json)


@command("ablate")
def run_ablate(
    steps: int = 160,
    n: int = 10,
    seeds: int = 3,
    seed: int = 0,
    output: str = "runs/ablation",
    json: str | None = None,
) -> None:
    """Measure what each loss and each remedy teaches the paper's mapper.

    Trainings are kept in the folder -o; a run that was stopped goes on there.
    """
    from facersa.evaluation import ablation
    from facersa.files import check_output, make_folder
    from facersa.generator.load import load_generator
    from facersa.training.distilled import load_judge

    if json:
        check_output(json)
    folder = make_folder(output)
    result = ablation.ablate(
        load_generator(), load_judge(), folder, steps=steps, n=n, seed=seed, seeds=seeds
    )
    report(result, json)
