"""Tests of the ticks of Table 1, and that those of the book follow from its rows."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from facersa.evaluation import tables
from facersa.evaluation.tables import system_names
from facersa.evaluation.verdicts import verdicts


def entry(prop: str, metric: str, low: float, high: float, n: int = 20) -> Any:
    pair = {"b": "I~Ie1", "c": "I~Ie1d1", "f": "I~Ie1e2d2d1"}.get(prop, "I~Ie1")
    mean = (low + high) / 2
    row = (prop, pair, metric, "heldout", mean, low, high, n)
    names = ["property", "pair", "metric", "judge", "mean", "low", "high", "n"]
    return dict(zip(names, row, strict=True))


def test_a_tick_needs_the_whole_interval_and_every_judge() -> None:
    plain = [entry("a", "detected", 1, 1), entry("a", "classifier_accuracy", 0.4, 0.6)]
    line = verdicts([*plain, entry("b", "same_person", 0.0, 0.2)])
    assert line["a"].holds and line["b"].holds and line["c"].holds is None
    wide = verdicts([*plain, entry("b", "same_person", 0.0, 0.3)])
    assert wide["b"].holds is False
    two = [entry("b", "same_person", 0.0, 0.1), entry("b", "same_person", 0.4, 0.9)]
    assert verdicts([*plain, *two])["b"].high == 0.9
    told = [plain[0], entry("a", "classifier_accuracy", 0.8, 1.0)]
    assert verdicts(told)["a"].holds is False
    assert verdicts([*plain, entry("c", "same_person", 0.95, 1)])["c"].holds
    assert verdicts([*plain, entry("c", "same_person", 0.85, 1)])["c"].holds is False


def test_where_few_faces_are_detected_nothing_holds() -> None:
    plain = [entry("a", "detected", 1, 1), entry("a", "classifier_accuracy", 0.4, 0.6)]
    few = verdicts([*plain, entry("b", "same_person", 0.0, 0.0, n=4)])
    assert few["b"].holds is False


def test_the_tables_of_the_book_follow_from_their_rows() -> None:
    file = Path(__file__).parents[2] / "book" / "results" / "tables_psi07.json"
    stored = json.loads(file.read_text())
    assert list(stored["systems"]) == system_names()
    assert stored["settings"] == asdict(tables.PRESETS["cpu"]) | {"psi": tables.PSI}
    for name, found in stored["systems"].items():
        line = {prop: cell._asdict() for prop, cell in verdicts(found["rows"]).items()}
        assert line == found["table_1"], name
