"""Tests of the ablation of the paper's mapper."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch

from facersa.cipher.catalogue import build_learned, load_learned
from facersa.cipher.modulation import MapperConfig, ModulationMapper
from facersa.cipher.steered import SteeredMapper
from facersa.evaluation.ablation import (
    CODE_PAIRS,
    PICTURE_PAIRS,
    VARIANTS,
    ablate,
    relative_errors,
)
from facersa.evaluation.results import table, value
from facersa.generator.base import Generator


def test_variants_are_one_change_each() -> None:
    configs = {name: MapperConfig(**options) for name, options in VARIANTS.items()}
    assert configs["ours"] == MapperConfig()
    assert configs["as published"] == MapperConfig.published()
    assert len(set(configs.values())) == len(VARIANTS) >= 7
    for name, options in VARIANTS.items():
        assert len(options) == {"ours": 0, "as published": 3}.get(name, 1)
        build_learned("faithful", options)


def test_an_exact_cipher_makes_no_relative_error(generator: Generator) -> None:
    ws = generator.sample(range(3), 0.85)
    torch.manual_seed(0)
    with torch.no_grad():
        exact = relative_errors(SteeredMapper(), ws, 0)
        untrained = relative_errors(ModulationMapper(), ws, 0)
    assert set(exact) == set(CODE_PAIRS)
    assert max(max(values) for values in exact.values()) < 1e-5
    assert min(untrained["sum (h)"]) > 0.3
    assert max(untrained["zero (c)"]) < 1e-5  # odd in p


@pytest.mark.slow
def test_a_small_run_from_end_to_end(
    generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facersa.evaluation.ablation.CODES", 8)
    few = {name: VARIANTS[name] for name in ("ours", "last activation")}

    def run(steps: int) -> Callable[[str, str], float]:
        result = ablate(
            generator,
            load_learned("steered"),
            steps=steps,
            n=1,
            variants=few,
            progress=False,
        )
        assert list(result["variants"]) == list(few)
        assert "(sum (h))" in table(json.loads(json.dumps(result)))

        def error(variant: str, what: str) -> float:
            return value(result, what, variant, "error").mean

        ids = [r for r in result["rows"] if r["metric"] == "id"]
        assert len(ids) == len(few) * len(PICTURE_PAIRS) * 2  # judges
        return error

    before, after = run(1), run(120)
    for name in few:
        assert after(name, "sum (h)") < 0.85 * before(name, "sum (h)")
