"""Files that the first version of the format left behind still decrypt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from facersa.cipher.password import Secrets
from facersa.generator.base import Generator
from facersa.photo.images import from_uint8, resize
from facersa.pipeline import FaceRSA

FILES = Path(__file__).parent / "data" / "version1"
CASES: dict[str, dict[str, Any]] = json.loads((FILES / "cases.json").read_text())


@pytest.fixture(scope="module")
def engine(generator: Generator) -> FaceRSA:
    return FaceRSA(generator)


@pytest.fixture(scope="module")
def expected() -> dict[str, torch.Tensor]:
    """Codes (16, 512) and small faces (64, 64, 3) that the files hold."""
    return load_file(FILES / "expected.safetensors")


@pytest.mark.parametrize("name", CASES)
def test_a_file_of_version_1_decrypts_to_what_it_held(
    engine: FaceRSA, expected: dict[str, torch.Tensor], name: str
) -> None:
    case = CASES[name]
    passwords = case.get("passwords") or [case["password"]]
    back = engine.decrypt(
        (FILES / name.partition("#")[0]).read_bytes(),
        Secrets(tuple(passwords)),
        face=case.get("face"),
        from_pixels=case.get("from_pixels", False),
    )
    torch.testing.assert_close(back.ws[0], expected[name].float(), atol=2e-3, rtol=2e-3)
    shown = resize(back.face, 64)
    wanted = from_uint8(expected[f"{name} picture"].numpy())
    assert (shown - wanted).abs().mean() * 127.5 < 1.0  # grey levels
