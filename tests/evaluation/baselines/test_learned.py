"""Tests of the two learned systems, with random and with shipped weights."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from facersa.cipher.password import Password
from facersa.errors import AssetError
from facersa.evaluation.baselines.learned import (
    FILE,
    FitLike,
    RiddleLike,
    load_baseline,
)
from facersa.generator.base import Generator
from facersa.judges.networks import load_identity
from facersa.people import varied_codes

WEIGHTS = Path(str(resources.files("facersa"))) / "weights"


def test_fit_is_odd_in_the_password_and_both_edit_their_rows_alone(
    any_ws: Tensor,
) -> None:
    code = Password.random(16, seed=1).code
    for build in (FitLike, RiddleLike):
        system = build()
        edited = system(any_ws, code)
        kept = [row for row in range(16) if row not in system.layers]
        assert torch.equal(edited[:, kept], any_ws[:, kept])
        assert (edited - any_ws).abs().max() > 1e-3
    fit = FitLike()
    total = fit.change(any_ws, code.expand(3, -1)) + fit.change(
        any_ws, -code.expand(3, -1)
    )
    assert total.abs().max() < 1e-6


def test_the_shipped_weights_are_small_and_loaded_whole() -> None:
    assert (WEIGHTS / FILE).stat().st_size < 400_000
    card = json.loads((WEIGHTS / "baselines.json").read_text())
    assert card["steps_done"] == card["config"]["steps"] == 1000
    for name in ("fit", "riddle"):
        system = load_baseline(name)
        assert not any(p.requires_grad for p in system.parameters())
    with pytest.raises(AssetError, match="facersa train baselines"):
        load_baseline("cao")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fit", "riddle"])
def test_what_training_taught(name: str, generator: Generator) -> None:
    """By the training judge, on painted previews of people it never saw."""
    system, identity = load_baseline(name), load_identity()
    ws = varied_codes(generator, 6, seed=40)
    e, wrong = (Password.random(16, seed=k).code for k in (1, 2))
    once = system(ws, e)
    codes = {"I": ws, "Ie": once, "Ied": system.decrypt(once, e)}
    codes["Ied'"] = system.decrypt(once, wrong)
    with torch.no_grad():
        seen = {k: identity.embed(generator.preview(v)) for k, v in codes.items()}
    cosine = {
        k: float(F.cosine_similarity(seen["I"], v).mean()) for k, v in seen.items()
    }
    assert cosine["Ie"] < 0.6 and cosine["Ied"] > 0.85 and cosine["Ied'"] < 0.7
