"""Every reader meets the corpus and every past failure; slow tests fuzz a little."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fuzz import targets
from fuzz.run import NAMES, mutated

from facersa.errors import SealedError

HERE = Path(__file__).resolve().parent
INPUTS = sorted(p for part in ("corpus", "past") for p in HERE.glob(f"{part}/*/*"))
MEMORY = 2**31  # bytes that one input may take


@pytest.fixture
def little_memory() -> Iterator[None]:
    """As much memory as is in use, and a little more."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def test_every_target_has_a_corpus_and_it_is_small() -> None:
    assert sorted(targets.TARGETS) == NAMES
    assert sum(path.stat().st_size for path in INPUTS) < 300_000


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
@pytest.mark.parametrize(
    "path", INPUTS, ids=[str(path.relative_to(HERE)) for path in INPUTS]
)
def test_an_input_is_read_or_refused(path: Path, little_memory: None) -> None:
    targets.check(path.parent.name, path.read_bytes())


def test_the_corpus_gets_behind_every_check() -> None:
    """One file of each kind is read to its end, so the targets do not refuse all."""
    for name in ("chunk/open", "chunk/two", "pixels/pixels", "weights/ring.json"):
        targets.TARGETS[name.split("/")[0]]((HERE / "corpus" / name).read_bytes())


def test_what_is_no_error_of_the_package_or_takes_long_is_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def raises(data: bytes) -> None:
        raise {b"1": SealedError, b"2": KeyError}[data]("x")

    monkeypatch.setitem(targets.TARGETS, "toy", raises)
    targets.check("toy", b"1")
    with pytest.raises(KeyError):
        targets.check("toy", b"2")
    monkeypatch.setattr(targets, "SECONDS", -1.0)
    with pytest.raises(TimeoutError):
        targets.check("toy", b"1")


def test_what_takes_long_only_once_is_no_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(targets.TARGETS, "toy", lambda data: None)
    for times, fails in (([3.0, 0.1], False), ([3.0, 3.0], True)):
        monkeypatch.setattr(targets, "seconds", lambda *_, left=times: left.pop(0))
        with pytest.raises(TimeoutError) if fails else contextlib.nullcontext():
            targets.check("toy", b"")
        assert not times


def test_json_is_mutated_where_there_is_some() -> None:
    data = b'\x01\x02{"a": [1, 2], "b": {"c": 3}}\xff'
    assert len({mutated(data, seed) for seed in range(20)}) > 10
    for seed in range(20):
        new = mutated(data, seed)
        assert new is not None and new[:3] == data[:3] and new[-1:] == data[-1:]
    assert mutated(b"none", 0) is None


@pytest.mark.slow
@pytest.mark.parametrize("names", [NAMES[i : i + 2] for i in range(0, len(NAMES), 2)])
def test_a_little_fuzzing_finds_nothing(names: list[str]) -> None:
    """Two readers at once; ``python tests/fuzz/run.py`` takes a minute for each."""
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris has no wheel for this machine")
    command = [sys.executable, str(HERE / "run.py"), *names, "--seconds", "15"]
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": ""}
    )
    assert done.returncode == 0, done.stdout + done.stderr
