"""Tests of the report on inversions."""

from __future__ import annotations

import pytest
import torch

from facersa.cipher.rotation import RotationCipher
from facersa.evaluation.inversions import Way, fidelity
from facersa.evaluation.results import value
from facersa.generator.base import Generator
from facersa.generator.openvino import Renderer
from facersa.inversion.inverter import Inverter
from facersa.people import people


def test_people_of_each_kind(generator: Generator) -> None:
    plain, mixed, hidden = (
        people(generator, kind, 0.7, 2) for kind in ("W", "row-mixed", "encrypted")
    )
    assert len(torch.unique(plain[0], dim=0)) == 1
    assert len(torch.unique(mixed[0], dim=0)) == 2
    same = (hidden == plain).all(-1)
    edited = list(RotationCipher().layers)
    assert not same[:, edited].any() and int(same.sum()) == 2 * (16 - len(edited))


@pytest.mark.slow
def test_the_table_tells_each_way_from_the_others(generator: Generator) -> None:
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
        assert value(result, "inversion", way, "id", "heldout")["n"] == 2
        assert 0 < value(result, "inversion", way, "code")["mean"] < 1.5
    quick, slow, _ = (value(result, "inversion", w, "seconds")["mean"] for w in ways)
    assert quick < slow
    any_code, stored = (
        value(result, "inversion", way, "lpips_256")["mean"]
        for way in ("three steps", "stored")
    )
    assert any_code != stored
    for metric in ("lpips", "landmarks"):
        judge = "heldout" if metric == "landmarks" else None
        assert value(result, "inversion", "encoder", metric, judge)["mean"] > 0


def test_photographs_have_no_code_to_compare(generator: Generator) -> None:
    picture = torch.nn.functional.adaptive_avg_pool2d(
        Renderer(generator).full(generator.sample([4], 0.7)), 512
    )
    result = fidelity(
        Inverter(generator), [picture], ways={"encoder": Way(0)}, progress=False
    )
    assert {row["metric"] for row in result["rows"]} >= {"id", "lpips", "psnr"}
    assert "code" not in {row["metric"] for row in result["rows"]}
