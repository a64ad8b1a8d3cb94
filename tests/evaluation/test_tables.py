"""Tests of the tables: codes by name, verdicts, resuming, a run from end to end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from facersa.cipher.password import Password
from facersa.cipher.rotation import RotationCipher
from facersa.errors import FaceRSAError
from facersa.evaluation import tables
from facersa.evaluation.baselines.noised import LiLike
from facersa.evaluation.baselines.turned import CaoLike, SignFlipLike
from facersa.evaluation.results import value
from facersa.evaluation.tables import (
    Own,
    TablesConfig,
    measure_tables,
    system_codes,
    system_names,
)
from facersa.evaluation.verdicts import DIFFERENT, SAME, table_1
from facersa.generator.base import Generator

PASSWORDS = [Password.random(16, seed=k) for k in (1, 2, 3)]


def test_an_exact_cipher_keeps_every_equality_that_is_named(any_ws: Tensor) -> None:
    system = Own(RotationCipher(num_bits=16))
    codes = system_codes(system, any_ws[:1], PASSWORDS, chains=True)
    for pairs in SAME.values():
        for pair in pairs:
            a, b = pair.split("~")
            torch.testing.assert_close(codes[a], codes[b], atol=1e-5, rtol=0)
    for pairs in DIFFERENT.values():
        for pair in pairs:
            a, b = pair.split("~")
            assert (codes[a] - codes[b]).abs().max() > 0.1


def test_the_closed_forms_keep_those_that_they_promise(any_ws: Tensor) -> None:
    kept = {}
    for system in (CaoLike(), SignFlipLike()):
        codes = system_codes(system, any_ws[:1], PASSWORDS, chains=True)
        kept[system.facts.name] = {
            prop
            for prop, pairs in SAME.items()
            if all(
                (codes[pair.split("~")[0]] - codes[pair.split("~")[1]]).abs().max()
                < 1e-4
                for pair in pairs
            )
        }
    assert kept == {"Cao-like": {"c", "f"}, "sign-flip-like": {"c", "f", "g"}}


def test_what_cannot_be_undone_is_encrypted_only(any_ws: Tensor) -> None:
    codes = system_codes(LiLike(), any_ws[:1], PASSWORDS, chains=True)
    assert set(codes) == {"I", "Ie1", "Ie2"}


def test_a_run_goes_on_and_never_mixes_settings(
    generator: Generator, tmp_path: Path
) -> None:
    file = tmp_path / "tables.json"
    config = TablesConfig(2, 1, 2, 4, previews=True)
    names = ["pixelation", "sign-flip-like"]

    def run(**how: Any) -> dict[str, Any]:
        return measure_tables(generator, config, file, progress=False, **how)

    first = run(names=names[:1])
    stored = json.loads(file.read_text())
    assert stored["systems"] == json.loads(json.dumps(first["systems"]))
    stored["systems"]["pixelation"]["rows"][0]["mean"] = 0.125  # it is not done again
    file.write_text(json.dumps(stored))
    both = run(names=names)
    assert list(both["systems"]) == names
    assert both["systems"]["pixelation"]["rows"][0]["mean"] == 0.125
    flipped = both["systems"]["sign-flip-like"]
    back = value(flipped, "c", "I~Ie1d1", "same_person", "train")
    assert back.mean == 1 and back.n == 2
    cell = flipped["table_1"]["h"]  # one person decides nothing
    assert cell["figure"] == 0 and cell["holds"] is None
    lines = table_1(both).splitlines()
    assert len(lines) == 3 and lines[1].startswith("pixelation")
    assert lines[1].count(" .") == 6 and lines[2].count(" .") == 0
    assert value(flipped, "g", "I~Ie1e2d1d2", "mse").mean < 1e-6
    with pytest.raises(FaceRSAError, match="name another file"):
        run(seed=1)
    file.write_text("[]")
    with pytest.raises(FaceRSAError, match="name another file"):
        run()


def test_all_systems_are_listed_once_and_the_presets_grow() -> None:
    names = system_names()
    assert len(names) == len(set(names)) == 18
    sizes = [preset.n for preset in tables.PRESETS.values()]
    assert sizes == sorted(sizes)
