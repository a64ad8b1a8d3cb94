"""Tests of the commands in ``cli/measure.py``: what they print, write and refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from facersa.cipher.catalogue import CATALOGUE
from facersa.cli.measure import MEANINGS, verdict
from facersa.judges.calibration import JUDGES, calibration

Run = Callable[..., int]
Capture = pytest.CaptureFixture[str]

KEYS = [
    "id_train",
    "id_heldout",
    "id_outside",
    "lpips",
    "mse",
    "psnr",
    "ssim",
    "landmarks",
    "pose",
    "expression",
    "landmarks_outside",
    "gaze",
    "expression_outside",
]


def test_compare_prints_the_promised_json(
    photo: Path, sealed: Path, capsys: Capture, run: Run
) -> None:
    assert run("compare", photo, sealed, "--json") == 0
    figures = json.loads(capsys.readouterr().out)
    assert list(figures) == KEYS
    assert figures["psnr"] == pytest.approx(-10 * np.log10(figures["mse"]), abs=1e-3)


SAME = {"id_train": 1.0, "id_heldout": 1.0, "id_outside": 1.0, "lpips": 0.0}


@pytest.mark.parametrize(
    ("figures", "person", "alike"),
    [
        ({}, "the same person, by all judges", "look equal"),
        ({"lpips": 0.1}, "the same person", "are much alike"),
        ({"lpips": 0.7}, "the same person", "are different"),
        (
            {"id_train": 0.0, "id_heldout": 0.0, "id_outside": 0.0},
            "somebody else",
            "look equal",
        ),
        ({"id_train": 0.0, "id_heldout": 0.0}, "cannot tell", "look equal"),
        ({"id_train": 0.0}, "cannot tell", "look equal"),
        ({"id_heldout": None}, "cannot tell", "look equal"),
    ],
)
def test_compare_ends_in_a_verdict(
    figures: dict[str, float | None], person: str, alike: str
) -> None:
    first, second = verdict(SAME | figures).splitlines()
    assert first.startswith(person) and second == f"the pictures {alike}"


@pytest.mark.parametrize("judge", JUDGES)
def test_the_verdict_has_the_judges_thresholds(judge: str) -> None:
    """Just as ``Calibration.same_person`` decides, from the calibrated identity."""
    scale = calibration(judge)
    for step in (-1e-4, 1e-4):
        cosine = torch.tensor(scale.threshold + step)
        figures = SAME | {f"id_{judge}": float(scale.identity(cosine))}
        agreed = verdict(figures).startswith("the same person")
        assert agreed == bool(scale.same_person(cosine))


def test_compare_explains_its_figures(sealed: Path, run: Run, capsys: Capture) -> None:
    assert run("compare", sealed, sealed) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["the same person, by all judges", "the pictures look equal"]
    assert [line.split()[0] for line in lines[2:]] == KEYS
    assert lines[2].split(maxsplit=2)[1:] == ["1.0000", MEANINGS["id_train"]]


@pytest.mark.parametrize(
    ("options", "refused"),
    [
        ("--fit 2", "--fit"),
        ("--from-pixels --bits 16", "--bits"),
        ("--inversion --layers 5-8", "--layers"),
        ("--inversion --cipher ring --kappa 0", "--cipher, --kappa"),
        ("--inversion --from-pixels", "--from-pixels"),
        ("--photo a.png --stratum W", "--stratum"),
        ("--photo a.png --n 3 --psi 1", "--n, --psi"),
        ("--photo a.png --inversion --seed 1", "--seed"),
        ("--steps 3 --look any", "--look, --steps"),
        ("--whole --photo a.png --bits 16 --n 3", "--bits, --n"),
        ("--judges --cipher ring --whole", "--cipher, --whole"),
        ("--gallery 70", "--gallery"),
    ],
)
def test_evaluate_refuses_what_it_would_ignore(
    options: str, refused: str, run: Run, capsys: Capture
) -> None:
    assert run("evaluate", *options.split()) == 2
    message = capsys.readouterr().err
    assert f"leave out {refused}; see" in message and len(message.splitlines()) == 1


def test_whole_photographs_have_to_be_named(run: Run, capsys: Capture) -> None:
    assert run("evaluate", "--whole") == 1
    assert "name them with --photo" in capsys.readouterr().err


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the measurement was asked for; none takes place."""
    received: dict[str, Any] = {}

    def measure(first: object, *_: object, **settings: Any) -> dict[str, Any]:
        received.update(settings, measured=first)
        return {}

    for name in ("properties.evaluate", "robustness.from_pixels"):
        monkeypatch.setattr(f"facersa.evaluation.{name}", measure)
    monkeypatch.setattr("facersa.cli.measure.report", lambda *_: None)
    return received


