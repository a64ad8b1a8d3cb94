"""Tests of what all commands share: help, errors in one line, exit status, options."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from facersa.cipher import catalogue
from facersa.cipher.catalogue import DEFAULT
from facersa.cipher.password import DEFAULT_BITS
from facersa.cipher.rotation import DEFAULT_KAPPA, DEFAULT_LAYERS
from facersa.cipher.steady import KAPPA, LAYERS, PUSHES
from facersa.cli import encrypt, fit, train
from facersa.cli.options import OPTIONS
from facersa.cli.parser import cipher_names, cli
from facersa.errors import FaceRSAError
from facersa.inversion.search import ProjectConfig

Run = Callable[..., int]
Capture = pytest.CaptureFixture[str]
ROOT = Path(__file__).resolve().parents[2]


def one_line(capsys: Capture) -> str:
    """The one line on standard error; nothing else was printed."""
    printed = capsys.readouterr()
    line = printed.err.removeprefix("\n")  # which ends a terminal's line after ^C
    assert printed.out == "" and len(line.splitlines()) == 1
    assert line.startswith("facersa: ")
    return line


def test_help_and_version_import_nothing_slow() -> None:
    code = (
        "import sys; from facersa.__main__ import main\n"
        "for arguments in (['--help'], ['--version'], *([c, '--help'] for c in "
        f"{sorted(cli.commands)})): assert main(arguments) == 0\n"
        "assert not {'torch', 'numpy', 'PIL'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert f"facersa {version('facersa')}\n" in done.stdout
    for command in cli.commands:
        assert f"Usage: facersa {command} " in done.stdout


def test_help_names_the_defaults(run: Run, capsys: Capture) -> None:
    assert run("encrypt", "--help") == 0
    shown = " ".join(capsys.readouterr().out.split())
    rows = f"steady {LAYERS[0]}-{LAYERS[-1]}, "
    rows += f"rotation {DEFAULT_LAYERS[0]}-{DEFAULT_LAYERS[-1]}"
    for default in (
        "ambiguous",
        DEFAULT,
        f"steady {KAPPA}, rotation {DEFAULT_KAPPA}",
        f"{ProjectConfig().steps}",
        f"{DEFAULT_BITS}; a trained cipher has its own, 16",
        f"{rows}; the paper's are 5-8",
    ):
        assert f"[default: {default}]" in shown
    assert all(name in OPTIONS["cipher"][1] for name in cipher_names())
    *first, last = map(str, PUSHES.values())
    named = f"{', '.join(PUSHES)}".replace(", strong", " or strong")
    assert f"{named}, {', '.join(first)} and {last}," in shown
    assert run("evaluate", "--help") == 0
    shown = " ".join(capsys.readouterr().out.split())
    for default in (64, 0, 0.85, "W"):
        assert f"[default: {default}]" in shown


def test_every_description_belongs_to_an_option() -> None:
    used = {
        key
        for name, command in cli.commands.items()
        for parameter in command.params
        for key in (parameter.name, f"{name} {parameter.name}")
    }
    assert set(OPTIONS) <= used


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ((), "Missing command"),
        (("encode",), "No such command"),
        (("encrypt",), "PHOTO"),
        (("encrypt", "a.png"), "--output"),
        (("encrypt", "a.png", "-o", "b.png", "--mapper", "ring"), "--mapper"),
        (
            ("encrypt", "a.png", "-o", "b.png", "--cipher", "rign"),
            "rotation, steady, ring, ",
        ),
        (("encrypt", "a.png", "-o", "b.png", "--face", "left"), "a number or all"),
        (("encrypt", "a.png", "-o", "b.png", "--layers", "8-5"), "such as 5-8"),
        (("encrypt", "a.png", "-o", "b.png", "--layers", "0-99"), "such as 5-8"),
        (("encrypt", "a.png", "-o", "b.png", "--layers", "9" * 12), "such as 5-8"),
        (("encrypt", "a.png", "-o", "b.png", "--kappa", "much"), "--kappa"),
        (("encrypt", "a.png", "-o", "b.png", "--steps", "-1"), "number from 0 on"),
        (
            ("encrypt", "a.png", "-o", "b.png", "--face", "all", "--face", "9"),
            "leave out the numbers",
        ),
        (
            ("decrypt", "a.png", "-o", "b.png", "--face", "9", "--face", "all"),
            "leave out the numbers",
        ),
        (("evaluate", "--n", "0"), "number from 1 on"),
        (("evaluate", "--psi", "0.8"), "0.7, 0.85 or 1"),
        (("evaluate", "--psi", "much"), "0.7, 0.85 or 1"),
        (("attack", "pictures", "--n", "0"), "number from 1 on"),
        (("localise", "--people", "no"), "number from 1 on"),
        (("ablate", "--seed", "-1"), "number from 0 on"),
        (("train", "head", "--until", "0"), "number from 1 on"),
        (("evaluate", "--cipher", "mapper"), "expected one of"),
        (("evaluate", "--stratum", "Z"), "row-mixed"),
        (("train", "mapper", "--preset", "cpuu"), "smoke"),
        (("train", "everything"), "encoder"),
    ],
)
def test_a_wrong_call_is_one_line(
    arguments: tuple[str, ...], hint: str, run: Run, capsys: Capture
) -> None:
    assert run(*arguments) == 2
    line = one_line(capsys)
    assert hint in line and "; see facersa" in line and line.endswith("--help.\n")


@pytest.mark.parametrize(
    ("error", "status", "hint"),
    [
        (FaceRSAError("this is\nwrong."), 1, "this is wrong."),
        (KeyboardInterrupt(), 130, "no file was left half-written"),
        (MemoryError(), 1, "not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 1, "memory"),
        (OSError(28, "No space left on device", "x.png"), 1, "x.png: No space left"),
    ],
)
def test_an_error_is_one_line(
    error: BaseException,
    status: int,
    hint: str,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    def fail(_: int) -> None:
        raise error

    monkeypatch.setattr("facersa.cipher.password.pair", fail)
    assert run("pair") == status
    assert hint in one_line(capsys)


def test_a_bug_keeps_its_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("facersa.cipher.password.pair", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        run("pair")


def test_a_reader_that_needs_no_more_is_no_error() -> None:
    child = subprocess.Popen(
        [sys.executable, "-m", "facersa", "pair"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stdout is not None and child.stderr is not None
    child.stdout.close()  # before anything is printed, as head may
    assert child.stderr.read() == b""
    child.stderr.close()
    assert child.wait() == 0


def test_the_shell_completes(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    from facersa.__main__ import main

    for words, expected in (
        ("facersa enc", ["plain,encrypt"]),
        ("facersa encrypt --cipher r", ["plain,rotation", "plain,ring"]),
        ("facersa train mapper --preset g", ["plain,gpu"]),
    ):
        monkeypatch.setenv("_FACERSA_COMPLETE", "bash_complete")
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
        with pytest.raises(SystemExit) as done:
            main([])
        assert done.value.code == 0
        assert capsys.readouterr().out.split() == expected


def test_ciphers_are_looked_up_when_a_command_runs(
    run: Run, photo: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setitem(catalogue.CATALOGUE, "toy", catalogue.CATALOGUE["ring"])
    assert "toy" in cipher_names()
    # The name passes; what is missing next is a password.
    assert run("encrypt", photo, "-o", photo.parent / "x.png", "--cipher", "toy") == 1
    assert "no password" in one_line(capsys)


@pytest.mark.parametrize(
    ("given", "settings"),
    [
        (
            "--cipher ring --weights w.safetensors --bisenet b.pth --generator g.pt",
            {
                "bisenet": "parts of b.pth",
                "encoder": None,
                "cipher": "ring",
                "weights": "w.safetensors",
            },
        ),
        (
            "--layers 5-8 --kappa 0",
            {"encoder": None, "layers": (5, 6, 7, 8), "kappa": 0.0},
        ),
        ("--kappa strong", {"encoder": None, "kappa": 0.45}),
        ("", {"encoder": None}),
    ],
)
def test_settings_and_files_of_ones_own_reach_the_engine(
    given: str,
    settings: dict[str, Any],
    run: Run,
    photo: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    def engine(generator: str, **received: Any) -> None:
        raise FaceRSAError(f"{generator} {received}")

    monkeypatch.setattr("facersa.pipeline.FaceRSA", engine)
    backend = "facersa.inversion.inverter.load_backend"
    monkeypatch.setattr(backend, lambda file: (file, None))
    parts = "facersa.judges.bisenet.load_bisenet"
    monkeypatch.setattr(parts, lambda file: f"parts of {file}")
    arguments = ("encrypt", photo, "-o", tmp_path / "out.png", "--password", "x")
    assert run(*arguments, *given.split()) == 1
    generator = "g.pt" if "--generator" in given else None
    printed = one_line(capsys).removeprefix(f"facersa: {generator} ")
    assert ast.literal_eval(printed) == settings


def test_functions_are_typed_and_choices_agree() -> None:
    choices = cli.commands["train"].params[0].type.choices  # type: ignore[attr-defined]
    assert set(choices) == {*train.TASKS, *fit.FITS}
    assert encrypt.encrypt.__annotations__["kappa"] == "float | None"
    assert os.environ.get("_FACERSA_COMPLETE") is None


SLOW = """
import os, signal, sys, time, types
signal.signal(signal.SIGINT, signal.default_int_handler)  # nohup and & ignore these
signal.signal(signal.SIGHUP, signal.SIG_DFL)
from facersa.__main__ import main
from facersa.files import write_atomic
def slow(descriptor):
    print("writing", flush=True)
    time.sleep(60)
