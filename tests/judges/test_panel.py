"""Tests of all judges together."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from facersa.assets.registry import asset_path
from facersa.judges.calibration import EXPRESSIONS, JUDGES, calibration
from facersa.judges.panel import FAMILIES, Panel
from facersa.photo.align import align


@pytest.fixture(scope="module")
def panel() -> Panel:
    return Panel(asset_path("identity.onnx"))  # stands in for a file of the user's


def test_a_report_names_every_judge_and_a_pair_has_its_figures(
    panel: Panel, astronaut: Tensor
) -> None:
    face = align(astronaut, 512, faces=panel.heldout.faces).image
    a, b = panel.report(face), panel.report((face * 0.7).clamp(-1, 1))
    assert list(a.identity) == [*JUDGES, "arcface"]
    assert a.detected == dict.fromkeys(FAMILIES, 1.0)
    figures = panel.identity_figures(a, b, "W", 1.0)
    for judge in JUDGES:
        scale = calibration(judge, "W", 1.0)
        by_hand = (figures["id_raw", judge] - scale.s0) / (1 - scale.s0)
        assert figures["id", judge] == pytest.approx(by_hand, abs=1e-5)
        assert figures["same_person", judge] == 1
    kept = panel.attribute_figures(a, b, "row-mixed", 0.7)
    for judge, name in EXPRESSIONS.items():
        scale = calibration(name, "row-mixed", 0.7)
        by_hand = (kept["expression", judge] - scale.s0) / (1 - scale.s0)
        assert kept["expression_kept", judge] == pytest.approx(by_hand, abs=1e-5)
        assert 0.5 < kept["expression_kept", judge] < 1
    assert 0 < kept["landmarks", "outside"] < 0.01 and kept["gaze", "outside"] < 0.05
    assert panel.attribute_figures(a, a)["gaze", "outside"] == 0
    # The user's network has no calibration, so nothing is claimed but the cosine.
    assert [m for m, judge in figures if judge == "arcface"] == ["id_raw"]
    assert 0.8 < figures["id_raw", "arcface"] < 1
    # It is the training judge's file, with another crop and another scale.
    assert figures["id_raw", "arcface"] == pytest.approx(
        figures["id_raw", "train"], abs=0.1
    )


def test_a_picture_without_a_face_gets_no_verdict(
    panel: Panel, astronaut: Tensor
) -> None:
    face = align(astronaut, 512, faces=panel.heldout.faces).image
    a, nobody = panel.report(face), panel.report(torch.zeros_like(face))
    assert nobody.detected == dict.fromkeys(FAMILIES, 0.0)
    figures = panel.identity_figures(a, nobody, "row-mixed", 0.7)
    figures |= panel.attribute_figures(a, nobody)
    assert len(figures) == 3 * 3 + 1 + 2 * 3 + 2 + 1 + 2 * 2
    assert all(math.isnan(figure) for figure in figures.values())
