"""Tests of the command line: what it prints, returns, writes and refuses."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from facersa.__main__ import main
from facersa.cli.pictures import OPEN_WARNING, SHARED_PIXELS
from facersa.judges.metrics import psnr
from facersa.photo.images import load_image, save_png
from facersa.sealing.chunk import unseal, unseal_all
from facersa.sealing.picture import carries_code
from facersa.sealing.pixels import find

SECRET = "xyzzy plugh 42"


def run(*arguments: str | Path) -> int:
    return main([str(argument) for argument in arguments])


@pytest.fixture(autouse=True)
def no_password_around(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FACERSA_PASSWORD", raising=False)
    monkeypatch.setattr("sys.stdin", io.StringIO())


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory, astronaut: torch.Tensor) -> Path:
    path = tmp_path_factory.mktemp("photo") / "astronaut.png"
    save_png(astronaut, path)
    return path


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory, photo: Path) -> Path:
    path = tmp_path_factory.mktemp("sealed") / "out.png"
    assert run("encrypt", photo, "-o", path, "--password", SECRET, "--steps", 2) == 0
    return path


def test_encrypt_and_decrypt_round_trip(
    sealed: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("decrypt", sealed, "-o", tmp_path / "b.png", "--password", SECRET) == 0
    assert load_image(tmp_path / "b.png").shape == (1, 3, 512, 512)
    printed = capfd.readouterr()
    assert SECRET not in printed.out + printed.err
    assert SECRET.encode() not in sealed.read_bytes()


def test_a_jpeg_of_the_picture_is_decrypted_from_its_pixels(
    sealed: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    jpeg, back, whole = tmp_path / "a.jpg", tmp_path / "b.png", tmp_path / "c.png"
    with Image.open(sealed) as opened:
        opened.convert("RGB").save(jpeg, quality=80)
    secret = ("--password", SECRET)
    assert run("decrypt", jpeg, "-o", back, *secret) == 1
    assert "--from-pixels" in capfd.readouterr().err and not back.exists()
    assert run("decrypt", jpeg, "-o", back, *secret, "--from-pixels") == 0
    assert run("decrypt", sealed, "-o", whole, *secret) == 0
    assert psnr(load_image(back), load_image(whole)).item() > 30


def test_pixels_without_a_code_are_named_before_a_password_is_asked_for(
    photo: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "b.png"
    assert run("decrypt", photo, "-o", output, "--from-pixels") == 1
    assert "no code can be read from these pixels" in capfd.readouterr().err
    bare = ("--password", "x", "--steps", 1, "--no-pixels", "--chunk", "none")
    assert run("encrypt", photo, "-o", output, *bare) == 0
    assert run("decrypt", output, "-o", output.with_name("c.png"), "--from-pixels") == 1


def test_a_picture_too_small_for_a_code_is_said(
    photo: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    small, output = tmp_path / "small.png", tmp_path / "out.png"
    with Image.open(photo) as opened:
        opened.crop((130, 20, 330, 220)).save(small)
    assert run("encrypt", small, "-o", output, "--password", "x", "--steps", 1) == 0
    assert "too small to hold the code" in capfd.readouterr().err
    assert run("decrypt", output, "-o", tmp_path / "b.png", "--password", "x") == 0


def test_the_password_may_come_from_the_environment(
    sealed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACERSA_PASSWORD", SECRET)
    assert run("decrypt", sealed, "-o", tmp_path / "a.png") == 0
    assert run("decrypt", sealed, "-o", tmp_path / "b.png", "--password", SECRET) == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_open_files_warn_and_compose(
    photo: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "1.png", tmp_path / "2.png"
    options = ("--chunk", "open", "--steps", 2)
    assert run("encrypt", photo, "-o", first, "--password", "a", *options) == 0
    assert OPEN_WARNING in capfd.readouterr().err
    assert run("encrypt", first, "-o", second, "--password", "b") == 0
    assert unseal(second.read_bytes()).mode == "open"
    for option in (
        ("--chunk", "honey"),
        ("--bits", 16),
        ("--crop",),
        ("--keep-detail",),
    ):
        third = tmp_path / "3.png"
        assert run("encrypt", first, "-o", third, "--password", "b", *option) == 1
        assert option[0] in capfd.readouterr().err and not third.exists()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, astronaut: torch.Tensor) -> Path:
    path = tmp_path_factory.mktemp("pair") / "two.png"
    halves = [astronaut[..., :290], astronaut[..., 150:]]
    save_png(torch.cat(halves, dim=3), path)
    return path


def test_all_faces_with_one_password(
    pair: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output, back = tmp_path / "out.png", tmp_path / "back.png"
    secret = ("--password", "a")
    some = ("--face", "1", "--face", "0", "--steps", 1)
    assert run("encrypt", pair, "-o", output, *secret, *some) == 0
    printed = capfd.readouterr().err
    assert "face 0, of 2" in printed and "face 1, of 2" in printed
    assert SHARED_PIXELS in printed
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
    pair: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    one, two, back = (tmp_path / f"{name}.png" for name in ("one", "two", "back"))
    quick = ("--steps", 1, "--no-pixels")
    assert run("encrypt", pair, "-o", one, "--password", "a", "--face", 1, *quick) == 0
    again = ("encrypt", one, "-o", two, "--password", "b", *quick)
    assert run(*again, "--face", 1) == 1
    assert "decrypt it first" in capfd.readouterr().err
    assert run(*again[:-3]) == 1  # no face, and nothing can be added to a honey file
    assert "--face" in capfd.readouterr().err
    assert run(*again, "--face", "all") == 0
    assert run("decrypt", two, "-o", back, "--password", "b", "--face", 0) == 0
    assert len(unseal_all(back.read_bytes())) == 1
    assert run("decrypt", back, "-o", two, "--password", "a") == 0


def test_wishes_for_faces_are_checked_before_the_work(
    pair: Path, photo: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ("encrypt", pair, "-o", tmp_path / "out.png", "--password", "a")
    for wish, hint in (
        (("--face", 0, "--face", 2), "none has number 2"),
        (("--face", "all", "--crop"), "--crop keeps one face"),
        (("--face", "all", "--chunk", "none"), "one face only"),
        (("--face", 0, "--crop", "--keep-detail"), "leave one of them out"),
    ):
        assert run(*arguments, *wish) == 1
        message = capfd.readouterr().err
        assert hint in message and len(message.splitlines()) == 1
    with pytest.raises(SystemExit):
        run(*arguments, "--face", "left")
    assert "expected a number or all" in capfd.readouterr().err


def test_open_faces_take_another_password(pair: Path, tmp_path: Path) -> None:
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


def test_short_codes_in_honey_files_are_warned_about(
    photo: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ("encrypt", photo, "-o", tmp_path / "1.png", "--steps", 1)
    assert run(*arguments, "--code", "0110100110010110") == 0
    assert "quickly guessed" in capfd.readouterr().err


def test_metadata_of_the_photograph_stays_at_home(photo: Path, tmp_path: Path) -> None:
    source, output = tmp_path / "in.jpg", tmp_path / "out.png"
    exif = Image.Exif()
    exif[0x010E] = "SECRET-DESCRIPTION"
    exif.get_ifd(0x8825)[1] = "N"
    with Image.open(photo) as opened:
        opened.save(source, exif=exif, comment=b"SECRET-COMMENT", quality=95)
    assert b"SECRET" in source.read_bytes()
    assert run("encrypt", source, "-o", output, "--password", "x", "--steps", 1) == 0
    data = output.read_bytes()
    assert b"SECRET" not in data and b"Exif" not in data
    with Image.open(output) as written:
        assert not written.getexif() and set(written.info) == set()


def test_settings_are_checked_before_the_work(
    photo: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.png"
    for option in (("--layers", "5-12"), ("--kappa", "nan"), ("--bits", "-1")):
        assert run("encrypt", photo, "-o", output, "--password", "x", *option) == 1
        assert run("evaluate", "--n", 1, *option) == 1
        assert "invert" not in capfd.readouterr().err
    assert run("evaluate", "--n", 0) == 1
    assert "at least 2 people" in capfd.readouterr().err


def test_an_abandoned_prompt_is_no_traceback(
    sealed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def gone(_: str) -> str:
        raise EOFError

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", gone)
    assert run("decrypt", sealed, "-o", tmp_path / "b.png") == 1
    assert "no password was typed" in capsys.readouterr().err


def test_pair_prints_codes_that_undo_each_other(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("pair", "--bits", 24) == 0
    (_, e), (_, d) = (line.split() for line in capsys.readouterr().out.splitlines())
    assert len(e) == 24
    assert all(a != b for a, b in zip(e, d, strict=True))


def test_compare_prints_the_promised_json(
    photo: Path, sealed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("compare", photo, sealed, "--json") == 0
    figures = json.loads(capsys.readouterr().out)
    assert list(figures) == [
        "id_train",
        "id_heldout",
        "lpips",
        "mse",
        "psnr",
        "ssim",
        "landmarks",
        "pose",
        "expression",
    ]
    assert figures["psnr"] == pytest.approx(-10 * np.log10(figures["mse"]), abs=1e-3)


def test_licences_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("fetch", "--licences") == 0
    assert "RESEARCH ONLY" in capsys.readouterr().out


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
    capfd: pytest.CaptureFixture[str],
) -> None:
    source, output = bad_input(kind, tmp_path, photo), tmp_path / "out.png"
    assert run("encrypt", source, "-o", output, "--password", "x", "--steps", 1) == 1
    message = capfd.readouterr().err.splitlines()[-1]
    assert message.startswith("facersa: ") and hint in message
    assert not output.exists()


@pytest.mark.parametrize("mode", ["CMYK", "L", "RGBA"])
def test_odd_colour_modes_are_welcome(mode: str, photo: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.tiff"
    Image.open(photo).convert(mode).save(source)
    output = tmp_path / "out.png"
    assert run("encrypt", source, "-o", output, "--password", "x", "--steps", 1) == 0
    assert load_image(output).shape == (1, 3, 512, 512)


def test_wrong_files_are_named_before_a_password_is_asked(
    photo: Path, sealed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
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
    photo: Path, sealed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
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
    photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for output, hint in (
        (tmp_path / "no" / "out.png", "does not exist"),
        (tmp_path, "is a folder"),
        (photo, "the input itself"),
    ):
        assert run("encrypt", photo, "-o", output, "--password", "x") == 1
        assert hint in capsys.readouterr().err
    assert photo.stat().st_size > 1000


def test_a_full_disk_leaves_nothing(
    sealed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert run("decrypt", sealed, "-o", tmp_path / "b.png", "--password", SECRET) == 1
    assert "No space left" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_missing_weights_without_a_network(tmp_path: Path, photo: Path) -> None:
    environment = os.environ | {
        "FACERSA_CACHE": str(tmp_path / "cache"),
        "PIP_NO_INDEX": "1",
        "PIP_CONFIG_FILE": os.devnull,
        "FACERSA_PASSWORD": SECRET,
    }
    environment.pop("PIP_FIND_LINKS", None)
    done = subprocess.run(
        [sys.executable, "-m", "facersa", "encrypt", str(photo), "-o", "out.png"],
        env=environment | {"PYTHONPATH": str(Path(__file__).parent.parent)},
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


@pytest.mark.slow
def test_demo_leaves_every_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("demo", "-o", tmp_path / "out", "--steps", 4) == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        "photo.png",
        "inversion.png",
        "encrypted.png",
        "decrypted.png",
        "wrong.png",
        "contact_sheet.png",
    }
    printed = capsys.readouterr().out
    assert "inversion ~ decrypted: 1.000 / 1.000" in printed


@pytest.mark.slow
def test_evaluate_writes_its_json(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    assert run("evaluate", "--n", 2, "--layers", "5-8", "--json", path) == 0
    result = json.loads(path.read_text())
    assert {row["property"] for row in result["rows"]} == {*"abcdefgh", "attack"}
    assert set(result) >= {"cipher", "seed", "versions", "rows"}


@pytest.mark.slow
def test_localise_writes_its_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rows.json"
    assert run("localise", "--people", 1, "--psi", 0.7, "--json", path) == 0
    result = json.loads(path.read_text())
    assert {str(row) for row in range(16)} | {"3-8", "5-8"} <= set(result["edits"])
    assert result["settings"]["psi"] == 0.7
    assert {row["property"] for row in result["rows"]} == {"localisation", "contrast"}
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 1 + 2 + len(result["edits"]) + 2 + 1


def test_localise_checks_its_settings_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for options, hint in (
        (("--people", 0), "1 person at least"),
        (("--psi", 0.8), "no calibration"),
        (("--json", tmp_path / "no" / "rows.json"), "does not exist"),
    ):
        assert run("localise", *options) == 1
        printed = capsys.readouterr().err
        assert hint in printed and len(printed.splitlines()) == 1


def test_train_refuses_a_folder_without_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("train", "head", "--resume", tmp_path / "none") == 1
    assert "no run to go on with" in capsys.readouterr().err
    for options in (("--resume", tmp_path), ("-o", tmp_path / "new")):
        steps = 5 if "--resume" in options else 0
        assert run("train", "head", "--steps", steps, *options) == 1
        assert "--steps is for a new run" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    if not torch.cuda.is_available():
        output = tmp_path / "run"
        assert run("train", "head", "--device", "cuda", "-o", output) == 1
        assert "no CUDA device" in capsys.readouterr().err and not output.exists()
