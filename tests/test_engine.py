"""Tests of the settings, and of the way from a photograph to a code."""

from __future__ import annotations

import pytest
import torch

from facersa.engine import Engine
from facersa.errors import FaceRSAError, ImageError
from facersa.generator.base import Generator
from facersa.inversion.search import project_config
from facersa.sealing.compact import CompactCode


@pytest.mark.parametrize(
    "options", [{"layers": (5, 12)}, {"layers": (20,)}, {"kappa": float("nan")}]
)
def test_senseless_settings_are_named_at_once(
    generator: Generator, options: dict[str, object]
) -> None:
    with pytest.raises(FaceRSAError):
        Engine(generator, **options)  # type: ignore[arg-type]


def test_a_photograph_without_a_face_is_refused(generator: Generator) -> None:
    with pytest.raises(ImageError, match="no face"):
        Engine(generator).invert(torch.zeros(1, 3, 256, 256), progress=False)


def test_no_steps_leave_the_guess_of_the_encoder(
    generator: Generator, astronaut: torch.Tensor
) -> None:
    engine = Engine(generator)
    found = engine.invert(astronaut, config=project_config(0), progress=False)
    guess = engine.inverter.closest_guess(found.aligned.image)
    rounded = CompactCode.load().quantise(guess, engine.statistics)
    assert torch.equal(found.ws, rounded)


def test_settings_of_the_wrong_cipher_are_refused(generator: Generator) -> None:
    with pytest.raises(FaceRSAError, match="steered cipher has no setting kappa"):
        Engine(generator, cipher="steered", kappa=0.1)
    with pytest.raises(FaceRSAError, match="one of"):
        Engine(generator, cipher="caesar")
