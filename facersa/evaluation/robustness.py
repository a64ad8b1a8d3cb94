"""What is left of a picture's code after a chat program, a photo site, a small copy.

People are encrypted, the file loses its chunk, the pixels go through what happens
to pictures, and what is decrypted from them is compared with what the intact file
decrypts to. Beside it stands what there is without a mark: an encoder that reads a code
off the anonymised pixels, or a search that fits one to them, and decrypting that. And,
where people come from W, a search in that small family for one whom the password takes
to the picture.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from facersa.cipher.base import Cipher
from facersa.cipher.password import Password, Secrets
from facersa.errors import SealedError
from facersa.evaluation.results import rows_of
from facersa.inversion.inverter import Inverter
from facersa.inversion.search import ProjectConfig
from facersa.judges.panel import Panel, Report
from facersa.people import FIRST_SEED, sample_stratum
from facersa.photo.images import (
    decode_image,
    from_uint8,
    jpeg_bytes,
    png_bytes,
    resample,
    to_uint8,
)
from facersa.photo.square import Aligned
from facersa.pipeline import FaceRSA, Inversion


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

IN_W, IN_W_WRONG = "fit in W", "fit in W, wrong password"


def painted(engine: FaceRSA, ws: Tensor) -> Inversion:
    """A generated person (1, 16, 512) as if a photograph of them had been inverted."""
    face = engine.renderer.full(ws)
    side = face.shape[-1]
    corners = np.array([[0, 0], [0, side], [side, side], [side, 0]], dtype=float)
    return Inversion(face, Aligned(face, corners, (side, side)), ws)


def without_mark(
    inverter: Inverter,
    cipher: Cipher,
    face: Tensor,
    e: Password,
    config: ProjectConfig | None,
    other: Password | None = None,
) -> dict[str, tuple[Tensor, Password]]:
    """Read codes off an encrypted face without any mark.

    Args:
        inverter: with the encoder and the search.
        cipher: that encrypted it.
        face: (1, 3, R, R) in [-1, 1].
        e: the password.
        config: of the searches; None leaves only the encoder's reading.
        other: another password, where the person comes from W: search there, for one
            whose encryption paints the picture, under either.

    Returns:
        For each way of reading, a code (1, 16, 512) that should paint ``face``, and the
        password whose inverse should give the person.
    """
    readings = {"encoder": (inverter.guess(face).cpu(), e)}
    if config is None:
        return readings
    for kind, guess in (("fit", False), ("fit from the encoder", True)):
        ws = inverter.find(face, config=config, guess=guess, progress=False)
        readings[kind] = ws, e
    if other is None:
        return readings
    for kind, password in ((IN_W, e), (IN_W_WRONG, other)):
        through = _under(cipher, password)
        ws = inverter.find(
            face,
            config=replace(config, w_share=1.0),
            guess=False,
            through=through,
            progress=False,
        )
        readings[kind] = through(ws), password
    return readings


def _under(cipher: Cipher, password: Password) -> Callable[[Tensor], Tensor]:
    """Encryption, on a processor as the cipher is, of codes from wherever they are."""
    return lambda ws: cipher(ws.cpu(), password.code).to(ws.device)


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
        fits: for so many people also fit codes to the unmarked anonymised pixels, as
            ``without_mark`` does; in W only where no ``inversions`` are given.
        search: how; the default search where none is given.
        progress: show a bar.

    Returns:
        A dictionary ready for JSON, rows as those of ``evaluate``: "pair" is the
        change, "read" the share of pictures whose code was found, and a picture that
        was lost counts as a stranger, with identity 0. "mark" compares the marked
        encrypted picture with the unmarked one; "rounding" the person with what a
        compact code keeps of them. "nearer" is the share of people whose picture is
        fitted better, by LPIPS, under the right password than under a wrong one.
    """
    in_w = inversions is None
    if inversions is None:
        start = FIRST_SEED + 2 * seed * n
        codes = sample_stratum(engine.generator, "W", psi, n, first_seed=start)
        inversions = [painted(engine, ws) for ws in codes.split(1)]
    panel, cipher, first = Panel(), engine.cipher(), 1000 * (seed + 1)
    inverter, config = Inverter(engine.generator), search or ProjectConfig()
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
        e = Password.random(cipher.num_bits, seed=first + index)
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
        other = Password.random(cipher.num_bits, seed=first + len(inversions) + index)
        readings = without_mark(
            inverter,
            cipher,
            face,
            e,
            config if index < fits else None,
            other if in_w else None,
        )
        for kind, (ws, password) in readings.items():
            copy = engine.renderer.full(ws)
            note(f"{kind}: the picture", report(encrypted.face), report(copy))
            back = engine.renderer.full(cipher(ws, password.inverse.code))
            note(f"{kind}: decrypted", wanted, report(back))
        if IN_W in readings:
            near, far = (
                values[f"{kind}: the picture", "lpips", None][-1]
                for kind in (IN_W, IN_W_WRONG)
            )
            values[IN_W, "nearer", None].append(float(near < far))
    return {
        "cipher": name,
        "seed": seed,
        "settings": {"n": len(inversions), "psi": psi, "changes": list(CHANGES)},
        "versions": {"facersa": version("facersa"), "torch": torch.__version__},
        "rows": rows_of({("pixels", *key): found for key, found in values.items()}),
        "attacks": [],
    }
