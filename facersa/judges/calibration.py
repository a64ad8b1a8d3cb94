"""What a judge says of strangers, so that its cosines can be read."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Sequence
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
from facersa.generator.load import load_generator
from facersa.generator.openvino import Renderer
from facersa.judges.heldout import load_held_out_identity
from facersa.judges.metrics import calibrated_identity, same_person
from facersa.judges.networks import load_identity
from facersa.people import STRATA, Stratum, sample_stratum

# Judges of identity whose cosines are calibrated. One more needs a name here, its
# embedding in ``calibrate_all`` and in ``Panel``, and a new calibration file.
JUDGES = ("train", "heldout")
FALSE_MATCH_RATE = 0.01
MIN_PAIRS = 2000


@dataclass(frozen=True)
class Calibration:
    """What a judge says of strangers, so that its cosines can be read.

    Attributes:
        judge: "train" (MobileFaceNet) or "heldout" (dlib), both by cosine.
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


def calibrate_all(
    generator: Generator | None = None,
    *,
    people: int = 72,
    psis: Sequence[float] = (0.7, 0.85, 1.0),
    progress: bool = True,
) -> list[Calibration]:
    """Calibrate all of ``JUDGES`` on full pictures, per stratum and psi.

    Takes about ten minutes on two cores. ``save_calibrations`` writes the result;
    the file in ``facersa/weights`` comes from this with the defaults.
    """
    generator = load_generator() if generator is None else generator
    renderer = Renderer(generator)
    judges: dict[str, Callable[[Tensor], Tensor]] = {
        "train": load_identity().embed,
        "heldout": load_held_out_identity().embed,
    }
    calibrations = []
    cells = [(stratum, psi) for stratum in STRATA for psi in psis]
    with tqdm(total=len(cells) * people, unit="face", disable=not progress) as bar:
        for stratum, psi in cells:
            rows: dict[str, list[Tensor]] = {name: [] for name in judges}
            codes = sample_stratum(generator, stratum, psi, people)
            for picture in renderer.stream(codes):
                for name, embed in judges.items():
                    rows[name].append(embed(picture.cpu()))
                bar.update()
            calibrations += [
                calibrate(torch.cat(rows[name]), judge=name, stratum=stratum, psi=psi)
                for name in JUDGES
            ]
    return calibrations


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
