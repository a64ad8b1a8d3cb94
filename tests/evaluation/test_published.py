"""Tests of the paper's printed numbers: that they are the paper's, and consistent."""

from __future__ import annotations

import math

from facersa.evaluation.published import (
    FUNCTIONS,
    STANDS_FOR,
    TABLE_1,
    TABLE_2,
    TABLE_3,
)
from facersa.evaluation.tables import system_names


def test_only_facersa_has_all_functions() -> None:
    everything = "".join(FUNCTIONS.values())
    complete = [name for name, has in TABLE_1.items() if set(everything) <= set(has)]
    assert complete == ["FaceRSA"]


def test_the_papers_psnr_has_a_peak_of_255_on_a_unit_range() -> None:
    """Its own MSE gives its own PSNR in that convention, except in FIT's row."""
    gaps = {}
    for name, row in TABLE_3.items():
        gaps[name] = 10 * math.log10(255**2 / row["mse"]) - row["psnr"]
    assert abs(gaps["FaceRSA"]) < 0.3
    assert abs(gaps["RiDDLE"]) < 0.5
    assert gaps["FIT"] > 8


def test_facersa_is_best_in_all_but_identity() -> None:
    best = {
        "id": min(TABLE_2, key=lambda name: TABLE_2[name]["id"]),
        "landmarks": min(TABLE_2, key=lambda name: TABLE_2[name]["landmarks"]),
        "pose": max(TABLE_2, key=lambda name: TABLE_2[name]["pose"]),
    }
    assert best == {"id": "RiDDLE", "landmarks": "FaceRSA", "pose": "FaceRSA"}


def test_every_system_of_the_paper_has_one_that_stands_for_it() -> None:
    assert set(STANDS_FOR) <= set(system_names())
    assert set(STANDS_FOR.values()) == set(TABLE_1) | set(TABLE_2) | set(TABLE_3)
