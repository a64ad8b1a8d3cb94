"""What a judge says of strangers, so that its cosines can be read."""

from __future__ import annotations

import functools
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from facersa.errors import CheckpointError
from facersa.files import write_atomic
from facersa.generator.base import Generator
from facersa.generator.openvino import Renderer
from facersa.judges.heldout import load_held_out_identity
from facersa.judges.metrics import calibrated_identity, same_person
from facersa.judges.networks import load_expression, load_identity
from facersa.judges.outside import load_outside
from facersa.people import PSIS, STRATA, Stratum, sample_stratum

# Judges of identity whose cosines are calibrated. One more needs a name here, its
# embedding in ``embeddings`` and in ``Panel``, and new rows of the calibration file.
JUDGES = ("train", "heldout", "outside")
# The networks of expression, by the judge that their figures name.
EXPRESSIONS: Mapping[str | None, str] = {
    None: "expression",
    "outside": "outside expression",
}
CALIBRATED = (*JUDGES, *EXPRESSIONS.values())
FALSE_MATCH_RATE = 0.01
MIN_PAIRS = 2000


@dataclass(frozen=True)
class Calibration:
    """What a judge says of strangers, so that its cosines can be read.

    Attributes:
        judge: "train" (MobileFaceNet), "heldout" (dlib), "outside" (FaceRes), or a
            network of expression, see ``EXPRESSIONS``; all by cosine.
        stratum: "W" or "row-mixed", see ``sample_stratum``.
        psi: truncation of the people compared.
        s0: mean cosine of different people.
        spread: standard deviation of the same.
        threshold: cosine with a false match rate (FMR) of 1 %: at most that share of
            pairs of different people lies above it.
        people: detected faces compared.
        n: pairs of different people.
    """

    judge: str
    stratum: Stratum
    psi: float
    s0: float
    spread: float
    threshold: float
    people: int
    n: int

    def identity(self, similarity: Tensor) -> Tensor:
        """``calibrated_identity`` on this judge's scale."""
        return calibrated_identity(similarity, self.s0)

    def same_person(self, similarity: Tensor) -> Tensor:
        """``same_person`` at this judge's threshold."""
        return same_person(similarity, self.threshold)


def calibrate(
    embeddings: Tensor, *, judge: str, stratum: Stratum, psi: float
) -> Calibration:
    """Compare all pairs of embeddings (P, D), one per person.

    Undetected people (NaN) are left out.

    Raises:
        ValueError: fewer than 2000 pairs remain.
    """
    known = F.normalize(embeddings[~embeddings.isnan().any(1)].double(), dim=1)
    first, second = torch.triu_indices(len(known), len(known), offset=1)
    cosines = (known @ known.T)[first, second].numpy()
    if len(cosines) < MIN_PAIRS:
        raise ValueError(
            f"a calibration needs {MIN_PAIRS} pairs of different people, {len(known)} "
            f"detected people give {len(cosines)}; draw at least 64 people."
        )
    threshold = np.quantile(cosines, 1 - FALSE_MATCH_RATE, method="higher")
    return Calibration(
        judge=judge,
        stratum=stratum,
        psi=psi,
        s0=float(cosines.mean()),
        spread=float(cosines.std()),
        threshold=float(threshold),
        people=len(known),
        n=len(cosines),
    )


def calibrate_all(generator: Generator, people: int = 72) -> list[Calibration]:
    """Calibrate all of ``CALIBRATED`` on full pictures, per stratum and psi.

    Takes about ten minutes on two cores. ``save_calibrations`` writes the result;
    the file in ``facersa/weights`` comes from this and the shipped generator.
    """
    renderer, embed = Renderer(generator), embeddings()
    calibrations: list[Calibration] = []
    cells = [(stratum, psi) for stratum in STRATA for psi in PSIS]
    with tqdm(total=len(cells) * people, unit="face") as bar:
        for stratum, psi in cells:
            rows: dict[str, list[Tensor]] = defaultdict(list)
            codes = sample_stratum(generator, stratum, psi, people)
            for picture in renderer.stream(codes):
                for name, row in embed(picture.cpu()).items():
                    rows[name].append(row)
                bar.update()
            for name in CALIBRATED:
                found = torch.cat(rows[name])
                case = calibrate(found, judge=name, stratum=stratum, psi=psi)
                calibrations.append(case)
    return calibrations


def embeddings() -> Callable[[Tensor], dict[str, Tensor]]:
    """What each judge of ``CALIBRATED`` says of a picture (1, 3, R, R).

    All of them are loaded; an undetected face has NaN by the judges that detect.
    """
    train, heldout, outside = load_identity(), load_held_out_identity(), load_outside()
    expression = load_expression()

    @torch.no_grad()
    def embed(picture: Tensor) -> dict[str, Tensor]:
        landmarks = heldout.faces.landmarks(picture)
        view = outside.view(picture, landmarks)
        return {
            "train": train.embed(picture),
            "heldout": heldout.embed(picture, landmarks),
            "outside": view.identity,
            "expression": centred(expression.logits(picture)),
            "outside expression": centred(view.expression),
        }

    return embed


def centred(logits: Tensor) -> Tensor:
    """Logits (B, C) less their mean, which a softmax ignores."""
    return logits - logits.mean(-1, keepdim=True)


def save_calibrations(calibrations: Iterable[Calibration], path: str | Path) -> None:
    """Write calibrations as JSON, atomically."""
    rows = [asdict(calibration) for calibration in calibrations]
    write_atomic(path, (json.dumps({"calibrations": rows}, indent=1) + "\n").encode())


@functools.cache
def load_calibrations(path: str | Path | None = None) -> tuple[Calibration, ...]:
    """Read a file of ``save_calibrations``; by default the one shipped.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    try:
        if path is None:
            shipped = resources.files("facersa") / "weights" / "calibration.json"
            text = shipped.read_text()
        else:
            text = Path(path).read_text()
        return tuple(Calibration(**row) for row in json.loads(text)["calibrations"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"cannot read the judges' calibration ({error}); make it again with "
            "facersa train calibration."
        ) from error


def calibration(judge: str, stratum: Stratum = "W", psi: float = 1.0) -> Calibration:
    """The shipped calibration of one judge; psi 1 in W also serves photographs.

    Raises:
        CheckpointError: that case was not calibrated.
    """
    for case in load_calibrations():
        if (case.judge, case.stratum) == (judge, stratum) and abs(
            case.psi - psi
        ) < 1e-6:
            return case
    cases = [(c.judge, c.stratum, c.psi) for c in load_calibrations()]
    raise CheckpointError(
        f"no calibration for judge {judge!r}, stratum {stratum!r}, psi {psi}; "
        f"choose from {cases} or calibrate it."
    )
