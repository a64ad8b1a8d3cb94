"""Measures: how far apart two pictures, two people, two poses are.

Pure functions of tensors, one value per picture, and the calibration that turns
a judge's raw cosine into something comparable. The paper's Tables 1 to 3 use the
same quantities, but not always on a stated scale: here every range is an
argument. Pictures are (B, 3, H, W) in [-1, 1], clamped as a picture file would.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from facersa.errors import CheckpointError
from facersa.generator import Generator, load_generator
from facersa.heldout import load_held_out_identity
from facersa.images import write_atomic
from facersa.judges import load_identity
from facersa.ops import check_shape
from facersa.rendering import Renderer

PAPER_PEAK = 255.0  # Table 3's PSNR sets this peak against errors of unit range
FALSE_ACCEPTS = 0.01
MIN_PAIRS = 2000
STRATA = ("W", "row-mixed")
FIRST_SEED = 7_000_000  # people nobody else draws


def _levels(image: Tensor, span: float) -> Tensor:
    check_shape(image, None, 3, None, None, name="image")
    return (image.clamp(-1, 1) + 1) * (span / 2)


def mse(a: Tensor, b: Tensor, *, span: float = 1.0) -> Tensor:
    """Mean squared error (B,), black to white being ``span`` apart.

    ``span`` 1 measures on [0, 1]; 2 measures on [-1, 1] and gives four times as
    much.
    """
    return (_levels(a, span) - _levels(b, span)).square().flatten(1).mean(1)


def psnr(
    a: Tensor, b: Tensor, *, span: float = 1.0, peak: float | None = None
) -> Tensor:
    """Peak signal-to-noise ratio (B,) in dB: 10 log10(peak^2 / MSE).

    By default the peak is the span, as the definition asks, and then the span
    does not matter. ``peak=PAPER_PEAK`` with ``span=1`` is the paper's Table 3:
    48.13 dB more for the same pictures. Equal pictures give infinity.
    """
    peak = span if peak is None else peak
    return 10 * torch.log10(peak**2 / mse(a, b, span=span))


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity (B,) of Wang et al. 2004, 1 for equal pictures.

    Gaussian window of 11 pixels with deviation 1.5, constants .01 and .03, range
    [0, 1], mean over the three channels and over the places where the window
    fits.
    """
    a, b = _levels(a, 1.0), _levels(b, 1.0)
    offsets = torch.arange(-5.0, 6.0, dtype=a.dtype, device=a.device)
    window = torch.exp(-offsets.square() / (2 * 1.5**2))
    window = window / window.sum()
    places = [side - len(window) + 1 for side in a.shape[-2:]]

    def local_mean(x: Tensor) -> Tensor:  # sums of shifts: faster than convolutions
        for dim, size in zip((-2, -1), places, strict=True):
            shifts = (x.narrow(dim, k, size) * v for k, v in enumerate(window))
            x = functools.reduce(Tensor.add_, shifts)
        return x

    mean_a, mean_b = local_mean(a), local_mean(b)
    var_a = local_mean(a * a) - mean_a * mean_a
    var_b = local_mean(b * b) - mean_b * mean_b
    both = local_mean(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    top = (2 * mean_a * mean_b + c1) * (2 * both + c2)
    bottom = (mean_a.square() + mean_b.square() + c1) * (var_a + var_b + c2)
    return (top / bottom).flatten(1).mean(1)


def eye_distance(points: Tensor) -> Tensor:
    """From eye centre to eye centre: points (B, 68, 2) to (B,), in their unit."""
    check_shape(points, None, 68, 2, name="points")
    return (points[:, 36:42].mean(1) - points[:, 42:48].mean(1)).norm(dim=-1)


def landmark_distance(a: Tensor, b: Tensor, *, by: str = "side") -> Tensor:
    """Mean distance (B,) of 68 points (B, 68, 2) given in sides of the picture.

    Args:
        a: points of the reference.
        b: points of the other picture.
        by: "side" leaves the unit, sides of the picture (we suppose that the
            paper's Table 2 means this; it does not say); "eyes" divides by the
            distance between the eyes of ``a``.
    """
    check_shape(b, *a.shape, name="b")
    if by not in ("side", "eyes"):
        raise ValueError(f'by must be "side" or "eyes", got {by!r}.')
    eyes = eye_distance(a)
    distance = (a - b).norm(dim=-1).mean(1)
    return distance / eyes if by == "eyes" else distance


def pose_cosine(a: Tensor, b: Tensor) -> Tensor:
    """trace(a^T b) / 3 of rotations (B, 3, 3): (B,), 1 for the same pose."""
    check_shape(a, None, 3, 3, name="a")
    return (a * b).sum((-2, -1)) / 3


def calibrated_identity(similarity: Tensor, s0: float) -> Tensor:
    """(s - s0) / (1 - s0): 0 as similar as strangers, 1 the same picture."""
    return (similarity - s0) / (1 - s0)


def same_person(similarity: Tensor, threshold: float) -> Tensor:
    """Which pairs a judge accepts as one person, 1. or 0. (mean: the share).

    A pair with an undetected face (NaN) is not accepted.
    """
    return (similarity > threshold).float()


class Interval(NamedTuple):
    """A mean with its bootstrap interval, over ``n`` values."""

    mean: float
    low: float
    high: float
    n: int


def bootstrap(
    values: Tensor | Sequence[float],
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Mean of ``values`` and the percentile interval of its resampled means.

    NaN (an undetected face) is left out and not counted in ``n``; no value at
    all gives NaN.
    """
    array = torch.as_tensor(values, dtype=torch.float64).detach().cpu().numpy().ravel()
    array = array[~np.isnan(array)]
    if not len(array):
        return Interval(math.nan, math.nan, math.nan, 0)
    generator = np.random.default_rng(seed)
    picks = generator.integers(len(array), size=(resamples, len(array)))
    tail = (1 - level) / 2
    low, high = np.quantile(array[picks].mean(1), [tail, 1 - tail])
    return Interval(float(array.mean()), float(low), float(high), len(array))


@dataclass(frozen=True)
class Calibration:
    """What a judge says of strangers, so that its cosines can be read.

    Attributes:
        judge: "train" (MobileFaceNet) or "heldout" (dlib), both by cosine.
        stratum: "W" or "row-mixed", see ``sample_stratum``.
        psi: truncation of the people compared.
        s0: mean cosine of different people.
        spread: standard deviation of the same.
        threshold: cosine above which at most 1 % of different people fall.
        people: detected faces compared.
        n: pairs of different people.
    """

    judge: str
    stratum: str
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
    embeddings: Tensor, *, judge: str, stratum: str, psi: float
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
    threshold = np.quantile(cosines, 1 - FALSE_ACCEPTS, method="higher")
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


def sample_stratum(
    generator: Generator,
    stratum: str,
    psi: float,
    people: int,
    *,
    first_seed: int = FIRST_SEED,
) -> Tensor:
    """W+ codes (people, 16, 512) of people who share no row with one another.

    "W": one w in every row. "row-mixed": rows 0 to k - 1 of one person and rows k
    to 15 of another, k uniform in 1 ... 15, both persons used this once. Seeds
    count from ``first_seed``, one a person.
    """
    if stratum not in STRATA:
        raise ValueError(f"stratum must be one of {STRATA}, got {stratum!r}.")
    start = first_seed + people
    coarse = generator.sample(range(first_seed, start), psi)
    if stratum == "W":
        return coarse
    fine = generator.sample(range(start, start + people), psi)
    random = torch.Generator().manual_seed(first_seed)
    cut = torch.randint(1, generator.num_ws, (people, 1, 1), generator=random)
    rows = torch.arange(generator.num_ws)[None, :, None]
    return torch.where(rows.to(coarse.device) < cut.to(coarse.device), coarse, fine)


def calibrate_all(
    generator: Generator | None = None,
    *,
    people: int = 72,
    psis: Sequence[float] = (0.7, 0.85, 1.0),
    progress: bool = True,
) -> list[Calibration]:
    """Calibrate both identity judges on full pictures, per stratum and psi.

    Takes about ten minutes on two cores. ``save_calibrations`` keeps the result;
    the file in ``facersa/weights`` was made this way with the defaults.
    """
    generator = load_generator() if generator is None else generator
    renderer = Renderer(generator)
    train, held_out = load_identity(), load_held_out_identity()
    judges: dict[str, Callable[[Tensor], Tensor]] = {
        "train": train.embed,
        "heldout": held_out.embed,
    }
    found = []
    cells = [(stratum, psi) for stratum in STRATA for psi in psis]
    with tqdm(total=len(cells) * people, unit="face", disable=not progress) as bar:
        for stratum, psi in cells:
            rows: dict[str, list[Tensor]] = {name: [] for name in judges}
            codes = sample_stratum(generator, stratum, psi, people)
            for picture in renderer.stream(codes):
                for name, embed in judges.items():
                    rows[name].append(embed(picture.cpu()))
                bar.update()
            found += [
                calibrate(torch.cat(rows[n]), judge=n, stratum=stratum, psi=psi)
                for n in judges
            ]
    return found


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
            "facersa.metrics.calibrate_all."
        ) from error


def calibration(judge: str, stratum: str = "W", psi: float = 1.0) -> Calibration:
    """The shipped calibration of one judge; psi 1 in W also serves photographs.

    Raises:
        CheckpointError: that case was not calibrated.
    """
    for found in load_calibrations():
        if (found.judge, found.stratum) == (judge, stratum) and (
            abs(found.psi - psi) < 1e-6
        ):
            return found
    cases = [(c.judge, c.stratum, c.psi) for c in load_calibrations()]
    raise CheckpointError(
        f"no calibration for judge {judge!r}, stratum {stratum!r}, psi {psi}; "
        f"choose from {cases} or calibrate it."
    )


def or_none(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else value
