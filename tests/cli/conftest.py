"""What tests of the command line share: a call, a photograph, encrypted pictures."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from facersa.__main__ import main
from facersa.photo.images import save_png

SECRET = "xyzzy plugh 42"

Run = Callable[..., int]


@pytest.fixture(scope="session")
def run() -> Run:
    """Call the command line: its exit status."""
    return lambda *arguments: main([str(argument) for argument in arguments])


@pytest.fixture(scope="session")
def secret() -> str:
    return SECRET


@pytest.fixture(autouse=True)
def no_password_around(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FACERSA_PASSWORD", raising=False)
    monkeypatch.setattr("sys.stdin", io.StringIO())


@pytest.fixture(scope="session")
def photo(tmp_path_factory: pytest.TempPathFactory, astronaut: torch.Tensor) -> Path:
    path = tmp_path_factory.mktemp("photo") / "astronaut.png"
    save_png(astronaut, path)
    return path


@pytest.fixture(scope="session")
def sealed(tmp_path_factory: pytest.TempPathFactory, photo: Path, run: Run) -> Path:
    """The photograph, encrypted under ``secret``."""
    path = tmp_path_factory.mktemp("sealed") / "out.png"
    assert run("encrypt", photo, "-o", path, "--password", SECRET, "--steps", 2) == 0
    return path


@pytest.fixture(scope="session")
def opened(tmp_path_factory: pytest.TempPathFactory, photo: Path, run: Run) -> Path:
    """The photograph, encrypted under the password a, in an open file."""
    path = tmp_path_factory.mktemp("opened") / "open.png"
    how = ("--password", "a", "--chunk", "open", "--steps", 2)
    assert run("encrypt", photo, "-o", path, *how) == 0
    return path


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory, astronaut: torch.Tensor) -> Path:
    """A photograph of two faces."""
    path = tmp_path_factory.mktemp("pair") / "two.png"
    halves = [astronaut[..., :290], astronaut[..., 150:]]
    save_png(torch.cat(halves, dim=3), path)
    return path
