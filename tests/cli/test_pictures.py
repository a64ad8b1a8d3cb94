"""Tests of the commands in ``cli/pictures.py``: what they print, write and refuse."""

from __future__ import annotations

import io
import itertools
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from safetensors.torch import save_file

from facersa.cipher.catalogue import build_learned
from facersa.cli.encrypt import OPEN_WARNING, SHARED_PIXELS
from facersa.cli.pictures import read_secrets
from facersa.judges.metrics import psnr
from facersa.photo.images import load_image
from facersa.sealing.chunk import unseal, unseal_all
from facersa.sealing.picture import carries_code
from facersa.sealing.pixels import find

pytestmark = pytest.mark.usefixtures("one_salt")

Run = Callable[..., int]
Capture = pytest.CaptureFixture[str]


def test_encrypt_and_decrypt_round_trip(
    sealed: Path,
    tmp_path: Path,
    capfd: Capture,
    run: Run,
    secret: str,
) -> None:
    assert run("decrypt", sealed, "-o", tmp_path / "b.png", "--password", secret) == 0
    assert load_image(tmp_path / "b.png").shape == (1, 3, 512, 512)
    back = tmp_path / "b.png"
    printed = capfd.readouterr()
    assert printed.out == (
        f"wrote {back}: encrypted faces found: 1; decrypted: 0 (steady cipher)\n"
    )
    assert secret not in printed.out + printed.err
    assert secret.encode() not in sealed.read_bytes()


def test_a_jpeg_of_the_picture_is_decrypted_from_its_pixels(
    sealed: Path,
    tmp_path: Path,
    capfd: Capture,
    run: Run,
    secret: str,
) -> None:
    jpeg, back, whole = tmp_path / "a.jpg", tmp_path / "b.png", tmp_path / "c.png"
    with Image.open(sealed) as opened:
        opened.convert("RGB").save(jpeg, quality=80)
    secret = ("--password", secret)
    assert run("decrypt", jpeg, "-o", back, *secret) == 1
    assert "--from-pixels" in capfd.readouterr().err and not back.exists()
    assert run("decrypt", jpeg, "-o", back, *secret, "--from-pixels") == 0
    assert run("decrypt", sealed, "-o", whole, *secret) == 0
    assert psnr(load_image(back), load_image(whole)).item() > 30


def test_pixels_without_a_code_are_named_before_a_password_is_asked_for(
    photo: Path, tmp_path: Path, capfd: Capture, run: Run
) -> None:
    output = tmp_path / "b.png"
    assert run("decrypt", photo, "-o", output, "--from-pixels") == 1
    assert "no code can be read from these pixels" in capfd.readouterr().err
    bare = ("--password", "x", "--steps", 1, "--no-pixels", "--chunk", "none")
    assert run("encrypt", photo, "-o", output, *bare) == 0
    assert run("decrypt", output, "-o", output.with_name("c.png"), "--from-pixels") == 1


def test_the_password_may_come_from_the_environment(
    sealed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run, secret: str
) -> None:
    monkeypatch.setenv("FACERSA_PASSWORD", secret)
    assert run("decrypt", sealed, "-o", tmp_path / "a.png") == 0
    assert run("decrypt", sealed, "-o", tmp_path / "b.png", "--password", secret) == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_password_may_come_from_files(
    sealed: Path, tmp_path: Path, capfd: Capture, run: Run, secret: str
) -> None:
    given, back = tmp_path / "secret.txt", tmp_path / "back.png"
    given.write_bytes(b"\xef\xbb\xbf" + secret.encode() + b"\r\nmore lines\n\xff")
    given.chmod(0o640)
    assert run("decrypt", sealed, "-o", back, "--password-file", given) == 0
    assert f"others can read {given}; chmod 600" in capfd.readouterr().err
    whole = tmp_path / "whole.png"
    assert run("decrypt", sealed, "-o", whole, "--password", secret) == 0
    assert back.read_bytes() == whole.read_bytes()
    assert back.stat().st_mode & 0o777 == 0o600


