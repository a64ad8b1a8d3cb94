"""How well decryption survives a chat program, a photo site, a smaller copy.

People are encrypted, the file loses its chunk, the pixels go through what happens
to pictures, and what is decrypted from them is compared with what the intact file
decrypts to. For comparison, codes are also recovered without the watermark, and then
decrypted: read off the anonymised pixels by the encoder, or fitted to them by a search.
Where people come from W, one search looks in W for a person whose encryption paints the
picture.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from facersa.cipher.base import Cipher
from facersa.cipher.password import Password
from facersa.cipher.typed import Secrets
from facersa.engine import Inversion
from facersa.errors import SealedError
from facersa.evaluation.results import Key, head, rows
from facersa.inversion.inverter import Inverter
from facersa.inversion.search import ProjectConfig
from facersa.judges.calibration import JUDGES
from facersa.judges.panel import Panel, Report
from facersa.people import Stratum, people
from facersa.photo.images import (
    decode_image,
    from_uint8,
    jpeg_bytes,
    png_bytes,
    resample,
    to_uint8,
)
from facersa.photo.square import Aligned
from facersa.pipeline import FaceRSA


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
    """A generated person (1, num_ws, 512) as if a photograph had been inverted."""
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
    """Recover codes from an encrypted face without a watermark.

    Args:
        inverter: with the encoder and the search.
        cipher: that encrypted it.
        face: (1, 3, R, R) in [-1, 1].
        e: the password.
        config: of the searches; None leaves them out.
        other: another password, given where the person comes from W: then also search
            in W for a person whose encryption, under either, paints the picture.

    Returns:
        For each method, a code (1, num_ws, 512) that should paint ``face``, and the
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
    """Encryption on the CPU, where the cipher is, of codes on any device."""
    return lambda ws: cipher(ws.cpu(), password.code).to(ws.device)


def from_pixels(
    engine: FaceRSA,
    *,
    name: str = "rotation",
    n: int = 16,
    seed: int = 0,
    stratum: Stratum = "W",
    psi: float = 0.85,
    inversions: list[Inversion] | None = None,
    fits: int = 0,
    search: ProjectConfig | None = None,
    panel: Panel | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Measure decryption from changed pixels, on faces cropped to full size.

    Args:
        engine: the settings.
        name: of its cipher, for the report.
        n: generated people, where no ``inversions`` are given.
        seed: draws them; the same people as those of ``evaluate``.
        stratum: of these people, and of the judges' calibration; "W" for photographs.
        psi: their truncation.
        inversions: of photographs, to use instead.
        fits: for so many people also fit codes to the unmarked anonymised pixels, as
            ``without_mark`` does; the search in W only for generated people of W.
        search: its configuration; the default one if not given.
        panel: judges that are loaded already.
        progress: show a bar.

    Returns:
        A result, see ``results``: "pair" is the change, "read" the share of pictures
        whose watermark could be decoded; where it could not, identity counts as 0, a
        stranger's. "mark" compares the watermarked encrypted picture with the plain
        one; "rounding" the person with the compact code of them. "nearer" is the share
        of people whose picture is fitted better, by LPIPS, under the right password
        than under a wrong one.
    """
    in_w = inversions is None and stratum == "W"
    if inversions is None:
        codes = people(engine.generator, stratum, psi, n, seed)
        inversions = [painted(engine, ws) for ws in codes.split(1)]
    panel, cipher, first = panel or Panel(), engine.cipher(), 1000 * (seed + 1)
    inverter, config = Inverter(engine.generator), search or ProjectConfig()
    values: dict[Key, list[float]] = defaultdict(list)

    def note(pair: str, a: Report, b: Report) -> None:
        figures = panel.identity_figures(a, b, stratum, psi)
        figures |= panel.pixel_figures(a.picture, b.picture)
        for key, figure in figures.items():
            values["pixels", pair, *key].append(figure)

    def report(picture: Tensor) -> Report:
        return panel.report(from_uint8(to_uint8(picture)))

    for index, inversion in enumerate(
        tqdm(inversions, desc="from pixels", disable=not progress)
    ):
        e = Password.random(cipher.num_bits, seed=first + index)
        right = Secrets(codes=(e.inverse,))
        encrypted = engine.encrypt(inversion, Secrets(codes=(e,)), crop=True)
        stripped = png_bytes(encrypted.image)
        intact = engine.decrypt(encrypted.data, right)
        target = report(intact.image)
        note("mark", report(encrypted.face), report(encrypted.image))
        note("rounding", report(engine.renderer.full(inversion.ws)), target)
        for kind, change in CHANGES.items():
            try:
                decrypted = engine.decrypt(change(stripped), right, from_pixels=True)
            except SealedError:
                values["pixels", kind, "read", None].append(0.0)
                for judge in JUDGES:
                    values["pixels", kind, "id", judge].append(0.0)
                continue
            values["pixels", kind, "read", None].append(1.0)
            same = torch.equal(decrypted.image, intact.image)
            note(kind, target, target if same else report(decrypted.image))
        other = Password.random(cipher.num_bits, seed=first + len(inversions) + index)
        readings = without_mark(
            inverter,
            cipher,
            from_uint8(to_uint8(encrypted.face)),
            e,
            config if index < fits else None,
            other if in_w else None,
        )
        for kind, (ws, password) in readings.items():
            copy = engine.renderer.full(ws)
            note(f"{kind}: the picture", report(encrypted.face), report(copy))
            back = engine.renderer.full(cipher(ws, password.inverse.code))
            note(f"{kind}: decrypted", target, report(back))
        if IN_W in readings:
            near, far = (
                values["pixels", f"{kind}: the picture", "lpips", None][-1]
                for kind in (IN_W, IN_W_WRONG)
            )
            values["pixels", IN_W, "nearer", None].append(float(near < far))
    settings = {
        "n": len(inversions),
        "stratum": stratum,
        "psi": psi,
        "changes": list(CHANGES),
    }
    start = head("pixels", cipher=name, settings=settings, seed=seed)
    return start | {"rows": rows(values)}
