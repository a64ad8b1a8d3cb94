"""Tests of the image contract: what may come in, what may go out."""

from __future__ import annotations

import io
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from facersa.errors import ImageError
from facersa.photo import images


def encode(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def sample(mode: str = "RGB") -> Image.Image:
    levels = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)
    return Image.fromarray(levels).convert(mode)


def test_uint8_round_trip_is_exact() -> None:
    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    tensor = images.from_uint8(levels)
    assert tensor.shape == (1, 3, 16, 16)
    assert (tensor.min(), tensor.max()) == (-1, 1)
    assert (images.to_uint8(tensor)[0] == levels).all()


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "CMYK", "LA", "1"])
def test_every_common_mode_becomes_rgb(mode: str) -> None:
    kind = "TIFF" if mode == "CMYK" else "PNG"
    tensor = images.decode_image(encode(sample(mode), kind))
    assert tensor.shape == (1, 3, 12, 20)
    assert tensor.dtype == torch.float32
    assert tensor.abs().max() <= 1


def test_sixteen_bit_grey_keeps_its_tones() -> None:
    ramp = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    tensor = images.decode_image(encode(Image.fromarray(ramp), "PNG"))
    expected = torch.from_numpy(ramp / 32767.5 - 1).float()
    assert (tensor[0, 0] - expected).abs().max() < 0.005


def test_alpha_is_laid_over_white() -> None:
    clear = Image.new("RGBA", (4, 4), (200, 0, 0, 0))
    assert images.decode_image(encode(clear, "PNG")).min() == 1


def test_exif_orientation_is_applied_and_metadata_is_dropped(tmp_path: Path) -> None:
    picture = sample()
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    exif[0x010E] = "SECRET-DESCRIPTION"
    data = encode(picture, "PNG", exif=exif)
    tensor = images.decode_image(data)
    assert tensor.shape == (1, 3, 20, 12)
    upright = np.rot90(np.asarray(picture), k=-1)
    assert (images.to_uint8(tensor)[0] == upright).all()
    images.save_png(tensor, tmp_path / "out.png")
    written = (tmp_path / "out.png").read_bytes()
    assert b"SECRET" not in written
    kinds = {kind for kind, _ in images.read_png_chunks(written)}
    assert kinds == {b"IHDR", b"IDAT", b"IEND"}


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (b"", "not a picture"),
        (b"hello, this is text", "not a picture"),
        (encode(sample(), "PNG")[:-40], "damaged"),
        (encode(sample(), "JPEG")[:200], "damaged|not a picture"),
    ],
)
def test_bad_files_give_one_clear_line(data: bytes, hint: str) -> None:
    with pytest.raises(ImageError, match=hint) as caught:
        images.decode_image(data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [*images.FORMATS, "MPO"])
def test_what_cameras_and_programs_write_is_read(kind: str) -> None:
    assert images.decode_image(encode(sample(), kind)).shape == (1, 3, 12, 20)


@pytest.mark.parametrize("kind", ["AVIF", "DDS", "SPIDER", "ICO", "TGA", "EPS"])
def test_rare_formats_are_refused_and_the_others_named(kind: str) -> None:
    picture = sample().convert("F") if kind == "SPIDER" else sample()
    cure = "HEIC or AVIF picture.*export it as JPEG" if kind == "AVIF" else "GIF or PPM"
    with pytest.raises(ImageError, match=cure):
        images.decode_image(encode(picture, kind))


