"""Tests of the report on inversions."""

from __future__ import annotations

from itertools import count
from typing import Any, cast

import pytest
import torch

from facersa.evaluation import inversions
from facersa.evaluation.inversions import Way, fidelity
from facersa.evaluation.results import value
from facersa.generator.base import Generator
from facersa.generator.openvino import Renderer
from facersa.inversion.inverter import Inverter
from facersa.judges.panel import Figures, Panel, Report
from facersa.people import people


@pytest.mark.slow
def test_each_way_is_measured_on_its_own(
    generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = count()  # one more second at each look
    monkeypatch.setattr(inversions.time, "perf_counter", lambda: float(next(clock)))
    ws = people(generator, "W", 0.7, 2)
    pictures = list(Renderer(generator).stream(ws))
    ways = {
        "encoder": Way(0),
        "three steps": Way(3),
        "stored": Way(3, stored=True),
    }
    result = fidelity(
        Inverter(generator), pictures, codes=ws, psi=0.7, ways=ways, progress=False
    )
    assert result["settings"]["n"] == 2
    for way in ways:
        assert value(result, "inversion", way, "id", "heldout").n == 2
        assert 0 < value(result, "inversion", way, "code").mean < 1.5
        assert value(result, "inversion", way, "seconds").mean == 1
    any_code, stored = (
        value(result, "inversion", way, "lpips_256").mean
        for way in ("three steps", "stored")
    )
    assert any_code != stored
    for metric in ("lpips", "landmarks"):
        judge = "heldout" if metric == "landmarks" else None
        assert value(result, "inversion", "encoder", metric, judge).mean > 0


def test_photographs_have_no_code_to_compare(generator: Generator) -> None:
    picture = torch.nn.functional.adaptive_avg_pool2d(
        Renderer(generator).full(generator.sample([4], 0.7)), 512
    )
    result = fidelity(
        Inverter(generator), [picture], ways={"encoder": Way(0)}, progress=False
    )
    assert {row["metric"] for row in result["rows"]} >= {"id", "lpips", "psnr"}
    assert "code" not in {row["metric"] for row in result["rows"]}


def test_row_mixed_people_are_judged_by_their_own_calibration(
    generator: Generator,
) -> None:
    """They were calibrated as "W" before."""
    asked = []

    class Recorder(Panel):
        def identity_figures(
            self, a: Report, b: Report, stratum: str, psi: float
        ) -> Figures:
            asked.append((stratum, psi))
            return super().identity_figures(a, b, stratum, psi)

    class Exact:
        """Every inversion gives the very code."""

        def __init__(self) -> None:
            self.generator, self.encoder = generator, "any"

        def find(self, picture: torch.Tensor, **how: Any) -> torch.Tensor:
            return ws

    ws = people(generator, "row-mixed", 0.7, 1)
    result = fidelity(
        cast(Inverter, Exact()),
        [Renderer(generator).full(ws)],
        codes=ws,
        stratum="row-mixed",
        psi=0.7,
        ways={"encoder": Way(0)},
        panel=Recorder(),
        progress=False,
    )
    assert asked == [("row-mixed", 0.7)]
    assert result["settings"]["stratum"] == "row-mixed"
    assert value(result, "inversion", "encoder", "code").mean == 0
