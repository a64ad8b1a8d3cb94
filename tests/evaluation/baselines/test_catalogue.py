"""Tests of the catalogue of other systems: one contract, and true facts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from facersa.cipher.password import Password
from facersa.errors import FaceRSAError
from facersa.evaluation.baselines.catalogue import BASELINES, build_baseline
from facersa.generator.base import Generator

REFERENCES = Path(__file__).parents[3] / "book" / "references.bib"


@pytest.mark.parametrize("name", BASELINES)
def test_a_system_keeps_the_contract(
    name: str, generator: Generator, any_ws: Tensor
) -> None:
    system = build_baseline(name, generator, torch.Generator().manual_seed(1))
    facts = system.facts
    assert facts.name == name
    assert facts.differs and str(facts.year) in facts.original or facts.year < 2010
    assert f"{{{facts.cite}," in REFERENCES.read_text()
    if BASELINES[name].pictures:
        assert not hasattr(system, "decrypt")
        return
    code = Password.random(system.num_bits, seed=1).code
    once = system(any_ws, code)
    assert once.shape == any_ws.shape and once.dtype == any_ws.dtype
    assert (once - any_ws).abs().max() > 0.05
    if system.decrypt is not None:
        back = system.decrypt(once, code)
        assert (back - any_ws).norm() < (once - any_ws).norm()


def test_those_that_cannot_be_undone_say_so(generator: Generator) -> None:
    undone = {
        name
        for name, entry in BASELINES.items()
        if not entry.pictures
        and getattr(build_baseline(name, generator), "decrypt", None) is not None
    }
    assert undone == {"FIT-like", "RiDDLE-like", "Cao-like", "sign-flip-like"}


def test_an_unknown_name_is_refused(generator: Generator) -> None:
    with pytest.raises(FaceRSAError, match="choose one of these"):
        build_baseline("DeepPrivacy", generator)
