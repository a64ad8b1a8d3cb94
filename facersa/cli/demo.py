"""The commands for a first try: ``fetch``, and ``demo``, the main job in one go."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from facersa.cli.parser import command

if TYPE_CHECKING:
    from torch import Tensor

FILES = ("photo", "inversion", "encrypted", "decrypted", "wrong", "contact_sheet")
PASSWORD, WRONG = "correct horse battery staple", "correct horse battery stable"


@command("fetch")
def fetch(licences: bool = False) -> None:
    """Download and verify all pretrained files; list their terms."""
    from facersa.assets import registry

    if not licences:
        registry.fetch_all()
    click.echo(registry.licences())
    if not licences:
        click.echo(f"\nAll files are in {registry.cache_folder()}.")


@command("demo", "photo")
def demo(photo: str | None = None, *, output: str, steps: int | None = None) -> None:
    """Encrypt a face, decrypt it, and leave pictures of every step.

    PHOTO is a photograph of yours; without it, a public-domain one.
    """
    from facersa.files import check_output, make_folder
    from facersa.photo.images import load_photo

    picture = load_photo(photo) if photo else demo_photo()
    private = photo is not None  # a photograph of yours is nobody else's to read
    folder = make_folder(output, 0o700 if private else 0o777)
    for name in FILES:
        check_output(folder / f"{name}.png", *filter(None, [photo]))
    run_demo(folder, picture, steps=steps, private=private)


def demo_photo() -> Tensor:
    """Eileen Collins, NASA, public domain: (1, 3, 512, 512), from scikit-image."""
    import numpy as np
    from skimage import data

    from facersa.photo.images import from_uint8

    return from_uint8(np.asarray(data.astronaut()))


def run_demo(
    folder: Path, picture: Tensor, *, steps: int | None = None, private: bool = False
) -> None:
    """Write a photograph, its encryption and both decryptions into ``folder``.

    Args:
        folder: exists already; files of the same names are replaced.
        picture: (1, 3, H, W), uint8 or in [-1, 1].
        steps: of the inversion; None for the default.
        private: make new files readable for the user only.

    Raises:
        FaceRSAError: as ``FaceRSA`` does.
    """
    from torchvision.transforms.functional import center_crop

    from facersa.cipher.typed import Secrets
    from facersa.figures.sheets import contact_sheet
    from facersa.files import write_atomic
    from facersa.inversion.search import project_config
    from facersa.judges.calibration import JUDGES
    from facersa.judges.panel import Panel
    from facersa.photo.images import png_bytes, to_float
    from facersa.photo.square import crop
    from facersa.pipeline import FaceRSA

    start = time.perf_counter()
    engine = FaceRSA()
    inversion = engine.invert(picture, config=project_config(steps))
    _say(start, "inverted")
    inverted = engine.renderer.full(inversion.ws)
    encrypted = engine.encrypt(inversion, Secrets((PASSWORD,)))
    decrypted = engine.decrypt(encrypted.data, Secrets((PASSWORD,)))
    wrong = engine.decrypt(encrypted.data, Secrets((WRONG,)))
    for name, data in (
        ("photo", png_bytes(picture)),
        ("inversion", png_bytes(inverted)),
        ("encrypted", encrypted.data),
        ("decrypted", decrypted.data),
        ("wrong", wrong.data),
    ):
        write_atomic(folder / f"{name}.png", data, private=private)
    _say(start, "encrypted and decrypted")
    faces = {
        "photograph": inversion.aligned.image,
        "inversion": inverted,
        "encrypted": encrypted.face,
        "decrypted": crop(decrypted.picture.photo, inversion.aligned.quad).image,
        "wrong password": wrong.face,
    }
    panel = Panel()
    reports = {name: panel.report(face) for name, face in faces.items()}
    click.echo("identity, 1: the same picture, 0: strangers (training / held-out /")
    click.echo("outside judge):")
    for first, second in (
        ("photograph", "inversion"),
        ("photograph", "encrypted"),
        ("photograph", "decrypted"),
        ("photograph", "wrong password"),
        ("encrypted", "wrong password"),
    ):
        figures = panel.identity_figures(reports[first], reports[second], "W", 1.0)
        said = " / ".join(f"{figures['id', judge]:.3f}" for judge in JUDGES)
        click.echo(f"  {first} ~ {second}: {said}")
    pairs = {
        "picture against photograph": (faces["photograph"], faces["decrypted"]),
        "code against inversion": (inverted, decrypted.face),
    }
    for name, pair in pairs.items():
        psnr = panel.pixel_figures(*pair)["psnr", None]
        click.echo(f"decrypted {name}: PSNR {psnr:.1f} dB on [0, 1]")
    photo = encrypted.picture.photo
    middle = center_crop(photo, min(photo.shape[-2:]))
    faces["encrypted, in the photo"] = to_float(middle)
    sheet = contact_sheet(list(faces.values()), list(faces))
    path = folder / "contact_sheet.png"
    write_atomic(path, png_bytes(sheet), private=private)
    _say(start, f"done; look at {path}")


def _say(start: float, text: str) -> None:
    click.echo(f"[{time.perf_counter() - start:6.1f} s] {text}", err=True)
