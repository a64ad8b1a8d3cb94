"""Tests of the whole way: photograph, code, cipher, file, and back."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from facersa import pipeline
from facersa.cipher.password import Password
from facersa.cipher.typed import Secrets
from facersa.engine import Inversion
from facersa.errors import PasswordError, SealedError
from facersa.evaluation.attacks import copy_row
from facersa.generator.base import Generator
from facersa.inversion.search import project_config
from facersa.judges.metrics import psnr
from facersa.judges.networks import load_identity
from facersa.photo.blend import ovalness
from facersa.photo.images import (
    decode_image,
    is_grey,
    jpeg_bytes,
    png_bytes,
    read_png_chunks,
    resize,
    to_float,
    to_grey,
    to_levels,
    to_uint8,
)
from facersa.photo.paste import paste
from facersa.photo.square import units
from facersa.pipeline import Chunk, FaceRSA
from facersa.sealing.chunk import seal, unseal
from facersa.sealing.picture import carries_code
from facersa.sealing.pixels import find
from facersa.sealing.sealed import lay_open

A, B = Secrets(("apple",)), Secrets(("banana",))
BOTH = Secrets(("apple", "banana"))


@pytest.fixture(scope="module")
def engine(generator: Generator) -> FaceRSA:
    return FaceRSA(generator)


@pytest.fixture(scope="module")
def inversion(engine: FaceRSA, astronaut: torch.Tensor) -> Inversion:
    """Two steps only: these tests are about the way, not the likeness."""
    return engine.invert(astronaut, config=project_config(2), progress=False)


@pytest.fixture(scope="module")
def inverted(engine: FaceRSA, inversion: Inversion) -> torch.Tensor:
    return engine.renderer.full(inversion.ws)


@pytest.fixture(scope="module")
def matched(engine: FaceRSA, inversion: Inversion) -> torch.Tensor:
    """The inverted face with the photo's colours behind it."""
    return engine.painter.paint(inversion.ws, inversion.photo, inversion.aligned)[1]


def test_one_string_is_no_tuple_of_passwords() -> None:
    with pytest.raises(PasswordError, match=r"Secrets\(\(password,\)\)"):
        Secrets("abc")  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["ambiguous", "open"])
def test_the_right_password_reproduces_the_inversion(
    engine: FaceRSA, inversion: Inversion, inverted: torch.Tensor, mode: str
) -> None:
    encrypted = engine.encrypt(inversion, A, mode=mode)
    back = engine.decrypt(encrypted.data, A)
    assert psnr(back.face, inverted).item() > 45
    wrong = engine.decrypt(encrypted.data, B)
    assert psnr(wrong.face, inverted).item() < 40
    assert psnr(encrypted.face, inverted).item() < 40


def test_a_sealed_file_opens_for_its_password_or_not_at_all(
    engine: FaceRSA, inversion: Inversion, inverted: torch.Tensor
) -> None:
    encrypted = engine.encrypt(inversion, A, mode="sealed")
    assert psnr(engine.decrypt(encrypted.data, A).face, inverted).item() > 45
    with pytest.raises(PasswordError, match="password is wrong"):
        engine.decrypt(encrypted.data, B)


@pytest.mark.parametrize("mode", ["ambiguous", "open"])
def test_the_decrypted_file_is_the_photograph_with_the_inversion_in_it(
    engine: FaceRSA, inversion: Inversion, matched: torch.Tensor, mode: str
) -> None:
    expected = paste(inversion.photo, matched, inversion.aligned)
    encrypted = engine.encrypt(inversion, A, mode=mode)
    back = decode_image(engine.decrypt(encrypted.data, A, detail=False).data)
    assert psnr(back, expected).item() > 44
    quad = inversion.aligned.quad
    (left, top), (right, bottom) = quad.min(0).astype(int), quad.max(0).astype(int)
    box = (..., slice(top, bottom), slice(left, right))
    # The mark in the encrypted picture stays: 42.6 to 44.6 over 20 salts.
    assert psnr(back[box], expected[box]).item() > 40