def test_a_file_gives_its_first_line_as_the_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("Zo\xeb \n", "utf-8")
    two.write_bytes(b"x" * 4096)
    for path in (one, two):
        path.chmod(0o600)
    stdin = io.TextIOWrapper(io.BytesIO(b"third\nfourth\n"))
    monkeypatch.setattr("sys.stdin", stdin)
    files = (str(one), str(two), "-", "-")
    secrets = read_secrets(("typed",), (), files)
    assert secrets.texts == ("typed", "Zo\xeb ", "x" * 4096, "third", "fourth")
    assert capfd.readouterr().err == ""
    assert resource.getrlimit(resource.RLIMIT_CORE)[0] == 0


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (b"", "empty or not UTF-8"),
        (b"\nsecond", "empty or not UTF-8"),
        (b"hunter2\xe9", "empty or not UTF-8"),
        (b"hunter2\0", "empty or not UTF-8"),
        (b"x" * 4097, "more than 4096 bytes"),
        (None, "check the path"),
    ],
)
def test_a_file_without_a_password_is_named(
    content: bytes | None, hint: str, sealed: Path, tmp_path: Path, run: Run, capfd: Any
) -> None:
    given, back = tmp_path / "secret.txt", tmp_path / "back.png"
    if content is not None:
        given.write_bytes(content)
    assert run("decrypt", sealed, "-o", back, "--password-file", given) == 1
    message = capfd.readouterr().err
    assert hint in message and str(given) in message and "hunter2" not in message
    assert len(message.splitlines()) == 1 and not back.exists()


def test_open_files_warn_and_compose(
    opened: Path, tmp_path: Path, capfd: Capture, run: Run
) -> None:
    second = tmp_path / "2.png"
    assert run("encrypt", opened, "-o", second, "--password", "b") == 0
    printed = capfd.readouterr()
    assert OPEN_WARNING in printed.err
    assert "encrypted once more: 0 (steady cipher)" in printed.out
    assert unseal(second.read_bytes()).mode == "open"


def test_only_a_png_is_written(
    photo: Path, sealed: Path, tmp_path: Path, capfd: Capture, run: Run
) -> None:
    output = tmp_path / "out.jpg"
    for arguments in (("encrypt", photo), ("decrypt", sealed)):
        assert run(*arguments, "-o", output, "--password", "x") == 2
        message = capfd.readouterr().err
        assert f"name it {output.with_suffix('.png')}" in message
    assert not output.exists()


def test_all_faces_with_one_password(
    pair: Path, tmp_path: Path, capfd: Capture, run: Run
) -> None:
    output, back = tmp_path / "out.png", tmp_path / "back.png"
    secret = ("--password", "a")
    some = ("--face", "1", "--face", "0", "--steps", 1)
    assert run("encrypt", pair, "-o", output, *secret, *some) == 0
    printed = capfd.readouterr()
    assert "face 0, of 2" in printed.err and "face 1, of 2" in printed.err
    assert SHARED_PIXELS in printed.err
    assert f"{output}: faces found: 2; encrypted: 0, 1 (steady" in printed.out
    first, second = unseal_all(output.read_bytes())
    assert first.salt != second.salt
    assert find(load_image(output)).salt == first.salt
    assert run("decrypt", output, "-o", back, *secret) == 1
    assert "choose one with --face" in capfd.readouterr().err and not back.exists()
    assert run("encrypt", output, "-o", back, *secret, "--face", "all") == 1
    assert "every face" in capfd.readouterr().err
    assert run("decrypt", output, "-o", back, *secret, "--face", "all") == 0
    assert not carries_code(back.read_bytes())


def test_a_password_for_each_face(
    pair: Path, tmp_path: Path, capfd: Capture, run: Run
) -> None:
    one, two, back = (tmp_path / f"{name}.png" for name in ("one", "two", "back"))
    quick = ("--steps", 1, "--no-pixels")
    assert run("encrypt", pair, "-o", one, "--password", "a", "--face", 1, *quick) == 0
    again = ("encrypt", one, "-o", two, "--password", "b", *quick)
    assert run(*again, "--face", 1) == 1
    assert "decrypt it first" in capfd.readouterr().err
    assert (
        run(*again[:-3]) == 1
    )  # no face, and nothing can be added to an ambiguous file
    assert "--face" in capfd.readouterr().err
    assert run(*again, "--face", "all") == 0
    assert run("decrypt", two, "-o", back, "--password", "b", "--face", 0) == 0
    assert len(unseal_all(back.read_bytes())) == 1
    assert run("decrypt", back, "-o", two, "--password", "a") == 0


