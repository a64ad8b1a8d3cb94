"""The property table: each of (a) to (h), measured on people nobody trained on.

One person after the other: every picture the properties speak of is painted at
full size, and judged by both judges. The cipher is whatever maps (ws, code) to
ws. Means come with bootstrap intervals over people.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from facersa.alignment import align, crop
from facersa.attacks import copy_row
from facersa.errors import FaceRSAError, ImageError
from facersa.generator import Generator
from facersa.heldout import load_held_out_identity
from facersa.images import resize
from facersa.judges import (
    load_detector,
    load_expression,
    load_identity,
    load_landmarks,
    load_lpips,
    load_pose,
)
from facersa.metrics import (
    bootstrap,
    calibration,
    landmark_distance,
    mse,
    pose_cosine,
    psnr,
    ssim,
)
from facersa.password import Password
from facersa.rendering import Renderer

FIRST_SEED = 10_000  # people; kept apart from training and calibration
JUDGED_SIDE = 512

Cipher = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Report:
    """What the judges say of one picture; NaN where no face was found."""

    picture: Tensor
    train: Tensor
    heldout: Tensor
    detected: dict[str, float]
    points: dict[str, Tensor]
    rotations: dict[str, Tensor]
    expression: Tensor


class Panel:
    """All judges at one table, loaded once."""

    def __init__(self) -> None:
        self.identity = load_identity()
        self.heldout = load_held_out_identity()
        self.landmarks, self.pose = load_landmarks(), load_pose()
        self.expression, self.detector = load_expression(), load_detector()
        self.lpips = load_lpips("alex")

    @torch.no_grad()
    def report(self, picture: Tensor) -> Report:
        """Judge one aligned picture (1, 3, R, R)."""
        small = resize(picture, JUDGED_SIDE)
        points = self.heldout.faces.points(small)
        found = self.detector.detect(small)[0][0]
        seen = 1.0 if len(found) else math.nan
        return Report(
            picture,
            self.identity.embed(small)[0] * seen,
            self.heldout.embed(small, points)[0],
            {
                "train": float(len(found) > 0),
                "heldout": float(not points.isnan().any()),
            },
            {"train": self.landmarks.points(small) * seen, "heldout": points},
            {
                "train": self.pose.rotations(small) * seen,
                "heldout": self.heldout.faces.rotations(points),
            },
            self.expression.logits(small)[0] * seen,
        )

    def identity_figures(
        self, a: Report, b: Report, stratum: str, psi: float
    ) -> dict[tuple[str, str | None], float]:
        """id, id_raw and same_person of a pair, by both judges."""
        figures: dict[tuple[str, str | None], float] = {}
        for judge in ("train", "heldout"):
            scale = calibration(judge, stratum, psi)
            first, second = getattr(a, judge), getattr(b, judge)
            cosine = torch.nn.functional.cosine_similarity(first, second, dim=0)
            figures["id_raw", judge] = float(cosine)
            figures["id", judge] = float(scale.identity(cosine))
            # A broken face hides nobody: without a face there is no verdict.
            figures["same_person", judge] = (
                math.nan if cosine.isnan() else float(scale.same_person(cosine))
            )
        return figures

    def attribute_figures(
        self, a: Report, b: Report
    ) -> dict[tuple[str, str | None], float]:
        """Landmarks (two scales), pose and expression of a pair."""
        figures: dict[tuple[str, str | None], float] = {}
        for judge in ("train", "heldout"):
            first, second = a.points[judge], b.points[judge]
            figures["landmarks", judge] = float(landmark_distance(first, second))
            figures["landmarks_eyes", judge] = float(
                landmark_distance(first, second, by="eyes")
            )
            figures["pose", judge] = float(
                pose_cosine(a.rotations[judge], b.rotations[judge])
            )
        figures["expression", None] = float(
            self.expression.similarity(a.expression, b.expression)
        )
        return figures

    @torch.no_grad()
    def pixel_figures(self, a: Tensor, b: Tensor) -> dict[tuple[str, None], float]:
        """LPIPS (AlexNet), MSE, PSNR and SSIM of two pictures, on [0, 1].

        Equal pictures have an infinite PSNR; that of 8-bit rounding noise
        (58.9 dB) stands in, so that means stay finite.
        """
        rounding = 10 * math.log10(12 * 255**2)
        return {
            ("lpips", None): float(self.lpips(a, b)),
            ("mse", None): float(mse(a, b)),
            ("psnr", None): min(float(psnr(a, b)), rounding),
            ("ssim", None): float(ssim(a, b)),
        }


# Which pairs speak for which property, and what is measured on them.
PAIRS: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "b": (("I", "Ie1", "identity attributes"),),
    "c": (("I", "Ie1d1", "identity pixels"),),
    "d": (
        ("I", "Ie1d'", "identity"),
        ("Ie1", "Ie1d'", "identity"),
        ("I", "Ie1d1^", "identity"),
        ("Ie1", "Ie1d1^", "identity"),
    ),
    "e": (("Ie1", "Ie2", "identity"), ("Ie1", "Ie1^", "identity")),
    "f": (("Ie1", "Ie1e2d2", "identity pixels"), ("I", "Ie1e2d2d1", "identity pixels")),
    "g": (("Ie2", "Ie1e2d1", "identity pixels"), ("I", "Ie1e2d1d2", "identity pixels")),
    "h": (
        ("Ie1e2", "I(e1+e2)", "identity pixels"),
        ("I", "Ie1e2(d1+d2)", "identity pixels"),
    ),
}


def property_codes(
    cipher: Cipher, ws: Tensor, num_bits: int, seed: int
) -> dict[str, Tensor]:
    """Every code the properties name, for one person (1, rows, D).

    ``^`` marks a password with one bit flipped, ``d'`` a random wrong one.
    """
    e1, e2, wrong = (Password.random(num_bits, seed=3 * seed + i) for i in range(3))
    flipped = e1.flip(seed % num_bits)

    def run(*passwords: Password) -> Tensor:
        out = ws
        for password in passwords:
            out = cipher(out, password.code)
        return out

    d1, d2 = e1.inverse, e2.inverse
    return {
        "I": ws,
        "Ie1": run(e1),
        "Ie2": run(e2),
        "Ie1^": run(flipped),
        "Ie1d1": run(e1, d1),
        "Ie1d'": run(e1, wrong),
        "Ie1d1^": run(e1, flipped.inverse),
        "Ie1e2": run(e1, e2),
        "I(e1+e2)": run(e1 + e2),
        "Ie1e2d2": run(e1, e2, d2),
        "Ie1e2d2d1": run(e1, e2, d2, d1),
        "Ie1e2d1": run(e1, e2, d1),
        "Ie1e2d1d2": run(e1, e2, d1, d2),
        "Ie1e2(d1+d2)": run(e1, e2, d1 + d2),
    }


def compare(first: Tensor, second: Tensor, panel: Panel) -> dict[str, float | None]:
    """How alike two pictures (1, 3, H, W) of one size are, as ``facersa compare`` says.

    Identity, landmarks, pose and expression look at the face, cropped by the
    place of the first picture's; LPIPS, MSE, PSNR and SSIM at the whole, on the
    range [0, 1]. ``None`` where a judge found no face. Landmarks and pose are the
    held-out judge's.

    Raises:
        ImageError: different sizes, or no single face in the first picture.
    """
    if first.shape != second.shape:
        raise ImageError(
            f"the pictures are {tuple(first.shape[:1:-1])} and "
            f"{tuple(second.shape[:1:-1])} pixels (width, height); compare two of "
            "one size."
        )
    aligned = align(first, JUDGED_SIDE, faces=panel.heldout.faces)
    a = panel.report(aligned.image)
    b = panel.report(crop(second, aligned.quad, JUDGED_SIDE).image)
    identity = panel.identity_figures(a, b, "W", 1.0)
    attributes = panel.attribute_figures(a, b)
    pixels = panel.pixel_figures(first, second)
    figures = {
        "id_train": identity["id", "train"],
        "id_heldout": identity["id", "heldout"],
        "lpips": pixels["lpips", None],
        "mse": pixels["mse", None],
        "psnr": pixels["psnr", None],
        "ssim": pixels["ssim", None],
        "landmarks": attributes["landmarks", "heldout"],
        "pose": attributes["pose", "heldout"],
        "expression": attributes["expression", None],
    }
    return {name: _or_none(value) for name, value in figures.items()}


def _or_none(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else value


def evaluate(
    cipher: Cipher,
    generator: Generator,
    *,
    name: str,
    num_bits: int,
    codes: Tensor | None = None,
    n: int = 64,
    seed: int = 0,
    psi: float = 0.85,
    layers: tuple[int, ...] = (),
    progress: bool = True,
) -> dict[str, Any]:
    """Measure every property on ``n`` people.

    Args:
        cipher: ``cipher(ws, code) -> ws``.
        generator: paints the codes at full size.
        name: of the cipher, for the report.
        num_bits: length of its codes.
        codes: (n, 16, 512) people to use instead of fresh ones in W.
        n: number of people.
        seed: draws people and passwords; a run can be repeated exactly.
        psi: truncation of the people, one the judges were calibrated for.
        layers: rows the cipher edits, for the row-copying attack; none: skip it.
        progress: show a bar.

    Returns:
        A dictionary ready for JSON: cipher, seed, settings, versions, rows.
    """
    if codes is None and n < 1:
        raise FaceRSAError(f"an evaluation needs at least 1 person, got {n}.")
    if codes is None:
        codes = generator.sample([FIRST_SEED + seed * n + i for i in range(n)], psi)
    panel, renderer = Panel(), Renderer(generator)
    values: dict[tuple[str, str, str, str | None], list[float]] = defaultdict(list)

    def note(prop: str, pair: str, figures: Mapping[Any, float]) -> None:
        for (metric, judge), value in figures.items():
            values[prop, pair, metric, judge].append(value)

    for index, ws in enumerate(
        tqdm(codes.split(1), desc="evaluate", disable=not progress)
    ):
        named = property_codes(cipher, ws, num_bits, seed * 100_000 + index)
        reports = {
            key: panel.report(renderer.full(code)) for key, code in named.items()
        }
        for key in ("I", "Ie1"):
            detected = reports[key].detected
            note("a", key, {("detected", j): v for j, v in detected.items()})
        for prop, pairs in PAIRS.items():
            for first, second, kinds in pairs:
                a, b, pair = reports[first], reports[second], f"{first}~{second}"
                note(prop, pair, panel.identity_figures(a, b, "W", psi))
                if "attributes" in kinds:
                    note(prop, pair, panel.attribute_figures(a, b))
                if "pixels" in kinds:
                    note(prop, pair, panel.pixel_figures(a.picture, b.picture))
                    gap = (named[first] - named[second]).abs().max()
                    note(prop, pair, {("w_error", None): float(gap)})
        if layers:
            source = next(r for r in _near(max(layers), ws.shape[1]) if r not in layers)
            forged = copy_row(named["Ie1"], layers, source)
            figures = panel.identity_figures(
                reports["I"], panel.report(renderer.full(forged)), "W", psi
            )
            note("attack", f"I~copy row {source}", figures)
    rows: list[dict[str, Any]] = [
        {"property": prop, "pair": pair, "metric": metric, "judge": judge}
        | {k: _or_none(v) for k, v in bootstrap(found)._asdict().items()}
        for (prop, pair, metric, judge), found in values.items()
    ]
    return {
        "cipher": name,
        "seed": seed,
        "settings": {"n": len(codes), "psi": psi, "num_bits": num_bits},
        "versions": {"facersa": version("facersa"), "torch": torch.__version__},
        "rows": [row for row in rows if row["property"] != "attack"],
        "attacks": [row for row in rows if row["property"] == "attack"],
    }


def _near(row: int, rows: int) -> list[int]:
    """All rows, the nearest to ``row`` first, finer before coarser."""
    return sorted(range(rows), key=lambda other: (abs(other - row), -other))


def table(result: Mapping[str, Any]) -> str:
    """The report as aligned text: identity by both judges, then the rest."""
    lines = [f"cipher {result['cipher']}, {result['settings']}"]
    for row in [*result["rows"], *result["attacks"]]:
        if row["metric"] in ("mse", "landmarks_eyes"):
            continue
        judge = row["judge"] or "-"
        if row["mean"] is None:
            lines.append(
                f"({row['property']}) {row['pair']:<22} {row['metric']}: no face"
            )
            continue
        lines.append(
            f"({row['property']}) {row['pair']:<22} {row['metric']:<12} {judge:<8}"
            f"{row['mean']:10.4g}  [{row['low']:.4g}, {row['high']:.4g}]  n={row['n']}"
        )
    return "\n".join(lines)
