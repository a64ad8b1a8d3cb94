"""The property table: each of (a) to (h), measured on people nobody trained on.

One person after the other: every picture the properties speak of is painted at
full size, and judged by both judges. The cipher is whatever maps (ws, code) to
ws. Means come with bootstrap intervals over people.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from facersa.cipher.base import Cipher
from facersa.cipher.password import Password, total
from facersa.errors import FaceRSAError
from facersa.evaluation.attacks import copy_row, tell_apart
from facersa.evaluation.results import rows_of
from facersa.generator.base import Generator
from facersa.generator.openvino import Renderer
from facersa.judges.panel import Panel, Report
from facersa.people import FIRST_SEED, sample_stratum

ROUNDING = 1e-5  # in w

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
