"""Tests of ``compare``."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from facersa.assets.registry import asset_path
from facersa.errors import ImageError
from facersa.evaluation.compare import compare
from facersa.judges.panel import Panel


@pytest.fixture(scope="module")
def panel() -> Panel:
    return Panel(asset_path("identity.onnx"))


def test_a_picture_equals_itself(panel: Panel, astronaut: Tensor) -> None:
    figures = compare(astronaut, astronaut, panel)
    names = ["id_train", "id_heldout", "id_outside", "id_arcface"]
    assert list(figures)[:4] == names
    assert figures["id_outside"] == pytest.approx(1, abs=1e-5)
    assert figures["id_arcface"] == pytest.approx(1, abs=1e-5)
    assert figures["id_train"] == pytest.approx(1, abs=1e-5)
    assert figures["id_heldout"] == pytest.approx(1, abs=1e-5)
    assert figures["mse"] == 0 and figures["lpips"] == pytest.approx(0, abs=1e-6)
    assert figures["psnr"] == pytest.approx(10 * math.log10(12 * 255**2))
    assert figures["landmarks"] == 0 and figures["pose"] == pytest.approx(1, abs=1e-5)


def test_compare_says_where_no_face_was_detected(
    panel: Panel, astronaut: Tensor
) -> None:
    figures = compare(astronaut, torch.zeros_like(astronaut), panel)
    for name in ("id_train", "id_heldout", "id_arcface", "landmarks", "pose"):
        assert figures[name] is None
    outside = ("id_outside", "landmarks_outside", "gaze", "expression_outside")
    for name in ("expression", *outside):
        assert figures[name] is None
    assert figures["mse"] is not None and figures["mse"] > 0.05


def test_compare_asks_for_one_size(panel: Panel, astronaut: Tensor) -> None:
    with pytest.raises(ImageError, match="one size"):
        compare(astronaut, astronaut[:, :, :400], panel)


def test_the_judge_of_the_user_is_there_only_if_given(
    panel: Panel, astronaut: Tensor
) -> None:
    darker = (astronaut * 0.8).clamp(-1, 1)
    with_it = compare(astronaut, darker, panel)
    panel.arcface, arcface = None, panel.arcface
    try:
        without = compare(astronaut, darker, panel)
    finally:
        panel.arcface = arcface
    assert 0.8 < (with_it.pop("id_arcface") or 0) < 1
    assert without == with_it
