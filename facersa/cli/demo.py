"""The main job in one go: a photograph is encrypted and brought back.

Also prints what the judges say of every step, and leaves a contact sheet.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from torch import Tensor

from facersa.cipher.password import Secrets
from facersa.figures.sheets import contact_sheet
from facersa.files import write_atomic
from facersa.inversion.search import project_config
from facersa.judges.panel import Panel
from facersa.photo.images import from_uint8, save_png
from facersa.pipeline import FaceRSA

PASSWORD, WRONG = "correct horse battery staple", "correct horse battery stable"


def demo_photo() -> Tensor:
    """Eileen Collins, NASA, public domain: (1, 3, 512, 512), from scikit-image."""
    from skimage import data

    return from_uint8(np.asarray(data.astronaut()))


def run_demo(folder: Path, picture: Tensor, *, steps: int | None = None) -> None:
    """Write a photograph, its encryption and both decryptions into ``folder``.

    Args:
        folder: exists already; files of the same names are replaced.
        picture: (1, 3, H, W) in [-1, 1].
        steps: of the inversion; None for the default.

    Raises:
        FaceRSAError: as ``FaceRSA`` does.
    """
    start = time.perf_counter()
    engine = FaceRSA()
    inversion = engine.invert(picture, config=project_config(steps))
    _say(start, "inverted")
    inverted = engine.renderer.full(inversion.ws)
    encrypted = engine.encrypt(inversion, Secrets((PASSWORD,)))
    write_atomic(folder / "encrypted.png", encrypted.data)
    sealed = (folder / "encrypted.png").read_bytes()
    decrypted = engine.decrypt(sealed, Secrets((PASSWORD,)))
    wrong = engine.decrypt(sealed, Secrets((WRONG,)))
    save_png(picture, folder / "photo.png")
    save_png(inverted, folder / "inversion.png")
    write_atomic(folder / "decrypted.png", decrypted.data)
    write_atomic(folder / "wrong.png", wrong.data)
    _say(start, "encrypted and decrypted")
    faces = {
        "photograph": inversion.aligned.image,
        "inversion": inverted,
        "encrypted": encrypted.face,
        "decrypted": decrypted.face,
        "wrong password": wrong.face,
        "encrypted, in the photo": _square(encrypted.image),
    }
    panel = Panel()
    reports = {name: panel.report(face) for name, face in list(faces.items())[:5]}
    print("identity, 1 = the same picture, 0 = a stranger (training / held-out judge):")
    for first, second in (
        ("photograph", "inversion"),
        ("inversion", "encrypted"),
        ("inversion", "decrypted"),
        ("inversion", "wrong password"),
        ("encrypted", "wrong password"),
    ):
        found = panel.identity_figures(reports[first], reports[second], "W", 1.0)
        print(
            f"  {first} ~ {second}: {found['id', 'train']:.3f} / "
            f"{found['id', 'heldout']:.3f}"
        )
    pixels = panel.pixel_figures(inverted, decrypted.face)
    print(f"decrypted against inversion: PSNR {pixels['psnr', None]:.1f} dB on [0, 1]")
    sheet = contact_sheet(list(faces.values()), list(faces))
    save_png(sheet, folder / "contact_sheet.png")
    _say(start, f"done; look at {folder / 'contact_sheet.png'}")


def _square(image: Tensor) -> Tensor:
    height, width = image.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image[:, :, top : top + side, left : left + side]


def _say(start: float, what: str) -> None:
    print(f"[{time.perf_counter() - start:6.1f} s] {what}", file=sys.stderr)
