"""Figures in SECURITY.md and README.md are those of the last runs in book/results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from facersa.cipher.steady import PUSHES
from facersa.errors import FaceRSAError
from facersa.evaluation.results import value

ROOT = Path(__file__).resolve().parents[1]
WRITERS = {
    "facersa encrypt": "encrypt",
    "facersa decrypt": "decrypt",
    "a write alone": "write, nameless",
}


def results(name: str) -> dict[str, Any]:
    return json.loads((ROOT / "book" / "results" / f"{name}.json").read_text())


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def guesses() -> list[str]:
    found = results("guesses")
    named = {
        "compact": "as files have it",
        "fitted: a scale too": "fitted to inversions, widths and a scale",
        "fitted: correlations too": "fitted to inversions, correlations too",
    }
    lines = ["| how codes are written | mean square | classifier | repainting |"]
    lines.append("|---|---|---|---|")
    for prior, name in named.items():
        cells = [name]
        for way in ("mean square", "classifier", "repainting"):
            try:
                cells.append(f"{value(found, prior, way, 'auc').mean:.2f}")
            except FaceRSAError:
                cells.append("–")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def rows() -> list[str]:
    lines = ["| rows edited | people | encrypted | after copying | landmarks |"]
    lines.append("|---|---|---|---|---|")
    cases = {"3-10, W": "rows_steady", "3-8, W": "rows_W"}
    cases |= {f"{rows}, W": "rows_layers" for rows in ("2-8", "1-8")}
    for case, name in cases.items():
        found = results(name)
        before, after = (
            value(found, case, pair, "same_person", "heldout")
            for pair in ("encrypted", "from pixels")
        )
        moved = value(found, case, "encrypted", "landmarks", "heldout")
        cells = [case.partition(",")[0], before.n, percent(before.mean)]
        cells += [percent(after.mean), f"{moved.mean:.4f}"]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


def codes() -> list[str]:
    lines = ["| cipher | left after one pair | right password first, of its people |"]
    lines.append("|---|---|---|")
    found = results("attack_codes")
    for name in dict.fromkeys(row["property"] for row in found["rows"]):
        left = value(found, name, "known pair", "error").mean
        try:
            first = value(found, name, "no reference, offsets", "first")
            cell = f"{first.mean * first.n:.0f} of {first.n}"
        except FaceRSAError:
            cell = "not tried"
        lines.append(f"| {name} | {left:.2g} | {cell} |")
    return lines


def gallery() -> list[str]:
    found = results("attack_pictures_steady")
    lines = [
        f"| in a gallery of {found['gallery']} | training judge | held-out | outside |"
    ]
    lines.append("|---|---|---|---|")
    named = {
        "one picture, the person": ("find", "one picture"),
        "the mean of 8 pictures, the person": ("find", "mean of 8 pictures"),
        "one picture, another encrypted one": ("link", "one picture"),
        "one picture, by a learned metric": ("learned metric", "one picture"),
    }
    for name, case in named.items():
        judges = ("train", "heldout", "outside")
        ranks = [value(found, *case, "rank1", judge) for judge in judges]
        cells = [
            f"{100 * r.mean:.1f} % [{100 * r.low:.1f}, {100 * r.high:.1f}]"
            for r in ranks
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def kills() -> list[str]:
    found = results("kills")["rows"]
    lines = ["| killed | times | damaged | left over |", "|---|---|---|---|"]
    for name, case in WRITERS.items():
        counts = {}
        for metric in ("damaged", "left over"):
            mine = [r for r in found if r["property"] == case and r["metric"] == metric]
            counts[metric] = round(sum(r["mean"] * r["n"] for r in mine))
            times = sum(r["n"] for r in mine)
        lines.append(f"| {name} | {times} | {' | '.join(map(str, counts.values()))} |")
    return lines


def fuzzing() -> list[str]:
    lines = ["| reader | inputs | failures |", "|---|---|---|"]
    for row in results("fuzzing")["rows"]:
        if row["metric"] == "failures":
            cells = row["property"], f"{row['n']:,}", f"{row['mean']:.0f}"
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def figure(run: dict[str, Any], pair: str, metric: str, judge: str | None) -> str:
    """A mean with its interval, a share in percent."""
    row = value(run, "all", pair, metric, judge)
    if metric in ("same_person", "gender", "detected", "told_apart"):
        return f"{percent(row.mean)} [{100 * row.low:.0f}, {100 * row.high:.0f}]"
    digits = {"yaw": 1, "years": 1, "colour_edge": 1, "landmarks": 4}.get(metric, 2)
    return f"{row.mean:.{digits}f} [{row.low:.{digits}f}, {row.high:.{digits}f}]"


def photographs(name: str = "photographs_usual") -> list[str]:
    run = results(name)
    faces = run["settings"]["faces"] - run["settings"]["refused"]
    lines = [f"| {faces} faces | training judge | held-out | outside |"]
    lines.append("|---|---|---|---|")
    named = {
        "encrypted: id": ("photo~Ie", "id"),
        "encrypted: taken for the person": ("photo~Ie", "same_person"),
        "decrypted, as the code paints it: id": ("photo~Ie,d", "id"),
        "decrypted: id": ("photo~Ie,d with detail", "id"),
    }
    for name, key in named.items():
        cells = [figure(run, *key, judge) for judge in ("train", "heldout", "outside")]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def searched() -> list[str]:
    return photographs("photographs_searched")


def pushes() -> list[str]:
    runs = {
        f"{name}, {push:g}": results(f"photographs_{name}")
        for name, push in PUSHES.items()
    }
    lines = [f"| `--kappa` | {' | '.join(runs)} |", "|---|---|---|---|"]
    named = {
        "id, held-out judge": ("photo~Ie", "id", "heldout"),
        "id, outside judge": ("photo~Ie", "id", "outside"),
        "taken for the person by the held-out judge": (
            "photo~Ie",
            "same_person",
            "heldout",
        ),
        "by the outside judge": ("photo~Ie", "same_person", "outside"),
        "landmarks moved, of the side": ("photo~Ie", "landmarks", "heldout"),
        "head turned, degrees": ("photo~Ie", "yaw", "heldout"),
        "apparent gender kept": ("photo~Ie", "gender", None),
        "apparent age changed, years": ("photo~Ie", "years", None),
        "expression": ("photo~Ie", "expression", None),
        "colours of face and neck apart, photograph": ("photo", "colour_edge", None),
        "colours of face and neck apart, encrypted": ("Ie", "colour_edge", None),
        "told from plain photographs": ("photo~Ie", "told_apart", None),
        "the same, painted and not encrypted": ("photo~Ie,d", "told_apart", None),
    }
    for name, key in named.items():
        cells = [figure(run, *key) for run in runs.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


SECURITY = guesses, rows, codes, gallery, kills, fuzzing


@pytest.mark.parametrize(
    ("text", "table"),
    [
        *(("SECURITY.md", table) for table in SECURITY),
        ("README.md", photographs),
        ("README.md", searched),
        ("README.md", pushes),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_the_figures_are_those_of_the_last_run(text: str, table: Any) -> None:
    wanted = "\n".join(table())
    assert wanted in (ROOT / text).read_text(), wanted