def test_whatever_pillow_raises_is_one_short_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(images.ImageOps, "exif_transpose", fail)
    for error in (struct.error("a"), OverflowError("b"), KeyError(3), zlib.error("c")):
        with pytest.raises(ImageError, match="is damaged") as caught:
            images.decode_image(encode(sample(), "PNG"))
        assert type(error).__name__ in str(caught.value)
    error = ValueError("first\nsecond " + "x " * 200)
    with pytest.raises(ImageError, match="first second") as caught:
        images.decode_image(encode(sample(), "PNG"))
    assert len(str(caught.value)) < 200
    for error in (MemoryError(), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            images.decode_image(encode(sample(), "PNG"))


@given(st.sampled_from(images.FORMATS), st.integers(0, 200), st.binary(max_size=8))
@settings(max_examples=300)
def test_damage_anywhere_is_an_error_of_ours_or_a_picture(
    kind: str, start: int, change: bytes
) -> None:
    data = bytearray(encode(sample(), kind))
    data[start : start + len(change)] = change
    with suppress(ImageError):
        assert images.decode_image(bytes(data)).ndim == 4


def test_huge_pictures_are_refused_before_they_are_decoded() -> None:
    for size in ((20_000, 6_000), (20_000, 18_000)):
        bomb = encode(Image.new("1", size), "PNG")
        with pytest.raises(ImageError, match="million"):
            images.decode_image(bomb)


def test_chunks_survive_and_every_damaged_byte_of_them_is_noticed() -> None:
    tensor = images.decode_image(encode(sample(), "PNG"))
    data = images.png_bytes(tensor, [(b"faRs", b"payload")])
    assert (b"faRs", b"payload") in images.read_png_chunks(data)
    torch.testing.assert_close(images.decode_image(data), tensor)
    start = data.index(b"faRs")
    for position in range(start, start + 15):
        broken = bytearray(data)
        broken[position] ^= 1
        with pytest.raises(ImageError):
            images.read_png_chunks(bytes(broken))
    for cut in (len(data) - 1, start + 3, 12):
        with pytest.raises(ImageError, match="cut short"):
            images.read_png_chunks(data[:cut])
    with pytest.raises(ImageError, match="not a PNG"):
        images.read_png_chunks(b"GIF89a")


def test_shrinking_takes_means_and_growing_stays_in_range() -> None:
    image = torch.rand(1, 3, 8, 8) * 2 - 1
    half = images.resize(image, 4)
    torch.testing.assert_close(half[0, 0, 0, 0], image[0, 0, :2, :2].mean())
    assert images.resize(image, 32).abs().max() <= 1


def test_grey_is_told_from_colour_also_after_jpeg() -> None:
    rng = torch.Generator().manual_seed(0)
    small = torch.rand(1, 3, 6, 6, generator=rng) * 2 - 1
    colour = images.resize(small, 48)
    grey = images.to_grey(colour)
    assert images.is_grey(grey) and not images.is_grey(colour)
    assert images.is_grey(images.decode_image(images.jpeg_bytes(grey, quality=60)))
    red = torch.tensor([1.0, -1, -1]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    torch.testing.assert_close(
        images.to_grey(red), torch.full((1, 3, 2, 2), 2 * 0.299 - 1)
    )


def test_a_photograph_keeps_the_levels_of_its_file() -> None:
    picture = sample()
    photo = images.decode_photo(encode(picture, "PNG"))
    assert photo.dtype == torch.uint8 and photo.shape == (1, 3, 12, 20)
    assert (images.to_uint8(photo)[0] == np.asarray(picture)).all()
    assert images.to_uint8(photo)[0].flags.c_contiguous  # no copy for other libraries
    assert torch.equal(images.to_levels(images.to_float(photo)), photo)
    assert images.decode_photo(images.png_bytes(photo)).equal(photo)


def test_bands_are_all_rows_in_whole_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "BAND_PIXELS", 2500)
    for width, height in ((20, 333), (100, 100), (9000, 40)):
        rows = [range(1000)[band] for band in images.bands(width, height, 5)]
        assert [row for band in rows for row in band] == list(range(5, height))
        assert all(len(band) % 16 == 0 for band in rows[:-1])
        assert max(map(len, rows)) * width <= max(2500, 16 * width)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "LA", "I;16", "F"])
def test_bands_do_not_show_in_what_is_decoded(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    levels = rng.integers(0, 256, (50, 40, 4), dtype=np.uint8)
    picture = Image.fromarray(levels)
    if mode == "I;16":
        picture = Image.fromarray(rng.integers(0, 65536, (50, 40), dtype=np.uint16))
    elif mode == "F":
        picture = Image.fromarray(np.linspace(0, 9, 2000, dtype="f4").reshape(50, 40))
    else:
        picture = picture.convert("RGB").convert(mode) if mode != "RGBA" else picture
    data = encode(picture, "TIFF" if mode == "F" else "PNG")
    whole = images.decode_photo(data)
    monkeypatch.setattr(images, "BAND_PIXELS", 1)
    assert torch.equal(images.decode_photo(data), whole)
    assert images.is_grey(whole) == (mode in ("LA", "I;16", "F"))
