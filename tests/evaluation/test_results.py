"""Tests of the one form of results."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from facersa.errors import FaceRSAError
from facersa.evaluation.results import (
    Interval,
    Key,
    Row,
    bootstrap,
    head,
    rows,
    table,
    value,
)

RESULTS = Path(__file__).parents[2] / "book" / "results"


def test_bootstrap_covers_the_mean_as_theory_says() -> None:
    values = np.random.default_rng(1).normal(2.0, 1.0, 400)
    interval = bootstrap(values.tolist())
    half = 1.96 * values.std() / 20
    assert interval.mean == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half, abs=0.02)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.02)
    assert interval == bootstrap(torch.from_numpy(values))
    assert interval != bootstrap(values.tolist(), seed=1)
    narrow = bootstrap(values.tolist(), level=0.5)
    assert interval.low < narrow.low < narrow.high < interval.high


def test_bootstrap_leaves_undetected_faces_out() -> None:
    assert bootstrap([1.0, math.nan, 1.0]) == (1.0, 1.0, 1.0, 2)
    empty = bootstrap([math.nan])
    assert empty.n == 0 and math.isnan(empty.mean)


@pytest.fixture
def result() -> dict:
    values: dict[Key, list[float] | Interval] = {
        ("b", "I~Ie1", "id_raw", "train"): [0.5, 0.7],
        ("b", "I~Ie1", "id", "train"): [0.25, 0.75],
        ("b", "I~Ie1", "id", "heldout"): [math.nan, math.nan],
        ("b", "I~Ie1", "id_raw", "arcface"): [0.2, 0.4],
        ("b", "I~Ie2", "mse", None): [0.0, 0.0],
        ("b", "I~Ie2", "leverage", "train"): Interval(3.0, 2.0, 4.0, 2),
    }
    started = head("properties", cipher="none", settings={"n": 2}, seed=3)
    return json.loads(json.dumps(started | {"rows": rows(values)}, allow_nan=False))


def test_a_result_has_a_head_and_rows_that_json_can_hold(result: dict) -> None:
    assert list(result) == [
        "experiment",
        "cipher",
        "settings",
        "seed",
        "versions",
        "date",
        "rows",
    ]
    assert all(tuple(row) == Row._fields for row in result["rows"])
    assert value(result, "b", "I~Ie1", "id", "train").mean == 0.5
    assert value(result, "b", "I~Ie2", "leverage", "train")[4:] == (3, 2, 4, 2)
    nobody = value(result, "b", "I~Ie1", "id", "heldout")
    assert (nobody.mean, nobody.low, nobody.high, nobody.n) == (None, None, None, 0)


def test_a_figure_that_was_not_measured_is_named(result: dict) -> None:
    with pytest.raises(FaceRSAError, match="no figure 'pose' of judge 'heldout'"):
        value(result, "b", "I~Ie1", "pose", "heldout")


def test_the_table_has_a_line_per_pair_and_a_column_per_metric(result: dict) -> None:
    title, metrics, judges, first, second = table(result).splitlines()
    assert title == "properties, none, {'n': 2}"
    assert metrics.split() == ["(b)", "id", "id", "id_raw", "mse", "leverage"]
    assert judges.split() == ["train", "heldout", "arcface", "train"]
    assert first.split() == ["I~Ie1", "0.5", "±", "0.2", "-", "0.3", "±", "0.1"]
    assert second.split() == ["I~Ie2", "0", "±", "0", "3", "±", "1"]


def test_every_committed_result_reads_and_prints() -> None:
    paths = [p for p in RESULTS.glob("*.json") if not p.stem.endswith("_log")]
    assert len(paths) >= 24
    for path in paths:
        result = json.loads(path.read_text())
        assert "attacks" not in result and result["experiment"], path.name
        for part in result.get("systems", {"": result}).values():
            entries = [Row(**entry) for entry in part["rows"]]
            assert len({row[:4] for row in entries}) == len(entries), path.name
            assert all(row.n == 0 or row.low <= row.high for row in entries), path.name
            printed = table(part)
            assert all(f"({row.property})" in printed for row in entries), path.name
