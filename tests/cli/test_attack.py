"""Tests of the command in ``cli/attack.py``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from facersa.evaluation import crowd, learned, open_codes
from facersa.evaluation.distinguishers import FALSE
from facersa.evaluation.results import value

Run = Callable[..., int]
Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rows", "--guesses", 9], "attack rows needs less; leave out --guesses"),
        (["guesses", "--layers", "3-8"], "needs less; leave out --layers"),
        (["codes", "--stratum", "W", "--steps", 1], "out --steps, --stratum"),
        (["pictures", "--layers", "3-8"], "needs less; leave out --layers"),
        (["rows", "--steps", 9], "known and not searched; leave out --steps"),
        (["force"], "'force' is not one of 'guesses', 'rows', 'codes', 'pictures'"),
        (["rows", "--stratum", "X"], "'X' is not one of 'W', 'row-mixed'"),
        (["rows", "--json", "no/such/file.json"], "the folder no/such does not exist"),
    ],
)
def test_what_makes_no_sense_is_refused(
    arguments: list[str], message: str, capsys: Capture, run: Run
) -> None:
    assert run("attack", *arguments) != 0
    assert message in capsys.readouterr().err


def test_a_result_does_not_replace_a_photograph(
    photo: Path, capsys: Capture, run: Run
) -> None:
    assert run("attack", "guesses", "--photo", photo, "--json", photo) == 1
    assert "is the input itself" in capsys.readouterr().err


@pytest.mark.slow
def test_rows_are_copied_over_edited_ones(
    tmp_path: Path, capsys: Capture, run: Run
) -> None:
    path = tmp_path / "rows.json"
    chosen = ("--stratum", "W", "--layers", "3-8", "--layers", "5-8")
    assert run("attack", "rows", "--n", 2, *chosen, "--json", path) == 0
    result = json.loads(path.read_text())
    for layers in ("3-8, W", "5-8, W"):
        exact = value(result, layers, "from the code", "id", "heldout")
        assert exact.mean == pytest.approx(1, abs=1e-4)
        assert value(result, layers, "encrypted", "rank1", "train").n == 2
        assert value(result, f"{layers}: read", "row 2", "correlation").mean > 0.2
    assert set(result["copies"]) >= {"3-8, W, from pixels", "5-8, W, from the code"}
    assert "from pixels" in capsys.readouterr().out


@pytest.mark.slow
def test_guesses_are_told_apart(tmp_path: Path, run: Run, photo: Path) -> None:
    path, how = tmp_path / "guesses.json", ("--n", 20, "--guesses", 9)
    arguments = (*how, "--photo", photo, "--codes", tmp_path, "--json", path)
    assert run("attack", "guesses", *arguments) == 0
    result = json.loads(path.read_text())
    for name in ("compact", "16 bits"):
        for pair in ("mean square", "classifier", "repainting"):
            assert value(result, name, pair, "auc").mean > 0.95
        assert value(result, name, "wrong passwords", "auc").n > 9
        assert value(result, name, "mean square, photographs", "auc").n == 1
    curves = result["roc"]["true"]
    assert all(len(curve) == len(FALSE) for curve in curves.values())
    assert value(result, "fitted: correlations too", "repainting", "auc").mean > 0.95
    assert (tmp_path / "both_W_psi0.85_seed0_steps0.safetensors").exists()


def test_codes_in_clear_are_attacked(
    tmp_path: Path, capsys: Capture, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for the search through all passwords, which takes a minute."""
    monkeypatch.setattr(open_codes, "MOST_BITS", 8)
    path = tmp_path / "codes.json"
    assert run("attack", "codes", "--n", 2, "--json", path, "--cipher", "steady") == 0
    result = json.loads(path.read_text())
    for name in ("steady, 16 bits", "steady, 128 bits"):
        assert value(result, name, "known pair", "error").mean < 1e-5
    assert "known pair" in capsys.readouterr().out


@pytest.mark.slow
def test_pictures_are_attacked(
    tmp_path: Path, capsys: Capture, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crowd, "PASSWORDS", 2)
    path, how = tmp_path / "pictures.json", ("--n", 10, "--codes", tmp_path)
    assert run("attack", "pictures", *how, "--json", path) == 0
    result = json.loads(path.read_text())
    assert result["gallery"] == 10 and (tmp_path / "crowd.safetensors").exists()
    assert value(result, "find", "one picture", "rank1", "train").n == 10
    assert value(result, "find", "mean of 2 pictures", "rank1", "heldout").n == 10
    assert "learned metric" in capsys.readouterr().out


@pytest.mark.slow
def test_a_detector_and_an_inverse_are_trained(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learned, "STEPS", 2)
    monkeypatch.setattr(learned, "GALLERY", 3)
    path = tmp_path / "learned.json"
    how = ("--n", 3, "--codes", tmp_path, "--json", path)
    assert run("attack", "learned", *how) == 0
    result = json.loads(path.read_text())
    assert value(result, "detect", "all of it, 6 pictures", "accuracy").n == 3
    for judge in ("train", "heldout", "outside"):
        assert value(result, "invert", "trained inverse", "rank1", judge).n == 3
