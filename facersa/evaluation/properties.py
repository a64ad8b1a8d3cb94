"""The property table: each of (a) to (h), measured on people nobody trained on.

One person after the other: every picture the properties speak of is painted at
full size, and judged by all judges. The cipher is whatever maps (ws, code) to
ws. Means come with bootstrap intervals over people.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from facersa.cipher.base import Cipher
from facersa.cipher.description import label
from facersa.cipher.password import Password, total
from facersa.errors import FaceRSAError
from facersa.evaluation.attacks import classifier_accuracy, copy_row
from facersa.evaluation.results import Key, head, rows
from facersa.generator.base import Generator
from facersa.generator.openvino import Renderer
from facersa.judges.panel import Figures, Panel, Report
from facersa.people import Stratum, people

ROUNDING = 1e-5  # in w

# Which pairs test which property, and what is measured on them.
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
DETECTED = ("I", "Ie1", "Ie1e2e3e4")  # where a face is to be detected: property (a)


def property_passwords(num_bits: int, seed: int) -> tuple[list[Password], Password]:
    """Four passwords and a wrong one, all different and none another's inverse.

    Short codes repeat now and then; a "wrong" password that happens to be right
    would say nothing about a cipher.

    Raises:
        FaceRSAError: fewer than 4 bits.
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
    cipher: Cipher, ws: Tensor, seed: int, other: Tensor
) -> dict[str, Tensor]:
    """Every code that ``PAIRS`` names, for one person (1, rows, D).

    A name spells its chain: ``I`` is the person and ``I'`` is ``other``, somebody
    else; e1 to e4 are passwords and d1 to d4 their inverses, ``d'`` is a random wrong
    one, ``^`` marks a bit flip, ``0`` is the code that does nothing, and a sum in
    brackets is one code.
    """
    e, wrong = property_passwords(cipher.num_bits, seed)
    passwords = {f"e{k}": password for k, password in enumerate(e, start=1)}
    passwords["e1^"] = e[0].flip(seed % cipher.num_bits)
    passwords |= {f"d{name[1:]}": p.inverse for name, p in passwords.items()}
    passwords |= {"d'": wrong, "0": e[0] + e[0].inverse}
    names = [name for pairs in PAIRS.values() for pair in pairs for name in pair[:2]]
    codes = {}
    for name in dict.fromkeys(["I", *names]):
        codes[name] = other if name.startswith("I'") else ws
        for step in re.findall(r"[ed]\d\^?(?:\+[ed]\d)*|d'|0", name):
            password = total(passwords[term] for term in step.split("+"))
            codes[name] = cipher(codes[name], password.code)
    return codes


def close(a: Tensor, b: Tensor) -> bool:
    """Whether two codes differ by rounding only: their pictures then look equal.

    Such codes are painted once. ``w_error`` is how much they differ.
    """
    return bool((a - b).abs().max() <= ROUNDING)


def evaluate(
    cipher: Cipher,
    generator: Generator,
    *,
    codes: Tensor | None = None,
    n: int = 64,
    seed: int = 0,
    stratum: Stratum = "W",
    psi: float = 0.85,
    panel: Panel | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Measure every property on ``n`` people.

    Args:
        cipher: what is measured.
        generator: paints the codes at full size.
        codes: (n, num_ws, 512) people to use instead of fresh ones.
        n: number of people, at least 2.
        seed: draws people and passwords; a run can be repeated exactly.
        stratum: "W" or "row-mixed", see ``people.sample_stratum``.
        psi: truncation of the people, one the judges were calibrated for.
        panel: judges that are loaded already.
        progress: show a bar.

    Returns:
        A result, see ``results``: pairs of ``PAIRS``, and property "attack".

    Raises:
        FaceRSAError: fewer than 2 people, or people that cannot be drawn.
    """
    if (count := n if codes is None else len(codes)) < 2:
        raise FaceRSAError(
            f"an evaluation needs at least 2 people, got {count}: each is compared "
            "with another; ask for more."
        )
    if codes is None:
        codes = people(generator, stratum, psi, n, seed)
    panel, renderer = panel or Panel(), Renderer(generator)
    values: dict[Key, list[float]] = defaultdict(list)
    features: dict[str, list[Tensor]] = {"I": [], "Ie1": []}

    def note(prop: str, pair: str, figures: Figures) -> None:
        for (metric, judge), figure in figures.items():
            values[prop, pair, metric, judge].append(figure)

    for index, ws in enumerate(
        tqdm(codes.split(1), desc="evaluate", disable=not progress)
    ):
        other = codes[index - 1 : index] if index else codes[-1:]
        named = property_codes(cipher, ws, seed * 100_000 + index, other)
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
        for key, pooled in features.items():
            pooled.append(panel.features(reports[key].picture))
        for prop, pairs in PAIRS.items():
            for first, second, kinds in pairs:
                a, b, pair = reports[first], reports[second], f"{first}~{second}"
                note(prop, pair, panel.identity_figures(a, b, stratum, psi))
                if "attributes" in kinds:
                    note(prop, pair, panel.attribute_figures(a, b, stratum, psi))
                if "pixels" in kinds:
                    note(prop, pair, panel.pixel_figures(a.picture, b.picture))
                    gap = (named[first] - named[second]).abs().max()
                    note(prop, pair, {("w_error", None): float(gap)})
        source = _nearest_unedited(cipher.layers, ws.shape[1])
        forged = panel.report(
            renderer.full(copy_row(named["Ie1"], cipher.layers, source))
        )
        figures = panel.identity_figures(reports["I"], forged, stratum, psi)
        note("attack", f"I~copy row {source}", figures)
    accuracy = classifier_accuracy(*(torch.stack(x) for x in features.values()))
    values["a", "I~Ie1", "classifier_accuracy", None] = accuracy.tolist()
    settings = {"n": count, "stratum": stratum, "psi": psi}
    settings["num_bits"] = cipher.num_bits
    start = head("properties", cipher=label(cipher), settings=settings, seed=seed)
    return start | {"rows": rows(values)}


def _nearest_unedited(layers: tuple[int, ...], num_ws: int) -> int:
    """The row nearest to the last edited one that is not edited, the finer of two."""
    free = set(range(num_ws)) - set(layers)
    return min(free, key=lambda row: (abs(row - max(layers)), -row))
