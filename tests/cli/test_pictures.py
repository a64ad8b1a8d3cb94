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
import torch
from PIL import Image
from safetensors.torch import save_file

from facersa.cipher.catalogue import build_learned
from facersa.cli.pictures import OPEN_WARNING, SHARED_PIXELS, read_secrets
from facersa.judges.metrics import psnr
from facersa.photo.blazeface import load_blazeface
from facersa.photo.images import load_image, resize, save_png, to_uint8
from facersa.sealing.chunk import unseal, unseal_all
from facersa.sealing.picture import carries_code
from facersa.sealing.pixels import find

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


def test_a_picture_too_small_for_a_code_is_said(
    photo: Path, tmp_path: Path, capfd: Capture, run: Run
) -> None:
    small, output = tmp_path / "small.png", tmp_path / "out.png"
    with Image.open(photo) as opened:
        opened.crop((130, 20, 330, 220)).save(small)
    assert run("encrypt", small, "-o", output, "--password", "x", "--steps", 1) == 0
    assert "too small to hold the code" in capfd.readouterr().err
    assert run("decrypt", output, "-o", tmp_path / "b.png", "--password", "x") == 0


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


@pytest.mark.parametrize(
    "option",
    [
        "--chunk ambiguous",
        "--bits 16",
        "--steps 0",
        "--cipher rotation",
        "--layers 5-8",
        "--kappa 0",
        "--crop",
        "--paint head",
        "--look any",
        "--no-pixels",
    ],
)
def test_an_encrypted_file_keeps_its_settings(
    option: str, opened: Path, tmp_path: Path, capfd: Capture, run: Run
) -> None:
    output = tmp_path / "3.png"
    arguments = ("encrypt", opened, "-o", output, "--password", "b", *option.split())
    if option == "--kappa 0":  # the same where the face is named
        arguments += ("--face", 0)
    assert run(*arguments) == 2
    message = capfd.readouterr().err
    assert f"leave out {option.split()[0]}" in message and not output.exists()
    assert len(message.splitlines()) == 1


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


def test_wishes_for_faces_are_checked_before_the_work(
    pair: Path, photo: Path, tmp_path: Path, capfd: Capture, run: Run
) -> None:
    arguments = ("encrypt", pair, "-o", tmp_path / "out.png", "--password", "a")
    for wish, hint in (
        (("--face", 0, "--face", 2), "none has number 2"),
        (("--face", "all", "--crop"), "--crop keeps one face"),
        (("--face", "all", "--chunk", "none"), "one face only"),
    ):
        assert run(*arguments, *wish) == 1
        message = capfd.readouterr().err
        assert hint in message and len(message.splitlines()) == 1
    assert run(*arguments, "--crop", "--paint", "face") == 2
    assert "leave out --paint" in capfd.readouterr().err


def test_open_faces_take_another_password(pair: Path, tmp_path: Path, run: Run) -> None:
    one, two = tmp_path / "1.png", tmp_path / "2.png"
    how = ("--face", "all", "--chunk", "open", "--steps", 1)
    assert run("encrypt", pair, "-o", one, "--password", "a", *how) == 0
    assert run("encrypt", one, "-o", two, "--password", "b") == 1
    assert run("encrypt", one, "-o", two, "--password", "b", "--face", 0) == 0
    before, after = (unseal_all(path.read_bytes()) for path in (one, two))
    changed = [
        not torch.equal(b.code(), a.code()) for b, a in zip(before, after, strict=True)
    ]
    assert changed == [True, False]


@pytest.fixture
def bystander(astronaut: torch.Tensor, tmp_path: Path) -> Path:
    """A photograph in which a second face is too small to be encrypted."""
    path, photo = tmp_path / "bystander.png", astronaut.clone()
    photo[..., 8:72, 420:484] = resize(astronaut[..., 30:190, 140:300], 64)
    save_png(photo, path)
    return path


def test_a_face_that_cannot_be_encrypted_is_not_left_in_silence(
    bystander: Path, tmp_path: Path, run: Run, capfd: Capture
) -> None:
    output = tmp_path / "out.png"
    arguments = ("encrypt", bystander, "-o", output, "--password", "a", "--steps", 0)
    for which in ((), ("--face", "all"), ("--face", 0)):
        assert run(*arguments, *which) == 1
        message = capfd.readouterr().err
        assert "face 1 of 2 cannot be encrypted" in message and "--others" in message
        assert "pixels wide" in message and not output.exists()
    assert run(*arguments, "--face", 1) == 1
    assert "only" in capfd.readouterr().err
    assert run(*arguments, "--others", "pixelate") == 0
    told = capfd.readouterr()
    assert "encrypted: 0" in told.out and "pixelated: 1" in told.err
    found = load_blazeface().detect(to_uint8(load_image(output))[0])
    assert len(found) == 1 and found[0].box[0] < 300