@pytest.mark.parametrize("name", ["steady", "rotation", "ring", "faithful"])
def test_one_name_chooses_the_cipher(
    name: str, run: Run, measured: dict[str, Any]
) -> None:
    assert run("evaluate", "--cipher", name, "--n", 3) == 0
    cipher = measured["measured"]
    assert (cipher.name, cipher.num_bits) == (
        name,
        128 if cipher.exact and name != "ring" else 16,
    )


def test_every_way_of_evaluating_keeps_the_stratum(
    run: Run, measured: dict[str, Any]
) -> None:
    for way in ((), ("--from-pixels", "--fit", 1)):
        measured.clear()
        assert run("evaluate", "--stratum", "row-mixed", "--seed", 5, *way) == 0
        assert (measured["stratum"], measured["seed"]) == ("row-mixed", 5)
    assert measured["fits"] == 1


def test_a_network_of_ones_own_joins_the_judges(
    run: Run, measured: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facersa.judges.panel.Panel", lambda arcface: f"and {arcface}")
    assert run("evaluate", "--arcface", "a.onnx") == 0
    assert measured["panel"] == "and a.onnx"
    seen: list[Any] = []
    monkeypatch.setattr("facersa.photo.images.load_image", lambda path: path)
    monkeypatch.setattr("facersa.evaluation.compare.compare", lambda *a: seen.append(a))
    assert run("compare", "1.png", "2.png", "--json", "--arcface", "a.onnx") == 0
    assert seen == [("1.png", "2.png", "and a.onnx")]


def test_a_result_does_not_replace_an_input(
    photo: Path, tmp_path: Path, capsys: Capture, run: Run
) -> None:
    mine, data = tmp_path / "mine", photo.read_bytes()
    mine.write_bytes(data)
    for call in (("evaluate", "--photo"), ("evaluate", "--weights"), ("localise",)):
        option = call[1:] or ("--generator",)
        assert run(call[0], *option, mine, "--json", mine) == 1
        assert "is the input itself" in capsys.readouterr().err
    assert mine.read_bytes() == data


def test_localise_checks_its_settings_before_the_work(
    tmp_path: Path, capsys: Capture, run: Run
) -> None:
    assert run("localise", "--json", tmp_path / "no" / "rows.json") == 1
    printed = capsys.readouterr().err
    assert "does not exist" in printed and len(printed.splitlines()) == 1


def test_folders_are_checked_before_the_work(
    photo: Path, tmp_path: Path, capsys: Capture, run: Run
) -> None:
    for call in (
        ("ablate", "-o", photo),
        ("evaluate", "--judges", "-o", photo),
        ("evaluate", "--tables", "--hifd", photo),
        ("demo", "-o", photo),
        ("train", "mapper", "-o", photo),
    ):
        assert run(*call) == 1
        assert f"cannot make the folder {photo}: File exists" in capsys.readouterr().err
    (tmp_path / "original").mkdir()
    (tmp_path / "original" / "mine.png").touch()
    assert run("evaluate", "--tables", "--hifd", tmp_path) == 1
    assert "files of another kind" in capsys.readouterr().err
    keep = tmp_path / "no" / "kept"
    whole = ("evaluate", "--whole", "--photo", photo, "--keep-inversion")
    assert run(*whole, keep) == 1
    assert "does not exist" in capsys.readouterr().err
    assert run(*whole, tmp_path / "x", "--json", tmp_path / "x") == 1
    assert "is named twice" in capsys.readouterr().err


def test_tables_take_settings_of_their_own_alone(
    run: Run, tmp_path: Path, capsys: Capture
) -> None:
    assert run("evaluate", "--tables", "--n", 3) != 0
    assert "leave out --n" in capsys.readouterr().err
    assert run("evaluate", "--preset", "smoke") != 0
    assert "only --tables has presets" in capsys.readouterr().err


def test_tables_are_written_and_printed(
    run: Run, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facersa.evaluation.tables.system_names", lambda: ["mask"])
    file = tmp_path / "tables.json"
    assert run("evaluate", "--tables", "--preset", "smoke", "--json", file) == 0
    assert list(json.loads(file.read_text())["systems"]) == ["mask"]
    assert capsys.readouterr().out.splitlines()[1].startswith("mask")


def test_judges_measure_every_cipher(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    def verify(ciphers: Any, _: Any, folder: str, **how: Any) -> dict[str, Any]:
        seen.update(how, ciphers=set(ciphers), folder=folder)
        return {}

    monkeypatch.setattr("facersa.evaluation.verification.verify", verify)
    monkeypatch.setattr("facersa.cli.measure.report", lambda *_: None)
    assert run("evaluate", "--judges", "--n", 3, "--output", tmp_path) == 0
    assert seen["ciphers"] == set(CATALOGUE) and seen["n"] == 3
