"""The figures in SECURITY.md are those of the last runs in book/results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

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
    cases = [
        ("rows_W", "3-8, W"),
        *(("rows_layers", f"{r}, W") for r in ("2-8", "1-8")),
    ]
    for name, case in cases:
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


@pytest.mark.parametrize(
    "table", [guesses, rows, kills, fuzzing], ids=lambda t: t.__name__
)
def test_the_figures_are_those_of_the_last_run(table: Any) -> None:
    wanted = "\n".join(table())
    assert wanted in (ROOT / "SECURITY.md").read_text(), wanted
