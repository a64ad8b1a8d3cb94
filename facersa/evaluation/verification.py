"""Hidden from whom? Properties (b), (d) and (e) of every cipher, by every judge.

A cosine says little. What counts is what a recogniser does with it: whether it accepts
a pair at a false match rate of 1 % or .1 %, whether it finds the person in a gallery,
how well it could do with any threshold. Thresholds come from a gallery of generated
strangers. Two references need no cipher: rows of a stranger in place of the person's.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from facersa.cipher.base import Cipher
from facersa.errors import FaceRSAError
from facersa.evaluation.judged import JudgedPictures
from facersa.evaluation.localisation import exchange
from facersa.evaluation.properties import property_codes
from facersa.evaluation.results import Interval, Key, head, rows
from facersa.generator.base import Generator
from facersa.generator.openvino import Renderer
from facersa.judges.calibration import JUDGES, MIN_PAIRS, calibration
from facersa.judges.panel import Panel, Report
from facersa.people import CALIBRATED, Stratum, evaluated_seeds, sample_stratum

PAIRS = (
    ("I", "Ie1"),  # (b)
    ("I", "Ie1d'"),  # (d), a wrong password gives neither the person ...
    ("Ie1", "Ie1d'"),  # ... nor the encrypted one
    ("Ie1", "Ie2"),  # (e)
    ("Ie1", "Ie1^"),  # one flipped bit
)
PAIR = "I~Ie1"  # in which a person is looked for
NAMES = ("Ie1", "Ie2", "Ie1^", "Ie1d'")
REFERENCES: Mapping[str, tuple[int, ...]] = {
    "a stranger's rows 5-8": tuple(range(5, 9)),
    "a stranger's rows 3-8": tuple(range(3, 9)),
}
SAME, STRANGERS = "the same person", "strangers"  # two more cases, of the judges
LIGHT = tuple(range(9, 16))  # rows that change colours and light, not the person
RATES = (0.01, 0.001)  # false match rates
METRIC = {0.01: "same_person", 0.001: "same_person_strict"}
GRID = tuple(round(float(x), 6) for x in np.geomspace(1e-3, 1, 31))  # of the curves
RESAMPLES = 300  # of an equal error rate
TOP = 10  # of a gallery
GALLERY = CALIBRATED.start + 100_000  # first seed
DONORS = 400_000  # seeds between a person and the first donor


def equal_error_rate(genuine: np.ndarray, impostors: np.ndarray) -> float:
    """The error at the threshold where both kinds of error are equally frequent.

    ``genuine`` are cosines of pairs that should be accepted, ``impostors`` of others.
    A half means that no threshold tells them apart.
    """
    genuine, impostors = np.sort(genuine.ravel()), np.sort(impostors.ravel())
    thresholds = np.concatenate([genuine, impostors])
    missed = np.searchsorted(genuine, thresholds, "right") / len(genuine)
    matched = 1 - np.searchsorted(impostors, thresholds, "right") / len(impostors)
    best = np.abs(missed - matched).argmin()
    return float(missed[best] + matched[best]) / 2


def _interval(genuine: np.ndarray, impostors: np.ndarray) -> Interval:
    """Of the equal error rate of n probes (n,) and their impostors (n, k)."""
    random = np.random.default_rng(0)
    picks = random.integers(len(genuine), size=(RESAMPLES, len(genuine)))
    found = [equal_error_rate(genuine[pick], impostors[pick]) for pick in picks]
    low, high = np.quantile(found, [0.025, 0.975])
    rate = equal_error_rate(genuine, impostors)
    return Interval(rate, float(low), float(high), len(genuine))


def thresholds_of(cosines: np.ndarray, rates: Sequence[float]) -> list[float]:
    """Cosines that at most these shares of strangers exceed."""
    return [float(np.quantile(cosines, 1 - r, method="higher")) for r in rates]


class Hiding:
    """What judges say of pairs of pictures, and in a gallery of strangers.

    Args:
        panel: gives the figures of a pair.
        gallery: reports of strangers, one a person.
        stratum: of the people, for the judges' scales.
        psi: their truncation.
    """

    def __init__(
        self, panel: Panel, gallery: Sequence[Report], stratum: Stratum, psi: float
    ) -> None:
        self.panel, self.stratum, self.psi = panel, stratum, psi
        self.values: dict[Key, list[float]] = defaultdict(list)
        self.intervals: dict[Key, Interval] = {}
        self.scores: dict[str, dict[str, np.ndarray]] = {judge: {} for judge in JUDGES}
        seen = [report for report in gallery if _everybody_sees(report)]
        self.crowd = {judge: _embeddings(seen, judge) for judge in JUDGES}
        self.strangers = {judge: _pairs(self.crowd[judge]) for judge in JUDGES}
        self.lines = {
            judge: thresholds_of(self.strangers[judge], RATES) for judge in JUDGES
        }

    def compare(
        self, case: str, pair: str, one: Sequence[Report], other: Sequence[Report]
    ) -> None:
        """Take down all figures of pairs, person by person."""
        for a, b in zip(one, other, strict=True):
            figures = self.panel.identity_figures(a, b, self.stratum, self.psi)
            figures |= self.panel.attribute_figures(a, b, self.stratum, self.psi)
            for judge in JUDGES:
                cosine = figures["id_raw", judge]
                for rate, line in zip(RATES, self.lines[judge], strict=True):
                    accepted = math.nan if math.isnan(cosine) else float(cosine > line)
                    figures[METRIC[rate], judge] = accepted
            for (metric, who), figure in figures.items():
                self.values[case, pair, metric, who].append(figure)

    def search(self, case: str, one: Sequence[Report], other: Sequence[Report]) -> None:
        """Look for each person in the gallery, by the second picture of a pair."""
        for judge in JUDGES:
            targets, probes = _embeddings(one, judge), _embeddings(other, judge)
            whole = ~(targets.isnan().any(1) | probes.isnan().any(1))
            genuine = (targets * probes).sum(1)[whole].numpy()
            impostors = (probes[whole] @ self.crowd[judge].T).numpy()
            self.scores[judge][case] = genuine
            if not len(genuine):
                continue
            nearer = (impostors > genuine[:, None]).sum(1)
            self.intervals[case, PAIR, "eer", judge] = _interval(genuine, impostors)
            self.values[case, PAIR, "rank1", judge] = (nearer < 1).tolist()
            self.values[case, PAIR, "rank10", judge] = (nearer < TOP).tolist()

    def curves(self) -> dict[str, Any]:
        """For each judge the cosine at each rate of ``GRID``, and who lies above it."""
        found: dict[str, Any] = {}
        for judge in JUDGES:
            lines = thresholds_of(self.strangers[judge], GRID)
            above = {
                case: [float((cosines > line).mean()) for line in lines]
                for case, cosines in self.scores[judge].items()
                if len(cosines)
            }
            found[judge] = {"cosine": lines, "above": above}
        return found


def verify(
    ciphers: Mapping[str, Cipher],
    generator: Generator,
    folder: str | Path,
    *,
    n: int = 40,
    gallery: int = 500,
    seed: int = 0,
    stratum: Stratum = "W",
    psi: float = 0.85,
    panel: Panel | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Measure what every judge says of every cipher.

    Args:
        ciphers: by the name that their rows get.
        generator: paints at full size.
        folder: keeps what judges said of a picture; a stopped run goes on there.
        n: people, at least 2.
        gallery: strangers, at least 64.
        seed: draws people and passwords.
        stratum: of all people.
        psi: their truncation, one the judges were calibrated for.
        panel: judges that are loaded already.
        progress: show bars.

    Returns:
        A result, see ``results``. "property" is the cipher, a case of ``REFERENCES``,
        "the same person" (in other colours and light) or "strangers". Beside the usual
        metrics there are, for n people and the gallery's strangers:

        - "same_person" and "same_person_strict": share accepted at a false match rate
          of 1 % and .1 %, by thresholds from the gallery;
        - "eer": equal error rate of the judge that compares the second picture with
          the first and with the gallery;
        - "rank1", "rank10": share of people found first, or among ten, in the gallery
          with themselves.

        In property "agreement" the pair is two judges, and "correlation" that of their
        cosines of strangers, person by person. "curves" has for each judge the cosine
        at each false match rate of "rates", and beyond it the share of pairs of every
        case.

    Raises:
        FaceRSAError: too few people, or a ``psi`` without a calibration.
    """
    if n < 2 or gallery * (gallery - 1) // 2 < MIN_PAIRS:
        raise FaceRSAError(
            f"expected 2 people or more and a gallery of 64, got {n} and {gallery}; "
            "ask for more."
        )
    for judge in JUDGES:
        calibration(judge, stratum, psi)  # refused here, not after the gallery
    panel = panel or Panel()
    pictures = JudgedPictures(Renderer(generator), panel, folder)

    def draw(first: int, count: int) -> Tensor:
        return sample_stratum(generator, stratum, psi, count, first_seed=first)

    def judged(codes: Sequence[Tensor], name: str) -> list[Report]:
        return pictures.reports(codes, name=name, show=progress)

    crowd = judged(draw(GALLERY, gallery).split(1), "gallery")
    hiding = Hiding(panel, crowd, stratum, psi)
    first = evaluated_seeds(seed, n).start
    codes, donors = draw(first, n), draw(first + DONORS, n)
    people = codes.split(1)
    known = judged(people, "people")
    for case, cipher in ciphers.items():
        named = [
            property_codes(cipher, ws, seed * 100_000 + index, ws)
            for index, ws in enumerate(people)
        ]
        reports = {"I": known}
        for name in NAMES:
            chosen = [of_person[name] for of_person in named]
            reports[name] = judged(chosen, f"{case} {name}")
        for a, b in PAIRS:
            hiding.compare(case, f"{a}~{b}", reports[a], reports[b])
        hiding.search(case, known, reports["Ie1"])
    for case, layers in {SAME: LIGHT, **REFERENCES}.items():
        edited = exchange(codes, donors, layers)
        shown = judged(edited.split(1), case)
        hiding.compare(case, PAIR, known, shown)
        hiding.search(case, known, shown)
        if case != SAME:
            edited = exchange(codes, donors.roll(1, 0), layers)
            other = judged(edited.split(1), case)
            hiding.compare(case, "Ie1~Ie2", shown, other)
    others = [*known[1:], known[0]]
    hiding.compare(STRANGERS, PAIR, known, others)
    hiding.search(STRANGERS, known, others)
    values: dict[Key, Sequence[float] | Interval] = {
        **hiding.values,
        **hiding.intervals,
    }
    for one, two in combinations(JUDGES, 2):
        key: Key = ("agreement", f"{one}~{two}", "correlation", None)
        values[key] = _agreement(hiding.crowd[one], hiding.crowd[two])
    settings = {"n": n, "gallery": gallery, "stratum": stratum, "psi": psi}
    start = head("judges", settings=settings, seed=seed)
    curves = hiding.curves()
    return start | {"rows": rows(values), "rates": list(GRID), "curves": curves}


def _embeddings(reports: Sequence[Report], judge: str) -> Tensor:
    """Unit vectors (n, D) in float64; NaN where there is no face."""
    return F.normalize(torch.stack([r.identity[judge] for r in reports]).double())


def _everybody_sees(report: Report) -> bool:
    """Whether every judge of identity detects the face."""
    return not any(report.identity[judge].isnan().any() for judge in JUDGES)


def _pairs(embedded: Tensor) -> np.ndarray:
    """Cosines of all pairs."""
    first, second = torch.triu_indices(len(embedded), len(embedded), offset=1)
    return (embedded @ embedded.T)[first, second].numpy()


def _agreement(one: Tensor, other: Tensor) -> list[float]:
    """Correlation of two judges' cosines of each person (n, D) with all others."""
    apart = ~torch.eye(len(one), dtype=torch.bool)
    a, b = ((x @ x.T)[apart].view(len(x), len(x) - 1) for x in (one, other))
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    return F.cosine_similarity(a, b, dim=1).tolist()