@pytest.mark.parametrize("mode", ["ambiguous", "sealed"])
def test_the_photographs_own_face_comes_back(
    engine: FaceRSA, inversion: Inversion, mode: Chunk
) -> None:
    photo, quad = to_float(inversion.photo), inversion.aligned.quad
    (left, top), (right, bottom) = quad.min(0).astype(int), quad.max(0).astype(int)
    box = (..., slice(top, bottom), slice(left, right))
    encrypted = engine.encrypt(inversion, BOTH, mode=mode, in_pixels=False)
    back, painted = (
        engine.decrypt(encrypted.data, BOTH, detail=own) for own in (True, False)
    )
    assert psnr(back.image[box], photo[box]).item() > 40
    assert psnr(painted.image[box], photo[box]).item() < 35
    assert torch.equal(back.face, painted.face)  # what the code paints
    without = engine.encrypt(inversion, BOTH, mode=mode, detail=False, in_pixels=False)
    assert len(without.data) < len(encrypted.data) and not unseal(without.data).detail
    if mode == "ambiguous":
        (sealed,) = encrypted.picture.faces
        wrong = Secrets(("apple",)).password(salt=sealed.salt, num_bits=128)
        assert sealed.reveal(wrong).detail == b""


@pytest.mark.parametrize("mode", ["ambiguous", "open"])
def test_several_passwords_are_their_sum_in_any_order(
    engine: FaceRSA, inversion: Inversion, inverted: torch.Tensor, mode: str
) -> None:
    encrypted = engine.encrypt(inversion, BOTH, mode=mode)
    back = engine.decrypt(encrypted.data, Secrets(("banana", "apple")))
    assert psnr(back.face, inverted).item() > 45


def test_open_files_are_composed_by_several_people(
    engine: FaceRSA, inversion: Inversion, inverted: torch.Tensor
) -> None:
    first = engine.encrypt(inversion, A, mode="open")
    both = engine.encrypt_again(first.data, B)
    assert unseal(both.data).salt == unseal(first.data).salt
    only_b = engine.decrypt(both.data, A)  # not in the order they were put on
    assert psnr(only_b.face, inverted).item() < 40
    back = engine.decrypt(only_b.data, B)
    assert psnr(back.face, inverted).item() > 45


