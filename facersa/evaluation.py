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
from facersa.attacks import copy_row, tell_apart
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
    sample_stratum,
    ssim,
)
from facersa.password import Password, total
from facersa.rendering import Renderer

FIRST_SEED = 10_000  # people; kept apart from training and calibration
JUDGED_SIDE = 512
ROUNDING = 1e-5  # in w

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
    def features(self, picture: Tensor) -> Tensor:
        """What a picture classifier looks at: (F,) pooled AlexNet features.

        Means and largest values of all five levels over the picture at 256 x 256.
        """
        trunk: Any = self.lpips
        levels = trunk.net(trunk.scaling_layer(resize(picture, 256)))
        flat = [level[0].flatten(1) for level in levels]
        return torch.cat([*(x.mean(1) for x in flat), *(x.amax(1) for x in flat)])

    @torch.no_grad()
    def pixel_figures(self, a: Tensor, b: Tensor) -> dict[tuple[str, None], float]:
        """LPIPS (AlexNet), MSE, PSNR and SSIM of two pictures, on [0, 1].

        Equal pictures have an infinite PSNR; that of 8-bit rounding noise
        (58.9 dB) stands in, so that means stay finite.
        """
        rounding = 10 * math.log10(12 * 255**2)
        if a is b:
            equal = {"lpips": 0.0, "mse": 0.0, "psnr": rounding, "ssim": 1.0}
            return {(metric, None): value for metric, value in equal.items()}
        return {
            ("lpips", None): float(self.lpips(a, b)),
            ("mse", None): float(mse(a, b)),
            ("psnr", None): min(float(psnr(a, b)), rounding),
            ("ssim", None): float(ssim(a, b)),
        }


# Which pairs speak for which property, and what is measured on them.
BOTH = "identity pixels"
PAIRS: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "b": (("I", "Ie1", "identity attributes"),),
    "c": (("I", "Ie1d1", BOTH), ("I", "I0", BOTH)),
    "d": (
        ("I", "Ie1d'", "identity"),
        ("Ie1", "Ie1d'", "identity"),
        ("I", "Ie1d1^", "identity"),
        ("Ie1", "Ie1d1^", "identity"),
    ),
    "e": (
        ("Ie1", "Ie2", "identity"),
        ("Ie1", "Ie1^", "identity"),
        ("Ie1", "I'e1", "identity"),
    ),
    "f": (
        ("Ie1", "Ie1e2d2", BOTH),
        ("I", "Ie1e2d2d1", BOTH),
        ("Ie1e2e3", "Ie1e2e3e4d4", BOTH),
        ("Ie1e2", "Ie1e2e3e4d4d3", BOTH),
        ("Ie1", "Ie1e2e3e4d4d3d2", BOTH),
        ("I", "Ie1e2e3e4d4d3d2d1", BOTH),
    ),
    "g": (("Ie2", "Ie1e2d1", BOTH), ("I", "Ie1e2d1d2", BOTH)),
    "h": (
        ("Ie1e2", "I(e1+e2)", BOTH),
        ("Ie1e2e3", "I(e1+e2+e3)", BOTH),
        ("Ie1e2e3e4", "I(e1+e2+e3+e4)", BOTH),
        ("I", "Ie1e2(d1+d2)", BOTH),
        ("I", "Ie1e2e3e4(d1+d2+d3+d4)", BOTH),
    ),
}
DETECTED = ("I", "Ie1", "Ie1e2e3e4")  # asked for a face: property (a)


def property_passwords(num_bits: int, seed: int) -> tuple[list[Password], Password]:
    """Four passwords and a wrong one, all different and none another's inverse.

    Short codes repeat now and then; a "wrong" password that happens to be right
    would say nothing about a cipher.
    """
    drawn: list[Password] = []
    for attempt in range(1000):
        password = Password.random(num_bits, seed=1000 * seed + attempt)
        if not {password, password.inverse} & set(drawn):
            drawn.append(password)
        if len(drawn) == 5:
            return drawn[:4], drawn[4]
    raise FaceRSAError(
        f"{num_bits} bits are too few for five different passwords; use at least 4."
    )


def property_codes(
    cipher: Cipher, ws: Tensor, num_bits: int, seed: int, other: Tensor
) -> dict[str, Tensor]:
    """Every code the properties name, for one person (1, rows, D).

    ``^`` marks a password with one bit flipped, ``d'`` a random wrong one, ``0`` the
    code that does nothing, and ``I'`` is ``other``, somebody else.
    """
    e, wrong = property_passwords(num_bits, seed)
    flipped = e[0].flip(seed % num_bits)

    def run(*passwords: Password, start: Tensor = ws) -> Tensor:
        out = start
        for password in passwords:
            out = cipher(out, password.code)
        return out

    d = [password.inverse for password in e]
    four = total(e)
    return {
        "I": ws,
        "I0": run(e[0] + d[0]),
        "I'e1": run(e[0], start=other),
        "Ie1": run(e[0]),
        "Ie2": run(e[1]),
        "Ie1^": run(flipped),
        "Ie1d1": run(e[0], d[0]),
        "Ie1d'": run(e[0], wrong),
        "Ie1d1^": run(e[0], flipped.inverse),
        "Ie1e2": run(*e[:2]),
        "Ie1e2d2": run(*e[:2], d[1]),
        "Ie1e2d2d1": run(*e[:2], d[1], d[0]),
        "Ie1e2d1": run(*e[:2], d[0]),
        "Ie1e2d1d2": run(*e[:2], d[0], d[1]),
        "Ie1e2(d1+d2)": run(*e[:2], d[0] + d[1]),
        "Ie1e2e3": run(*e[:3]),
        "Ie1e2e3e4": run(*e),
        "Ie1e2e3e4d4": run(*e, d[3]),
        "Ie1e2e3e4d4d3": run(*e, d[3], d[2]),
        "Ie1e2e3e4d4d3d2": run(*e, d[3], d[2], d[1]),
        "Ie1e2e3e4d4d3d2d1": run(*e, *reversed(d)),
        "Ie1e2e3e4(d1+d2+d3+d4)": run(*e, four.inverse),
        "I(e1+e2)": run(e[0] + e[1]),
        "I(e1+e2+e3)": run(e[0] + e[1] + e[2]),
        "I(e1+e2+e3+e4)": run(four),
    }