os.fsync = slow
if sys.argv[1] == "named":
    del os.O_TMPFILE
stub = types.ModuleType("stub")  # of what imports torch, slowly
stub.pair = lambda _: write_atomic("out.png", b"new")
sys.modules["facersa.cipher.password"] = stub
sys.exit(main(["pair"]))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("way", ["nameless", "named"])
def test_a_signal_stops_like_control_c(
    number: signal.Signals, way: str, tmp_path: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SLOW, way],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None and child.stderr is not None
        assert child.stdout.readline() == "writing\n"
        child.send_signal(number)
        printed = child.stderr.read().strip()
    assert printed == "facersa: stopped; no file was left half-written."
    assert child.returncode == 128 + number
    assert list(tmp_path.iterdir()) == []


HANG_UP = """
import os, signal, sys, types
from facersa.__main__ import main
from facersa.errors import FaceRSAError
def hang_up(_):
    os.kill(os.getpid(), signal.SIGHUP)
    raise FaceRSAError("went on.")
stub = types.ModuleType("stub")  # of what imports torch, slowly
stub.pair = hang_up
sys.modules["facersa.cipher.password"] = stub
before = getattr(signal, sys.argv[1])
signal.signal(signal.SIGHUP, before)
status = main(["pair"])
assert signal.getsignal(signal.SIGHUP) == before
sys.exit(status)
"""