def test_raw_codes_are_asymmetric(
    engine: FaceRSA, inversion: Inversion, inverted: torch.Tensor
) -> None:
    e = Password.random(16, seed=5)
    encrypted = engine.encrypt(inversion, Secrets(codes=(e,)))
    back = engine.decrypt(encrypted.data, Secrets(codes=(e.inverse,)))
    assert psnr(back.face, inverted).item() > 45
    twice = engine.decrypt(encrypted.data, Secrets(codes=(e,)))
    expected = engine.cipher(16)(inversion.ws, (e + e).code)
    torch.testing.assert_close(twice.ws, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("in_pixels", [False, True])
def test_no_metadata_leaves_and_the_frame_outside_the_face_stays(
    engine: FaceRSA, inversion: Inversion, astronaut: torch.Tensor, in_pixels: bool
) -> None:
    encrypted = engine.encrypt(inversion, A, in_pixels=in_pixels)
    kinds = {kind for kind, _ in read_png_chunks(encrypted.data)}
    assert kinds == {b"IHDR", b"faRs", b"IDAT", b"IEND"}
    picture = decode_image(encrypted.data)
    assert picture.shape == astronaut.shape
    quad = inversion.aligned.quad
    (left, top), (right, bottom) = quad.min(0), quad.max(0)
    y, x = torch.meshgrid(torch.arange(512), torch.arange(512), indexing="ij")
    outside = (x < left - 1) | (x > right) | (y < top - 1) | (y > bottom)
    assert outside.float().mean() > 0.5
    change = (picture - astronaut)[..., outside] * 127.5  # in grey levels
    assert change.abs().max() < (12 if in_pixels else 1e-3)
    assert change.square().mean().sqrt() < (1.5 if in_pixels else 1e-3)
    assert (picture - astronaut).abs().max() > 0.5


def test_there_is_no_halo(engine: FaceRSA, inversion: Inversion) -> None:
    """Beside the encrypted cheek stands what stood there: the plain wall."""
    code = Password.random(128, seed=1)
    encrypted = engine.encrypt(inversion, Secrets(codes=(code,)), paint="head")
    origin, down, _, across = inversion.aligned.quad
    x, y = (origin + 0.83 * (across - origin) + 0.7 * (down - origin)).astype(int)
    reach = int(inversion.aligned.side / 25)
    beside = (..., slice(y - reach, y + reach), slice(x - reach, x + reach))
    wall = inversion.photo[beside].mean((-2, -1))
    whole = replace(inversion.aligned, oval=())
    bare = paste(inversion.photo, encrypted.face, whole)
    gaps = [
        (image[beside].mean((-2, -1)) - wall).abs().mean().item()
        for image in (encrypted.image, bare)
    ]
    assert gaps[0] < 0.5 * gaps[1]


def test_only_an_oval_of_the_photograph_changes(
    engine: FaceRSA, inversion: Inversion
) -> None:
    photo, where = inversion.photo, inversion.aligned
    pixels = torch.stack(
        torch.meshgrid(torch.arange(512), torch.arange(512), indexing="xy"), -1
    )
    away = ovalness(units(where.quad, pixels.double() + 0.5), where.oval)
    outside, inside = away > 1, away < 0.7
    code, other = (Password.random(128, seed=seed) for seed in (1, 2))
    there = Secrets(codes=(code,))
    encrypted = engine.encrypt(inversion, there, in_pixels=False)
    back, wrong = (
        engine.decrypt(encrypted.data, Secrets(codes=(one.inverse,))).image
        for one in (code, other)
    )
    for image in (encrypted.image, back):
        assert torch.equal(
            to_levels(image)[..., outside], to_levels(photo)[..., outside]
        )
    change = [
        (to_float(image) - to_float(photo))[..., inside].abs().mean()
        for image in (back, encrypted.image, wrong)
    ]
    assert 1.3 * change[0] < min(change[1:])


def test_the_right_password_stays_in_the_oval_whatever_the_photograph_was_like(
    engine: FaceRSA, inversion: Inversion
) -> None:
    """Also where the inversion is not in the photograph's pose."""
    photo, where = inversion.photo, inversion.aligned
    far = replace(where, oval=tuple(part + 40 for part in where.oval))
    code = Password.random(128, seed=1)
    encrypted = engine.encrypt(
        replace(inversion, aligned=far), Secrets(codes=(code,)), in_pixels=False
    )
    (sealed,) = encrypted.picture.faces
    oval = tuple(sealed.geometry["oval"])
    assert oval != far.oval
    assert max(abs(a - b) for a, b in zip(oval, where.oval, strict=True)) < 40
    back = engine.decrypt(encrypted.data, Secrets(codes=(code.inverse,))).image
    pixels = torch.stack(
        torch.meshgrid(torch.arange(512), torch.arange(512), indexing="xy"), -1
    )
    outside = ovalness(units(where.quad, pixels.double() + 0.5), oval) > 1
    assert torch.equal(to_levels(back)[..., outside], to_levels(photo)[..., outside])


def test_crop_keeps_the_face_alone(engine: FaceRSA, inversion: Inversion) -> None:
    encrypted = engine.encrypt(inversion, A, crop=True)
    assert encrypted.image.shape == (1, 3, 1024, 1024)
    back = engine.decrypt(encrypted.data, A)
    assert back.image.shape == (1, 3, 1024, 1024)


def test_no_chunk_and_no_mark_means_no_way_back(
    engine: FaceRSA, inversion: Inversion
) -> None:
    encrypted = engine.encrypt(inversion, A, mode="none", in_pixels=False)
    assert not carries_code(encrypted.data) and not encrypted.in_pixels
    with pytest.raises(SealedError, match="no FaceRSA code"):
        engine.decrypt(encrypted.data, A)
    with pytest.raises(SealedError, match="no code can be read from these pixels"):
        engine.decrypt(encrypted.data, A, from_pixels=True)


@pytest.mark.parametrize("mode", ["none", "ambiguous"])
@pytest.mark.parametrize("cipher", ["steady", "faithful"])
def test_the_pixels_alone_bring_the_face_back(
    engine: FaceRSA,
    inversion: Inversion,
    inverted: torch.Tensor,
    mode: str,
    cipher: str,
) -> None:
    used = engine if cipher == "steady" else FaceRSA(engine.generator, cipher=cipher)
    encrypted = used.encrypt(inversion, A, mode=mode, crop=True)
    assert encrypted.in_pixels
    for changed in (
        png_bytes(encrypted.image),
        jpeg_bytes(encrypted.image, quality=75),
    ):
        back = engine.decrypt(changed, A, from_pixels=True)
        assert psnr(back.image, inverted).item() > 45
        wrong = engine.decrypt(changed, B, from_pixels=True)
        assert psnr(wrong.face, inverted).item() < 40
    small = png_bytes(resize(encrypted.image, 512))
    assert torch.equal(engine.decrypt(small, A, from_pixels=True).face, back.face)


def test_a_whole_photograph_comes_back_from_a_jpeg(
    engine: FaceRSA, inversion: Inversion, matched: torch.Tensor
) -> None:
    encrypted = engine.encrypt(inversion, A)
    intact = engine.decrypt(encrypted.data, A, detail=False)
    stripped = engine.decrypt(png_bytes(encrypted.image), A, from_pixels=True)
    assert psnr(stripped.image, intact.image).item() > 55
    changed = jpeg_bytes(encrypted.image, quality=75)
    back = engine.decrypt(changed, A, from_pixels=True)
    assert torch.equal(back.face, intact.face)
    expected = paste(decode_image(changed), matched, inversion.aligned)
    quad = inversion.aligned.quad
    (left, top), (right, bottom) = quad.min(0).astype(int), quad.max(0).astype(int)
    box = (..., slice(top, bottom), slice(left, right))
    assert psnr(back.image[box], expected[box]).item() > 30


def test_chunk_and_pixels_hold_the_same_bytes(
    engine: FaceRSA, inversion: Inversion
) -> None:
    """Two ciphertexts of one code would tell whether a password is right."""
    encrypted = engine.encrypt(inversion, A)
    chunk, pixels = unseal(encrypted.data), find(encrypted.image)
    assert chunk.payload == pixels.payload and chunk.salt == pixels.salt
    assert chunk.nonce == pixels.nonce and chunk.params == pixels.params
    other = engine.encrypt(inversion, A)
    assert find(other.image).payload != pixels.payload  # another salt


@pytest.mark.parametrize("mode", ["open", "sealed"])
def test_an_open_or_sealed_file_has_no_mark(
    engine: FaceRSA, inversion: Inversion, mode: Chunk
) -> None:
    encrypted = engine.encrypt(inversion, A, mode=mode)
    assert not encrypted.in_pixels
    with pytest.raises(SealedError, match="no code can be read"):
        find(encrypted.image)


def test_an_ambiguous_file_takes_no_second_password(
    engine: FaceRSA, inversion: Inversion
) -> None:
    encrypted = engine.encrypt(inversion, A)
    assert carries_code(encrypted.data)
    with pytest.raises(SealedError, match="--chunk open"):
        engine.encrypt_again(encrypted.data, B)


def test_bad_secrets_are_named(engine: FaceRSA, inversion: Inversion) -> None:
    with pytest.raises(PasswordError, match="at least one"):
        engine.encrypt(inversion, Secrets())
    e = Password.random(16, seed=1)
    with pytest.raises(PasswordError, match="cancel out"):
        engine.encrypt(inversion, Secrets(codes=(e, e.inverse)))
    encrypted = engine.encrypt(inversion, A)
    with pytest.raises(PasswordError, match="128"):
        engine.decrypt(encrypted.data, Secrets(codes=(e,)))
    assert "apple" not in repr(A)


def test_unknown_ciphers_ask_for_an_upgrade(
    engine: FaceRSA, inversion: Inversion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "describe", lambda _: {"cipher": "future"})
    encrypted = engine.encrypt(inversion, A, mode="open")
    with pytest.raises(SealedError, match="version of facersa that made it"):
        engine.decrypt(encrypted.data, A)


@pytest.mark.parametrize(
    "params",
    [
        {"context": 99},
        {"layers": [3.0]},
        {"layers": [20]},
        {"num_bits": 10**30},
        {"kappa": "much"},
    ],
)
def test_senseless_settings_in_a_file_are_refused(
    engine: FaceRSA,
    inversion: Inversion,
    monkeypatch: pytest.MonkeyPatch,
    params: dict[str, object],
) -> None:
    sane = pipeline.describe
    monkeypatch.setattr(pipeline, "describe", lambda cipher: sane(cipher) | params)
    encrypted = engine.encrypt(inversion, A, mode="open")
    with pytest.raises(SealedError, match="that made it|makes no sense"):
        engine.decrypt(encrypted.data, A)


def test_a_forged_code_that_paints_nothing_is_refused(
    engine: FaceRSA, inversion: Inversion
) -> None:
    opened = unseal(engine.encrypt(inversion, A, mode="open").data)
    code = opened.code() * 1e30
    notes = {"params": opened.params, "geometry": opened.geometry}
    forged = seal(inversion.photo, lay_open(code, salt=opened.salt, **notes))
    with pytest.raises(SealedError, match="paint no face"):
        engine.decrypt(forged, A)


def test_row_copying_breaks_open_files_and_not_ambiguous_files(
    engine: FaceRSA, inversion: Inversion, inverted: torch.Tensor
) -> None:
    """The attacker holds the file and no password."""
    judge = load_identity()
    cipher = engine.cipher()

    def likeness(ws: torch.Tensor) -> float:
        face = engine.renderer.full(copy_row(ws, cipher.layers, 2))
        return float((judge.embed(face) * judge.embed(inverted)).sum())

    opened = unseal(engine.encrypt(inversion, A, mode="open").data).code()
    hidden = unseal(engine.encrypt(inversion, A).data)
    guessed = hidden.code(Password.random(128, seed=9))
    # Rows of a photograph's code differ, so the copy is no exact one.
    assert likeness(opened) > 0.7
    assert likeness(guessed) < 0.5


def test_a_trained_mapper_encrypts_and_the_file_remembers_it(
    engine: FaceRSA, inversion: Inversion, inverted: torch.Tensor
) -> None:
    mapper = FaceRSA(engine.generator, cipher="steered")
    assert mapper.default_bits == 16
    encrypted = mapper.encrypt(inversion, A)
    assert psnr(encrypted.face, inverted).item() < 40
    back = engine.decrypt(encrypted.data, A)  # by an engine of the other cipher
    assert psnr(back.face, inverted).item() > 45
    with pytest.raises(PasswordError, match="16 bits"):
        mapper.encrypt(inversion, A, num_bits=128)


@pytest.mark.parametrize("crop", [False, True])
def test_a_grey_photograph_stays_grey(
    engine: FaceRSA, astronaut: torch.Tensor, crop: bool
) -> None:
    grey = decode_image(png_bytes(to_grey(astronaut)))
    inversion = engine.invert(grey, config=project_config(0), progress=False)
    encrypted = engine.encrypt(inversion, A, crop=crop)
    assert is_grey(decode_image(encrypted.data))
    assert not is_grey(engine.renderer.full(encrypted.ws))
    back = engine.decrypt(encrypted.data, A)
    assert is_grey(back.image)
    sent = jpeg_bytes(encrypted.image, quality=85)
    from_pixels = engine.decrypt(sent, A, from_pixels=True)
    assert is_grey(from_pixels.image) and torch.equal(from_pixels.ws, back.ws)


def kinds_of_file(photo: np.ndarray) -> dict[str, bytes]:
    """One photograph (H, W, 3) in the forms that cameras and programs write."""
    picture = Image.fromarray(photo)
    deep = np.asarray(picture.convert("L")).astype(np.uint16) * 257
    turned = Image.Exif()
    turned[274] = 6  # the camera was held sideways
    forms: dict[str, tuple[Image.Image, str, dict[str, Any]]] = {
        "grey": (picture.convert("L"), "PNG", {}),
        "16 bits": (Image.fromarray(deep), "PNG", {}),
        "CMYK": (picture.convert("CMYK"), "JPEG", {"quality": 95}),
        "palette": (picture.convert("P", palette=Image.Palette.ADAPTIVE), "PNG", {}),
        "alpha": (picture.convert("RGBA"), "PNG", {}),
        "turned": (
            picture.transpose(Image.Transpose.ROTATE_90),
            "JPEG",
            {"exif": turned, "quality": 95},
        ),
    }
    files = {}
    for name, (form, kind, options) in forms.items():
        buffer = io.BytesIO()
        form.save(buffer, kind, **options)
        files[name] = buffer.getvalue()
    return files


@pytest.mark.slow
def test_every_kind_of_file_encrypts_and_comes_back(
    engine: FaceRSA, astronaut: torch.Tensor
) -> None:
    for name, data in kinds_of_file(to_uint8(astronaut)[0]).items():
        photo = decode_image(data)
        assert photo.shape == astronaut.shape, name
        assert is_grey(photo) == (name in ("grey", "16 bits")), name
        inversion = engine.invert(photo, config=project_config(0), progress=False)
        encrypted = engine.encrypt(inversion, A, in_pixels=False)
        back = engine.decrypt(encrypted.data, A)
        assert is_grey(back.image) == is_grey(photo), name
        inverted = engine.encrypt(inversion, B, in_pixels=False)
        undone = engine.decrypt(inverted.data, B)
        assert torch.equal(back.ws, undone.ws), name
        assert (back.image - undone.image).abs().mean() < 0.01, name