def test_a_sealed_face_opens_beside_one_that_was_encrypted_later(
    pair: Path, tmp_path: Path, run: Run, capfd: Capture
) -> None:
    one, two, back = (tmp_path / f"{number}.png" for number in range(3))
    how = ("--chunk", "sealed", "--steps", 0, "--face", 0)
    assert run("encrypt", pair, "-o", one, "--password", "a", *how) == 0
    how = ("--steps", 0, "--face", 1)
    assert run("encrypt", one, "-o", two, "--password", "b", *how) == 0
    sealed, other = unseal_all(two.read_bytes())
    assert sealed.geometry["others"] and (sealed.mode, other.mode) == (
        "sealed",
        "ambiguous",
    )
    assert run("decrypt", two, "-o", back, "--password", "b", "--face", 0) == 1
    assert "password is wrong" in capfd.readouterr().err and not back.exists()
    assert run("decrypt", two, "-o", back, "--password", "a", "--face", 0) == 0


def test_an_abandoned_prompt_is_no_traceback(
    sealed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, run: Run
) -> None:
    def gone(_: str) -> str:
        raise EOFError

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", gone)
    assert run("decrypt", sealed, "-o", tmp_path / "b.png") == 1
    assert "no password was typed" in capsys.readouterr().err


def test_a_terminal_of_another_encoding_is_no_traceback(
    sealed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, run: Run
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", lambda _: b"hunter2\xe9".decode())
    assert run("decrypt", sealed, "-o", tmp_path / "b.png") == 1
    printed = capsys.readouterr().err
    assert "set LC_ALL" in printed and "hunter2" not in printed


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("localedef"), reason="no other locales to make")
def test_the_same_letter_is_the_same_password_in_every_locale(
    sealed: Path, tmp_path: Path
) -> None:
    """On the command line, in the environment, and in names of files."""
    for charmap in ("UTF-8", "ISO-8859-1"):
        name = tmp_path / f"en_US.{charmap}"
        subprocess.run(["localedef", "-i", "en_US", "-f", charmap, name], check=True)
    pictures, letter = [], "\xe9"
    for charmap, how in itertools.product(("UTF-8", "ISO-8859-1"), ("option", "env")):
        typed = letter.encode(charmap)
        output = os.fsencode(tmp_path) + b"/" + typed + how.encode() + b".png"
        command = [sys.executable, "-m", "facersa", "decrypt", sealed, "-o", output]
        locale = {"LC_ALL": f"en_US.{charmap}", "LOCPATH": str(tmp_path)}
        variables = {os.fsencode(k): os.fsencode(v) for k, v in os.environ.items()}
        variables |= {os.fsencode(k): os.fsencode(v) for k, v in locale.items()}
        variables[b"PYTHONPATH"] = os.fsencode(Path(__file__).parents[2])
        if how == "env":
            variables[b"FACERSA_PASSWORD"] = typed
        else:
            command += ["--password", typed]
        done = subprocess.run(command, env=variables, capture_output=True)
        assert done.returncode == 0, done.stderr
        assert b"wrote " + output in done.stdout
        with open(output, "rb") as file:
            pictures.append(file.read())
    assert len(set(pictures)) == 1


def test_pair_prints_codes_that_undo_each_other(capsys: Capture, run: Run) -> None:
    assert run("pair", "--bits", 24) == 0
    (_, e), (_, d) = (line.split() for line in capsys.readouterr().out.splitlines())
    assert len(e) == 24
    assert all(a != b for a, b in zip(e, d, strict=True))


