"""Row copying: the person from an encrypted picture, without a password.

A cipher edits some rows of the code, and the rows of one person resemble each other.
So an attacker reads the code of an encrypted *picture* with the encoder, copies rows
that are not edited over the edited ones, and paints. Which rows serve best is chosen
on other people. From the code itself (an open file) the attack is an upper bound.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from facersa.cipher.base import Cipher
from facersa.cipher.password import Password
from facersa.engine import Inversion
from facersa.errors import FaceRSAError
from facersa.evaluation.attacks import copy_row
from facersa.evaluation.results import Key, head, rows
from facersa.generator.openvino import PREVIEW
from facersa.judges.calibration import JUDGES
from facersa.judges.panel import JUDGED_SIDE, Panel, Report
from facersa.people import STRATA, Stratum, people
from facersa.photo.images import from_uint8, resize, to_uint8
from facersa.pipeline import FaceRSA

CHOOSING = 8  # other people, on whom the rows to copy are chosen
COARSE = 3  # of so many first unedited rows pairs are tried as well
KEPT = ("id", "same_person", "landmarks", "pose")
Copy = Callable[[Tensor], Tensor]


def copies(layers: Sequence[int], num_ws: int) -> dict[str, Copy]:
    """Ways to fill the edited rows of codes (B, num_ws, D) from the others, by name.

    "2": row 2 in all of them. "1+2": the mean of two. "1|2": row 1 in the lower half of
    the edited rows and row 2 in the upper one. "all": the mean of all unedited rows.
    """
    free = [row for row in range(num_ws) if row not in layers]
    low, high = layers[: len(layers) // 2], layers[len(layers) // 2 :]

    def mean(*sources: int) -> Copy:
        return lambda ws: copy_row(ws, layers, *sources)

    def halves(a: int, b: int) -> Copy:
        return lambda ws: copy_row(copy_row(ws, low, a), high, b)

    named = {str(row): mean(row) for row in free}
    for a, b in pairwise(free[:COARSE]):
        named |= {f"{a}+{b}": mean(a, b), f"{a}|{b}": halves(a, b)}
    return named | {"all": mean(*free)}


def best_copy(
    engine: FaceRSA, named: Mapping[str, Copy], readings: Tensor, codes: Tensor
) -> str:
    """The copy that makes readings (n, num_ws, D) look most like the people ``codes``.

    By the training judge, on previews.
    """

    def embedded(ws: Tensor) -> Tensor:
        previews = engine.renderer.stream(ws, PREVIEW)
        return torch.cat([engine.inverter.identity.embed(p) for p in previews])

    likeness = {}
    with torch.no_grad():
        targets = embedded(codes)
        for name, copy in named.items():
            forged = copy(readings)
            if torch.equal(forged, codes):  # nothing is nearer
                return name
            likeness[name] = float((embedded(forged) * targets).sum(1).mean())
    return max(likeness, key=likeness.__getitem__)


def rank_one(probes: Tensor, gallery: Tensor) -> list[float]:
    """For each of m probes (m, D): 1 if the gallery's embedding i is nearest, or 0.

    NaN where no face was detected in the probe; nobody undetected is found.
    """
    cosines = F.normalize(probes) @ F.normalize(gallery).T
    first = cosines.nan_to_num(-2.0).argmax(1) == torch.arange(len(probes))
    return first.float().where(~probes.isnan().any(1), torch.nan).tolist()


def copied_rows(
    engines: Sequence[FaceRSA],
    *,
    n: int = 70,
    seed: int = 0,
    psi: float = 0.85,
    strata: Sequence[Stratum] = STRATA,
    inversions: Sequence[Inversion] | None = None,
    panel: Panel | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Attack encrypted pictures of each engine's cipher by copying rows.

    Args:
        engines: one for each choice of edited rows, on one generator.
        n: generated people of each stratum, at least 2.
        seed: draws people and passwords.
        psi: truncation of the people.
        strata: of people.
        inversions: of photographs, instead of generated people.
        panel: judges that are loaded already.
        progress: show bars.

    Returns:
        A result, see ``results``. "property" is the edited rows and the stratum, "pair"
        what is compared with the person: the encrypted picture, what the attack makes
        of its pixels and what it makes of its code (of photographs also the inversion).
        "rank1" is the share of people who are found first in the gallery of all.
        "correlation" is that of a row read from the pixels with the row that painted
        them, both less the mean w. "copies" names what was copied.

    Raises:
        FaceRSAError: fewer than 2 people.
    """
    count = n if inversions is None else len(inversions)
    if count < 2:
        raise FaceRSAError(f"a gallery needs 2 people or more, got {count}; add some.")
    panel, strata = panel or Panel(), strata if inversions is None else ("W",)
    values: dict[Key, list[float]] = defaultdict(list)
    chosen: dict[str, str] = {}
    for stratum in strata:
        codes = people(engines[0].generator, stratum, psi, n + CHOOSING, seed)
        codes, others = codes[:n], codes[n:]
        if inversions is None:
            originals = _faces(engines[0], codes, "people", progress)
        else:
            codes = torch.cat([found.ws for found in inversions])
            originals = (found.aligned.image for found in inversions)
        gallery = [_report(panel, face) for face in originals]
        for engine in engines:
            cipher = engine.cipher()
            rows_of = f"{min(cipher.layers)}-{max(cipher.layers)}"
            name = rows_of if inversions is not None else f"{rows_of}, {stratum}"
            first = 1000 * (seed + 1)
            edited = _encrypted(cipher, codes, first)
            tried = _encrypted(cipher, others, first + count)
            guess = engine.inverter.guess
            readings = [guess(face) for face in _faces(engine, tried, name, progress)]
            named = copies(cipher.layers, engine.generator.num_ws)
            best = best_copy(engine, named, torch.cat(readings).cpu(), others)
            bound = best_copy(engine, named, tried, others)
            chosen |= {f"{name}, from pixels": best, f"{name}, from the code": bound}
            readings, reports = [], {"encrypted": list[Report]()}
            for face in _faces(engine, edited, name, progress):
                readings.append(guess(face))
                reports["encrypted"].append(_report(panel, face))
            found = torch.cat(readings).cpu()
            shown = {
                "from pixels": named[best](found),
                "from the code": named[bound](edited),
            }
            if inversions is not None:
                shown["inversion"] = codes
            for pair, ws in shown.items():
                faces = _faces(engine, ws, f"{name}, {pair}", progress)
                same = inversions is None and torch.equal(ws, codes)
                reports[pair] = (
                    gallery if same else [_report(panel, face) for face in faces]
                )
            for pair, seen in reports.items():
                for person, report in zip(gallery, seen, strict=True):
                    figures = panel.identity_figures(person, report, stratum, psi)
                    figures |= panel.attribute_figures(person, report, stratum, psi)
                    for (metric, judge), figure in figures.items():
                        if metric in KEPT:
                            values[name, pair, metric, judge].append(figure)
                for judge in JUDGES:
                    embedded = (
                        torch.stack([report.identity[judge] for report in side])
                        for side in (seen, gallery)
                    )
                    values[name, pair, "rank1", judge] = rank_one(*embedded)
            mean = engine.generator.w_avg.cpu()
            correlation = F.cosine_similarity(found - mean, edited - mean, dim=2)
            for row, of_people in enumerate(correlation.T.tolist()):
                values[f"{name}: read", f"row {row}", "correlation", None] = of_people
    what = "generated people" if inversions is None else "photographs"
    settings = {"n": count, "psi": psi, "choosing": CHOOSING}
    name = engines[0].cipher().name
    start = head("rows", cipher=name, pictures=what, settings=settings, seed=seed)
    return start | {"copies": chosen, "rows": rows(values)}


def _faces(engine: FaceRSA, ws: Tensor, name: str, progress: bool) -> Iterator[Tensor]:
    """The 8-bit pictures of codes (n, num_ws, D), one at a time."""
    faces = engine.renderer.stream(ws)
    for face in tqdm(faces, desc=name, total=len(ws), disable=not progress):
        yield from_uint8(to_uint8(face))


def _report(panel: Panel, face: Tensor) -> Report:
    """What the judges say; the small picture is all they look at."""
    return panel.report(resize(face, JUDGED_SIDE))


def _encrypted(cipher: Cipher, ws: Tensor, first: int) -> Tensor:
    """Codes (n, num_ws, D), each under a password of its own from seed ``first`` on."""
    passwords = [
        Password.random(cipher.num_bits, seed=first + index) for index in range(len(ws))
    ]
    return cipher(ws, torch.cat([password.code for password in passwords]))