@pytest.mark.parametrize(
    ("handler", "status", "said"),
    [("SIG_IGN", 1, "went on"), ("SIG_DFL", 129, "stopped")],
)
def test_an_ignored_signal_stays_ignored_and_handlers_are_put_back(
    handler: str, status: int, said: str
) -> None:
    """As under nohup; and who calls ``main`` from Python keeps the own handlers."""
    done = subprocess.run(
        [sys.executable, "-c", HANG_UP, handler],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == status and said in done.stderr


@pytest.mark.parametrize("encoding", ["ascii:strict", "latin-1:strict", "utf-8:strict"])
def test_what_a_terminal_cannot_show_is_no_error(encoding: str, tmp_path: Path) -> None:
    """Not even a file name that is no text at all."""
    code = (
        "import sys, click; from facersa.__main__ import main\n"
        "from facersa.cli import parser; from facersa.errors import FaceRSAError\n"
        "import types; stub = types.ModuleType('stub')\n"
        "sys.modules['facersa.cipher.password'] = stub\n"
        "def pair(_):\n"
        "    click.echo('wrote Zo\\xeb \\u4e2d \\udcff')\n"
        "    raise FaceRSAError('cannot read Zo\\xeb \\u4e2d \\udcff')\n"
        "stub.pair = pair\n"
        "sys.exit(main(['pair']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding},
        capture_output=True,
    )
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith(b"wrote Zo") and b"Traceback" not in done.stderr
    assert done.stderr.startswith(b"facersa: cannot read Zo")


@pytest.mark.parametrize("given", ["", "active"])
def test_waiting_threads_sleep_unless_the_user_wants_otherwise(given: str) -> None:
    code = (
        "import os; from facersa.__main__ import main; main(['--version'])\n"
        "print(os.environ['OMP_WAIT_POLICY'])"
    )
    settings = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=settings | ({"OMP_WAIT_POLICY": given} if given else {}),
    )
    assert done.stdout.split()[-1] == (given or "passive")
