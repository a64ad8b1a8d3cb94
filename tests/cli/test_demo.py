"""Tests of the commands in ``cli/demo.py``: what they print, write and refuse."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., int]


def test_licences_are_listed(capsys: pytest.CaptureFixture[str], run: Run) -> None:
    assert run("fetch", "--licences") == 0
    assert "RESEARCH ONLY" in capsys.readouterr().out


def test_demo_does_not_replace_the_photograph(
    photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], run: Run
) -> None:
    mine, data = tmp_path / "photo.png", photo.read_bytes()
    mine.write_bytes(data)
    assert run("demo", mine, "-o", tmp_path) == 1
    assert "is the input itself" in capsys.readouterr().err
    assert mine.read_bytes() == data


@pytest.mark.slow
def test_demo_leaves_every_picture_of_yours_for_you_only(
    photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], run: Run
) -> None:
    (tmp_path / "out").mkdir(0o755)
    assert run("demo", photo, "-o", tmp_path / "out", "--steps", 4) == 0
    paths = [*(tmp_path / "out").iterdir()]
    assert not any(path.stat().st_mode & 0o077 for path in paths)
    assert {path.name for path in paths} == {
        "photo.png",
        "inversion.png",
        "encrypted.png",
        "decrypted.png",
        "wrong.png",
        "contact_sheet.png",
    }
    printed = capsys.readouterr().out
    (decrypted,) = re.findall(r"photograph ~ decrypted: (.+)", printed)
    assert min(map(float, decrypted.split(" / "))) > 0.95
    assert "decrypted code against inversion: PSNR 58.9 dB" in printed
