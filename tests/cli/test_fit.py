"""Tests of what ``train`` fits at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from facersa.cli.fit import FITS

Run = Callable[..., int]
Capture = pytest.CaptureFixture[str]


def test_statistics_are_measured(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setitem(FITS, "rotation", lambda *given: given[-1] / "w.safetensors")
    assert run("train", "rotation", "-o", tmp_path) == 0
    assert capsys.readouterr().out == f"wrote {tmp_path / 'w.safetensors'}\n"