def test_wrong_files_are_named_before_a_password_is_asked(
    photo: Path,
    sealed: Path,
    tmp_path: Path,
    capsys: Capture,
    run: Run,
) -> None:
    output = tmp_path / "out.png"
    broken = tmp_path / "broken.png"
    data = bytearray(sealed.read_bytes())
    data[data.index(b"faRs") + 2000] ^= 1
    broken.write_bytes(data)
    for source, hint in ((photo, "no FaceRSA code"), (broken, "intact copy")):
        assert run("decrypt", source, "-o", output) == 1
        assert hint in capsys.readouterr().err
    assert not output.exists()


def test_secrets_are_checked(
    photo: Path,
    sealed: Path,
    tmp_path: Path,
    capsys: Capture,
    run: Run,
) -> None:
    output = tmp_path / "out.png"
    assert run("encrypt", photo, "-o", output) == 1
    assert "no password was given" in capsys.readouterr().err
    assert run("encrypt", photo, "-o", output, "--password", "") == 1
    assert "empty" in capsys.readouterr().err
    assert run("encrypt", photo, "-o", output, "--code", "01x") == 1
    assert "0 and 1" in capsys.readouterr().err
    assert run("decrypt", sealed, "-o", output, "--code", "0110") == 1
    assert "128" in capsys.readouterr().err
    assert not output.exists()


def test_outputs_are_checked_before_the_work(
    photo: Path, tmp_path: Path, capsys: Capture, run: Run
) -> None:
    own = tmp_path / "own.png"
    own.write_text("x")
    for output, hint in (
        (tmp_path / "no" / "out.png", "does not exist"),
        (tmp_path, "is a folder"),
        (photo, "the input itself"),
        (os.devnull, "not a regular file"),
        (tmp_path / ("x" * 300), "name is too long"),
        (own, "the input itself"),
    ):
        how = ("--password-file", own, "--bisenet", own)
        assert run("encrypt", photo, "-o", output, *how) == 1
        assert hint in capsys.readouterr().err
    assert photo.stat().st_size > 1000 and own.read_text() == "x"


def test_a_full_disk_leaves_nothing(
    sealed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
    run: Run,
    secret: str,
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert run("decrypt", sealed, "-o", tmp_path / "b.png", "--password", secret) == 1
    assert "No space left" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_missing_weights_without_a_network(
    tmp_path: Path, photo: Path, run: Run, secret: str
) -> None:
    environment = os.environ | {
        "FACERSA_CACHE": str(tmp_path / "cache"),
        "PIP_NO_INDEX": "1",
        "PIP_CONFIG_FILE": os.devnull,
        "FACERSA_PASSWORD": secret,
    }
    environment.pop("PIP_FIND_LINKS", None)
    done = subprocess.run(
        [sys.executable, "-m", "facersa", "encrypt", str(photo), "-o", "out.png"],
        env=environment | {"PYTHONPATH": str(Path(__file__).parents[2])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "check the network" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out.png").exists()
    assert {p.name for p in (tmp_path / "cache").iterdir()} <= {".lock"}


def test_weights_of_ones_own_are_needed_again(
    photo: Path, tmp_path: Path, capfd: Capture, run: Run
) -> None:
    weights, names = tmp_path / "own.safetensors", ("one", "two", "three", "back")
    one, two, three, back = (tmp_path / f"{name}.png" for name in names)
    cipher = build_learned("steered")
    tensors = {name: value.contiguous() for name, value in cipher.state_dict().items()}
    save_file(tensors, weights)
    card = {"settings": {"mapper": cipher.settings}}
    weights.with_suffix(".json").write_text(json.dumps(card))
    own, first = ("--weights", weights), ("--password", "a")
    how = ("--cipher", "steered", "--chunk", "open", "--steps", 0)
    assert run("encrypt", photo, "-o", one, *first, *how, *own) == 0
    assert run("encrypt", one, "-o", two, "--password", "b") == 1
    assert "pass the file that holds them with --weights" in capfd.readouterr().err
    assert run("encrypt", one, "-o", two, "--password", "b", *own) == 0
    assert run("decrypt", two, "-o", three, *first, *own) == 0
    assert run("decrypt", three, "-o", back, "--password", "b") == 1
    assert run("decrypt", three, "-o", back, "--password", "b", *own) == 0
