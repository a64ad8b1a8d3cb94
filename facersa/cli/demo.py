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
    from facersa.files import check_output
    from facersa.photo.images import load_photo

    picture = load_photo(photo) if photo else demo_photo()
    mode = 0o700 if photo else 0o777  # a photograph of yours is nobody else's to read
    Path(output).mkdir(mode, parents=True, exist_ok=True)
    for name in FILES:
        check_output(Path(output, f"{name}.png"), *filter(None, [photo]))
    run_demo(Path(output), picture, steps=steps)


def demo_photo() -> Tensor:
    """Eileen Collins, NASA, public domain: (1, 3, 512, 512), from scikit-image."""
    import numpy as np
    from skimage import data

    from facersa.photo.images import from_uint8

    return from_uint8(np.asarray(data.astronaut()))


def run_demo(folder: Path, picture: Tensor, *, steps: int | None = None) -> None:
    """Write a photograph, its encryption and both decryptions into ``folder``.

    Args:
        folder: exists already; files of the same names are replaced.
        picture: (1, 3, H, W), uint8 or in [-1, 1].
        steps: of the inversion; None for the default.

    Raises:
        FaceRSAError: as ``FaceRSA`` does.
    """
    from facersa.cipher.typed import Secrets
    from facersa.figures.sheets import contact_sheet
    from facersa.files import write_atomic
    from facersa.inversion.search import project_config
    from facersa.judges.calibration import JUDGES
    from facersa.judges.panel import Panel
    from facersa.photo.images import save_png, to_float
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
    save_png(picture, folder / "photo.png")
    save_png(inverted, folder / "inversion.png")
    write_atomic(folder / "encrypted.png", encrypted.data)
    write_atomic(folder / "decrypted.png", decrypted.data)
    write_atomic(folder / "wrong.png", wrong.data)
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
    faces["encrypted, in the photo"] = to_float(_square(encrypted.picture.photo))
    sheet = contact_sheet(list(faces.values()), list(faces))
    save_png(sheet, folder / "contact_sheet.png")
    _say(start, f"done; look at {folder / 'contact_sheet.png'}")


def _square(image: Tensor) -> Tensor:
    """The middle square of a picture (1, 3, H, W)."""
    height, width = image.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image[:, :, top : top + side, left : left + side]


def _say(start: float, text: str) -> None:
    click.echo(f"[{time.perf_counter() - start:6.1f} s] {text}", err=True)
