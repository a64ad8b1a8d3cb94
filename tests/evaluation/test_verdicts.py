"""Tests of the ticks of Table 1, and that those of the book follow from its rows."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from facersa.evaluation import tables
from facersa.evaluation.tables import system_names
from facersa.evaluation.verdicts import (
    ACCEPTED_AT_MOST,
    DIFFERENT,
    SAME,
    Verdict,
    table_1,
    verdicts,
)


def entry(
    prop: str, metric: str, mean: float, n: int = 20, *, judge: str | None = "heldout"
) -> Any:
    pair = {"b": "I~Ie1", "c": "I~Ie1d1", "f": "I~Ie1e2d2d1"}.get(prop, "I~Ie1")
    names = ["property", "pair", "metric", "judge", "mean", "n"]
    return dict(zip(names, (prop, pair, metric, judge, mean, n), strict=True))


PLAIN = [entry("a", "detected", 1, 40), entry("a", "classifier_accuracy", 0.5, 40)]


def line(*entries: Any) -> dict[str, Verdict]:
    return verdicts([*PLAIN, *entries], 20)


def test_a_tick_needs_the_whole_interval_and_a_cross_all_of_it_too() -> None:
    none = line(entry("b", "same_person", 0.0))
    assert none["a"].holds and none["b"].holds and none["c"] == Verdict(None)
    assert none["b"].low == 0 and 0.16 < (none["b"].high or 0) < 0.17
    few = line(entry("b", "same_person", 0.1))["b"]
    assert few.holds is None and few.bound == ACCEPTED_AT_MOST and few.n == 20
    assert line(entry("b", "same_person", 0.1, 200))["b"].holds
    assert line(entry("b", "same_person", 0.6))["b"].holds is False
    told = verdicts([PLAIN[0], entry("a", "classifier_accuracy", 0.95)], 20)
    assert told["a"].holds is False


def test_twenty_who_agree_decide_nothing_about_nine_in_ten() -> None:
    assert line(entry("c", "same_person", 1.0))["c"].holds is None
    assert line(entry("c", "same_person", 1.0, 35))["c"].holds is None
    assert line(entry("c", "same_person", 1.0, 36))["c"].holds
    assert line(entry("c", "same_person", 0.5))["c"].holds is False


def test_the_worst_judge_decides() -> None:
    judges = [
        entry("b", "same_person", share, judge=judge)
        for judge, share in (("train", 0.0), ("heldout", 0.1), ("outside", 0.8))
    ]
    assert line(*judges)["b"].of.endswith("outside")
    assert line(*judges)["b"].holds is False
    assert line(*judges[:2])["b"].holds is None


def test_equal_codes_need_no_picture() -> None:
    seen = entry("c", "same_person", 1.0)
    same = entry("c", "same_code", 1.0, 500, judge=None)
    found = line(seen, same)["c"]
    assert found.holds and found.n == 500 and found.of == "I~Ie1d1 same_code"
    nearly = same | {"mean": 0.5}  # then pictures decide
    assert line(seen, nearly)["c"].holds is None


def test_where_few_faces_are_detected_nothing_holds() -> None:
    assert line(entry("b", "same_person", 0.0, 4))["b"].holds is False
    assert line(entry("b", "same_person", 0.0, 0))["b"].holds is False


def test_text_tells_what_is_undecided_from_what_does_not_exist() -> None:
    cells = {
        prop: cell._asdict()
        for prop, cell in line(entry("b", "same_person", 0.1)).items()
    }
    text = table_1({"systems": {"one": {"table_1": cells}}}).splitlines()[1]
    assert text.split()[:5] == ["one", "+", "1.00", "?", "0.10"]
    assert text.count(" .") == 6


def test_the_tables_of_the_book_follow_from_their_rows() -> None:
    file = Path(__file__).parents[2] / "book" / "results" / "tables_psi07.json"
    stored = json.loads(file.read_text())
    assert list(stored["systems"]) == system_names()
    assert stored["settings"] == asdict(tables.PRESETS["cpu"]) | {"psi": tables.PSI}
    for name, found in stored["systems"].items():
        line = verdicts(found["rows"], stored["settings"]["n"])
        cells = {prop: cell._asdict() for prop, cell in line.items()}
        assert cells == found["table_1"], name


def test_no_tick_contradicts_the_larger_run_of_the_eight_properties() -> None:
    results = Path(__file__).parents[2] / "book" / "results"
    tables = json.loads((results / "tables_psi07.json").read_text())["systems"]
    pairs = {"a": ("I~Ie1", "Ie1"), **DIFFERENT, **SAME}
    for name in ("rotation", "ring", "faithful"):
        file = results / f"properties_{name}_W_psi07.json"
        large = [
            row
            for row in json.loads(file.read_text())["rows"]
            if row["pair"] in pairs.get(row["property"], ())
        ]
        for prop, cell in verdicts(large, 64).items():
            here = tables[f"ours, {name}"]["table_1"][prop]["holds"]
            assert {here, cell.holds} != {True, False}, (name, prop)
