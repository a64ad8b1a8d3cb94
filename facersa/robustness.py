"""What is left of a picture's code after a chat program, a photo site, a small copy.

People are encrypted, the file loses its chunk, the pixels go through what happens
to pictures, and what is decrypted from them is compared with what the intact file
decrypts to. Beside it stands what there is without a mark: an encoder that reads a code
off the anonymised pixels, or a search that fits one to them, and decrypting that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from facersa.errors import SealedError
from facersa.evaluation import FIRST_SEED, rows_of
from facersa.images import (
    decode_image,
    from_uint8,
    jpeg_bytes,
    png_bytes,
    resample,
    to_uint8,
)
from facersa.inverter import Inverter
from facersa.metrics import sample_stratum
from facersa.panel import Panel, Report
from facersa.password import Password, Secrets
from facersa.pipeline import FaceRSA, Inversion
from facersa.projection import ProjectConfig
from facersa.squares import Aligned


def recompress(quality: int, data: bytes) -> bytes:
    """A JPEG of ``quality`` of a picture file."""
    return jpeg_bytes(decode_image(data), quality=quality)


def rescale(
    share: float, data: bytes, *, back: bool = True, method: str = "bicubic"
) -> bytes:
    """A PNG of a picture file at ``share`` of its sides, and back to them."""
    levels = to_uint8(decode_image(data))[0]
    height, width = levels.shape[:2]
    levels = resample(levels, (round(width * share), round(height * share)), method)
    if back:
        levels = resample(levels, (width, height), method)
    return png_bytes(from_uint8(levels))


Change = Callable[[bytes], bytes]
CHANGES: Mapping[str, Change] = {
    "PNG": lambda data: data,
    "JPEG 95": lambda data: recompress(95, data),
    "JPEG 85": lambda data: recompress(85, data),
    "JPEG 75": lambda data: recompress(75, data),
    "JPEG 50": lambda data: recompress(50, data),
    "half and back": lambda data: rescale(0.5, data),
    "half and back, bilinear": lambda data: rescale(0.5, data, method="bilinear"),
    "half": lambda data: rescale(0.5, data, back=False),
    "JPEG 95, 85, 75, half and back": lambda data: rescale(
        0.5, recompress(75, recompress(85, recompress(95, data)))
    ),
    "half, JPEG 75": lambda data: recompress(75, rescale(0.5, data, back=False)),
    "four fifths, JPEG 85": lambda data: recompress(85, rescale(0.8, data, back=False)),
    "a third": lambda data: rescale(1 / 3, data, back=False),
}


def painted(engine: FaceRSA, ws: Tensor) -> Inversion:
    """A generated person (1, 16, 512) as if a photograph of them had been inverted."""
    face = engine.renderer.full(ws)
    side = face.shape[-1]
    corners = np.array([[0, 0], [0, side], [side, side], [side, 0]], dtype=float)
    return Inversion(face, Aligned(face, corners, (side, side)), ws)


def from_pixels(
    engine: FaceRSA,
    *,
    name: str = "rotation",
    n: int = 16,
    seed: int = 0,
    psi: float = 0.85,
    inversions: list[Inversion] | None = None,
    fits: int = 0,
    search: ProjectConfig | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Measure decryption from changed pixels, on faces cropped to 1024 x 1024.

    Args:
        engine: the settings.
        name: of its cipher, for the report.
        n: generated people, where no ``inversions`` are given.
        seed: draws them; the same people as those of ``evaluate``.
        psi: their truncation.
        inversions: of photographs, to use instead.
        fits: for so many people also fit a code to the unmarked anonymised pixels.
        search: how; the default search where none is given.
        progress: show a bar.

    Returns:
        A dictionary ready for JSON, rows as those of ``evaluate``: "pair" is the
        change, "read" the share of pictures whose code was found, and a picture that
        was lost counts as a stranger, with identity 0. "mark" compares the marked
        encrypted picture with the unmarked one; "rounding" the person with what a
        compact code keeps of them.
    """
    if inversions is None:
        start = FIRST_SEED + 2 * seed * n
        codes = sample_stratum(engine.generator, "W", psi, n, first_seed=start)
        inversions = [painted(engine, ws) for ws in codes.split(1)]
    panel, cipher = Panel(), engine.cipher()
    inverter = Inverter(engine.generator)
    values: dict[tuple[str, str, str | None], list[float]] = defaultdict(list)

    def note(pair: str, a: Report, b: Report) -> None:
        identity = panel.identity_figures(a, b, "W", psi)
        pixels = panel.pixel_figures(a.picture, b.picture)
        for (metric, judge), value in (*identity.items(), *pixels.items()):
            values[pair, metric, judge].append(value)

    def report(picture: Tensor) -> Report:
        return panel.report(from_uint8(to_uint8(picture)))

    people = tqdm(inversions, desc="from pixels", disable=not progress)
    for index, inversion in enumerate(people):
        e = Password.random(cipher.num_bits, seed=1000 * (seed + 1) + index)
        right = Secrets(codes=(e.inverse,))
        encrypted = engine.encrypt(inversion, Secrets(codes=(e,)), crop=True)
        stripped = png_bytes(encrypted.image)
        intact = engine.decrypt(encrypted.data, right)
        wanted = report(intact.image)
        note("mark", report(encrypted.face), report(encrypted.image))
        note("rounding", report(engine.renderer.full(inversion.ws)), wanted)
        for kind, change in CHANGES.items():
            try:
                found = engine.decrypt(change(stripped), right, from_pixels=True)
            except SealedError:
                values[kind, "read", None].append(0.0)
                for judge in ("train", "heldout"):
                    values[kind, "id", judge].append(0.0)
                continue
            values[kind, "read", None].append(1.0)
            same = torch.equal(found.image, intact.image)
            note(kind, wanted, wanted if same else report(found.image))
        face = from_uint8(to_uint8(encrypted.face))
        readings = {"encoder": inverter.guess(face).cpu()}
        if index < fits:
            config = search or ProjectConfig()
            for kind, guess in (("fit", False), ("fit from the encoder", True)):
                readings[kind] = inverter.find(
                    face, config=config, guess=guess, progress=False
                )
        for kind, ws in readings.items():
            copy = engine.renderer.full(ws)
            note(f"{kind}: the picture", report(encrypted.face), report(copy))
            back = engine.renderer.full(cipher(ws, e.inverse.code))
            note(f"{kind}: decrypted", wanted, report(back))
    return {
        "cipher": name,
        "seed": seed,
        "settings": {"n": len(inversions), "psi": psi, "changes": list(CHANGES)},
        "versions": {"facersa": version("facersa"), "torch": torch.__version__},
        "rows": rows_of({("pixels", *key): found for key, found in values.items()}),
        "attacks": [],
    }