def test_a_kept_inversion_serves_another_password_and_cipher(
    photo: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, one, two = (tmp_path / name for name in ("kept", "1.png", "2.png"))
    how = ("--steps", 1, "--keep-inversion", kept)
    assert run("encrypt", photo, "-o", one, "--password", "a", *how) == 0
    assert kept.stat().st_mode & 0o077 == 0

    def search(*_: object, **__: object) -> None:
        raise AssertionError("searched again")

    monkeypatch.setattr("facersa.inversion.inverter.Inverter.find", search)
    how = (*how, "--cipher", "ring")
    assert run("encrypt", photo, "-o", two, "--password", "b", *how) == 0
    codes = []
    for path, password in ((one, "a"), (two, "b")):
        back = tmp_path / "back.png"
        assert run("decrypt", path, "-o", back, "--password", password) == 0
        codes.append(load_image(back))
    assert psnr(codes[0], codes[1]).item() > 40
    with pytest.raises(AssertionError, match="searched again"):
        run("encrypt", photo, "-o", one, "--password", "a", *how[2:], "--steps", 2)


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


def test_short_codes_in_ambiguous_files_are_warned_about(
    photo: Path, tmp_path: Path, capfd: Capture, run: Run
) -> None:
    arguments = ("encrypt", photo, "-o", tmp_path / "1.png", "--steps", 1)
    assert run(*arguments, "--code", "0110100110010110") == 0
    assert "16 bits is quickly found" in capfd.readouterr().err


def test_metadata_of_the_photograph_stays_at_home(
    photo: Path, tmp_path: Path, run: Run, secret: str
) -> None:
    source, output = tmp_path / "in.jpg", tmp_path / "out.png"
    exif = Image.Exif()
    exif[0x010E] = "secret-DESCRIPTION"
    exif.get_ifd(0x8825)[1] = "N"
    with Image.open(photo) as opened:
        opened.save(source, exif=exif, comment=b"secret-COMMENT", quality=95)
    assert b"secret" in source.read_bytes()
    assert run("encrypt", source, "-o", output, "--password", "x", "--steps", 1) == 0
    data = output.read_bytes()
    assert b"secret" not in data and b"Exif" not in data
    with Image.open(output) as written:
        assert not written.getexif() and set(written.info) == set()


def test_settings_are_checked_before_the_work(
    photo: Path, tmp_path: Path, capfd: Capture, run: Run
) -> None:
    output = tmp_path / "out.png"
    for option in (("--layers", "5-12"), ("--kappa", "nan"), ("--bits", "-1")):
        assert run("encrypt", photo, "-o", output, "--password", "x", *option) == 1
        assert run("evaluate", "--n", 1, *option) == 1
        assert "invert" not in capfd.readouterr().err
    assert run("evaluate", "--n", 0) == 1
    assert "at least 2 people" in capfd.readouterr().err


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


def picture(path: Path, size: tuple[int, int], kind: str = "PNG") -> Path:
    Image.new("RGB", size, "grey").save(path, kind)
    return path


def two_faces(path: Path, photo: Path) -> Path:
    one = load_image(photo)
    save_png(torch.cat([one, one], 3), path)
    return path


def bad_input(kind: str, folder: Path, photo: Path) -> Path:
    path = folder / "in.png"
    if kind == "missing":
        return path
    if kind == "no face":
        return picture(path, (300, 300))
    if kind == "one pixel":
        return picture(path, (1, 1))
    if kind == "several faces":
        return two_faces(path, photo)
    if kind == "huge":
        Image.new("1", (20_000, 6_000)).save(path)
        return path
    content = {
        "corrupt": photo.read_bytes()[:5000],
        "text": b"just text\n",
        "empty": b"",
    }
    path.write_bytes(content[kind])
    return path


@pytest.mark.parametrize(
    ("kind", "hint"),
    [
        ("missing", "check the path"),
        ("no face", "no face was found"),
        ("one pixel", "larger copy"),
        ("several faces", "choose one"),
        ("huge", "scale it down"),
        ("corrupt", "damaged"),
        ("text", "not a picture"),
        ("empty", "not a picture"),
    ],
)
def test_bad_photographs_give_one_line_and_no_file(
    kind: str,
    hint: str,
    photo: Path,
    tmp_path: Path,
    capfd: Capture,
    run: Run,
) -> None:
    source, output = bad_input(kind, tmp_path, photo), tmp_path / "out.png"
    assert run("encrypt", source, "-o", output, "--password", "x", "--steps", 1) == 1
    message = capfd.readouterr().err.splitlines()[-1]
    assert message.startswith("facersa: ") and hint in message
    assert not output.exists()


@pytest.mark.parametrize("mode", ["CMYK", "L", "RGBA"])
def test_odd_colour_modes_are_welcome(
    mode: str, photo: Path, tmp_path: Path, run: Run
) -> None:
    source = tmp_path / "in.tiff"
    Image.open(photo).convert(mode).save(source)
    output = tmp_path / "out.png"
    assert run("encrypt", source, "-o", output, "--password", "x", "--steps", 1) == 0
    assert load_image(output).shape == (1, 3, 512, 512)


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