def close(a: Tensor, b: Tensor) -> bool:
    """Whether two codes differ by rounding only: their pictures then look equal.

    Such codes are painted once. ``w_error`` tells how much they do differ.
    """
    return bool((a - b).abs().max() <= ROUNDING)


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
    return {name: or_none(value) for name, value in figures.items()}


def or_none(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else value


def rows_of(
    values: Mapping[tuple[str, str, str, str | None], list[float]],
) -> list[dict[str, Any]]:
    """Mean and interval of each figure: the rows of a report, ready for JSON.

    Keys are property, pair, metric and judge.
    """
    return [
        {"property": prop, "pair": pair, "metric": metric, "judge": judge}
        | {k: or_none(v) for k, v in bootstrap(found)._asdict().items()}
        for (prop, pair, metric, judge), found in values.items()
    ]


def evaluate(
    cipher: Cipher,
    generator: Generator,
    *,
    name: str,
    num_bits: int,
    codes: Tensor | None = None,
    n: int = 64,
    seed: int = 0,
    stratum: str = "W",
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
        codes: (n, 16, 512) people to use instead of fresh ones.
        n: number of people, at least 2.
        seed: draws people and passwords; a run can be repeated exactly.
        stratum: "W" or "row-mixed", see ``metrics.sample_stratum``.
        psi: truncation of the people, one the judges were calibrated for.
        layers: rows the cipher edits, for the row-copying attack; none: skip it.
        progress: show a bar.

    Returns:
        A dictionary ready for JSON: cipher, seed, settings, versions, rows.
    """
    if (count := n if codes is None else len(codes)) < 2:
        raise FaceRSAError(
            f"an evaluation needs at least 2 people, got {count}; each lends the "
            "next one a face."
        )
    if codes is None:
        start = FIRST_SEED + 2 * seed * n
        codes = sample_stratum(generator, stratum, psi, n, first_seed=start)
    panel, renderer = Panel(), Renderer(generator)
    values: dict[tuple[str, str, str, str | None], list[float]] = defaultdict(list)
    features: dict[str, list[Tensor]] = {"I": [], "Ie1": []}

    def note(prop: str, pair: str, figures: Mapping[Any, float]) -> None:
        for (metric, judge), value in figures.items():
            values[prop, pair, metric, judge].append(value)

    people = tqdm(codes.split(1), desc="evaluate", disable=not progress)
    for index, ws in enumerate(people):
        other = codes[index - 1 : index] if index else codes[-1:]
        drawn = seed * 100_000 + index
        named = property_codes(cipher, ws, num_bits, drawn, other)
        reports: dict[str, Report] = {}
        for key, code in named.items():
            first = next(k for k in named if close(named[k], code))
            if first == key:
                reports[key] = panel.report(renderer.full(code))
            else:
                reports[key] = reports[first]
        for key in DETECTED:
            detected = reports[key].detected
            note("a", key, {("detected", j): v for j, v in detected.items()})
        for key, kept in features.items():
            kept.append(panel.features(reports[key].picture))
        for prop, pairs in PAIRS.items():
            for first, second, kinds in pairs:
                a, b, pair = reports[first], reports[second], f"{first}~{second}"
                note(prop, pair, panel.identity_figures(a, b, stratum, psi))
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
                reports["I"], panel.report(renderer.full(forged)), stratum, psi
            )
            note("attack", f"I~copy row {source}", figures)
    told = tell_apart(*(torch.stack(kept) for kept in features.values()))
    values["a", "I~Ie1", "told_apart", None] = told.tolist()
    rows = rows_of(values)
    return {
        "cipher": name,
        "seed": seed,
        "settings": {
            "n": len(codes),
            "stratum": stratum,
            "psi": psi,
            "num_bits": num_bits,
        },
        "versions": {"facersa": version("facersa"), "torch": torch.__version__},
        "rows": [row for row in rows if row["property"] != "attack"],
        "attacks": [row for row in rows if row["property"] == "attack"],
    }


def _near(row: int, rows: int) -> list[int]:
    """All rows, the nearest to ``row`` first, finer before coarser."""
    return sorted(range(rows), key=lambda other: (abs(other - row), -other))


def value(
    result: Mapping[str, Any],
    prop: str,
    pair: str,
    metric: str,
    judge: str | None = None,
) -> dict[str, Any]:
    """The row of a result of ``evaluate``: mean, low, high and n of one figure.

    Raises:
        FaceRSAError: the result holds no such figure.
    """
    wanted = (prop, pair, metric, judge)
    for row in [*result["rows"], *result["attacks"]]:
        if (row["property"], row["pair"], row["metric"], row["judge"]) == wanted:
            return row
    raise FaceRSAError(
        f"no figure {metric!r} of judge {judge!r} for ({prop}) {pair} in this result; "
        "look at the names in its rows."
    )


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
