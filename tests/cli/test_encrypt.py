"""Tests of the command ``encrypt``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from facersa.judges.metrics import psnr
from facersa.photo.blazeface import load_blazeface
from facersa.photo.images import load_image, resize, save_png, to_uint8
from facersa.sealing.chunk import unseal_all

pytestmark = pytest.mark.usefixtures("one_salt")

Run = Callable[..., int]
Capture = pytest.CaptureFixture[str]


def picture(path: Path, size: tuple[int, int], kind: str = "PNG") -> Path:
    Image.new("RGB", size, "grey").save(path, kind)
    return path


def two_faces(path: Path, photo: Path) -> Path:
    one = load_image(photo)
    save_png(torch.cat([one, one], 3), path)
    return path


def test_a_picture_too_small_for_a_code_is_said(
    photo: Path, tmp_path: Path, capfd: Capture, run: Run
) -> None:
    small, output = tmp_path / "small.png", tmp_path / "out.png"
    with Image.open(photo) as opened:
        opened.crop((130, 20, 330, 220)).save(small)
    assert run("encrypt", small, "-o", output, "--password", "x", "--steps", 1) == 0
    assert "because the picture is too small" in capfd.readouterr().err
    assert run("decrypt", output, "-o", tmp_path / "b.png", "--password", "x") == 0
    lost = ("encrypt", small, "-o", tmp_path / "c.png", "--password", "x", "--steps", 0)
    assert run(*lost, "--chunk", "none") == 1
    assert "would be lost" in capfd.readouterr().err
    assert not (tmp_path / "c.png").exists()
    assert run(*lost, "--chunk", "none", "--no-pixels") == 0
    assert "nobody can bring the face back" in capfd.readouterr().err


def test_a_crop_is_the_face_alone(photo: Path, tmp_path: Path, run: Run) -> None:
    one, two = tmp_path / "1.png", tmp_path / "2.png"
    how = ("--crop", "--password", "x", "--steps", 0)
    assert run("encrypt", photo, "-o", one, *how) == 0
    assert load_image(one).shape == (1, 3, 1024, 1024)
    assert run("decrypt", one, "-o", two, "--password", "x") == 0


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
        "--others blur",
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
    assert run(*arguments, "--crop", "--paint", "face", "--others", "blur") == 2
    assert "leave out --paint, --others" in capfd.readouterr().err


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
    assert run("evaluate", "--n", 1) == 1
    assert "at least 2 people" in capfd.readouterr().err


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
