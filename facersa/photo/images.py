"""Picture files and tensors: decode, encode, resize.

Inside the package a picture is a float32 RGB tensor (B, 3, H, W) in [-1, 1]. Whole
photographs may have a hundred million pixels, so they stay as files hold them: uint8
(1, 3, H, W), with the channels of a pixel side by side in memory. What is computed from
all their pixels is computed in bands of rows.

What a photograph carries besides its pixels (EXIF, thumbnails, GPS, comments) is read
for the orientation only, and is never written again.
"""

from __future__ import annotations

import io
import os
import warnings
import zlib
from collections.abc import Iterator, Sequence
from textwrap import shorten
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from facersa.errors import ImageError
from facersa.files import read_file, write_atomic

# Pillow knows more; those are rare, and some of their readers hang or crash.
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM")
MAX_PIXELS = 100_000_000  # of a picture that is decoded
BAND_PIXELS = 2**20  # about so many are computed on at a time
GREY_GAP = 2  # levels: largest difference of channels in a grey picture, after JPEG
JPEG_ROWS = 16  # of a block of JPEG with colours of half the size
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def from_uint8(array: np.ndarray) -> Tensor:
    """Convert (H, W, 3) or (B, H, W, 3) uint8 RGB to (B, 3, H, W) in [-1, 1]."""
    if array.dtype != np.uint8 or array.ndim not in (3, 4) or array.shape[-1] != 3:
        raise ImageError(
            "expected uint8 RGB of shape (H, W, 3) or (B, H, W, 3), "
            f"got {array.dtype} {array.shape}; convert it to RGB first."
        )
    batch = array if array.ndim == 4 else array[None]
    return to_float(torch.from_numpy(np.array(batch)).permute(0, 3, 1, 2))


def to_uint8(image: Tensor) -> np.ndarray:
    """Convert (B, 3, H, W) to (B, H, W, 3) uint8; see ``to_levels``."""
    if image.ndim != 4 or image.shape[1] != 3:
        raise ImageError(
            f"expected RGB pictures (B, 3, H, W), got {tuple(image.shape)}; add the "
            "batch dimension, or the missing channels."
        )
    return to_levels(image).permute(0, 2, 3, 1).cpu().numpy()


def to_float(image: Tensor) -> Tensor:
    """A picture of uint8 grey levels as float32 in [-1, 1]; a float one as it is."""
    return image.float().div_(127.5).sub_(1) if image.dtype == torch.uint8 else image


def to_levels(image: Tensor) -> Tensor:
    """A picture in [-1, 1], values clamped, as uint8; one of uint8 as it is."""
    if image.dtype == torch.uint8:
        return image
    levels = ((image.detach().float() + 1) * 127.5).round_().clamp_(0, 255)
    return levels.to(torch.uint8)


def bands(width: int, stop: int, start: int = 0) -> Iterator[slice]:
    """Rows from ``start`` to ``stop`` of a picture, about ``BAND_PIXELS`` at a time.

    All but the last are whole blocks of JPEG.
    """
    rows = max(1, BAND_PIXELS // max(width, 1) // JPEG_ROWS) * JPEG_ROWS
    for first in range(start, stop, rows):
        yield slice(first, min(first + rows, stop))


def is_grey(image: Tensor) -> bool:
    """Whether the channels of a picture (1, 3, H, W) agree to within 2 grey levels."""
    height, width = image.shape[-2:]
    for rows in bands(width, height):
        red, green, blue = to_levels(image[0, :, rows])
        most = torch.maximum(torch.maximum(red, green), blue)
        least = torch.minimum(torch.minimum(red, green), blue)
        if (most - least).max() > GREY_GAP:
            return False
    return True


def to_grey(image: Tensor) -> Tensor:
    """The luma (Rec. 601) of pictures (B, 3, H, W) in all three channels."""
    luma = image.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    return (image * luma).sum(1, keepdim=True).expand_as(image).contiguous()


def resize(image: Tensor, size: int | tuple[int, int]) -> Tensor:
    """Resample pictures (B, C, H, W) to a side, or to (height, width).

    Area means where neither side grows, bicubic else, clamped to [-1, 1].
    """
    height, width = (size, size) if isinstance(size, int) else size
    if (height, width) == tuple(image.shape[-2:]):
        return image
    if height <= image.shape[-2] and width <= image.shape[-1]:
        return F.adaptive_avg_pool2d(image, (height, width))
    grown = F.interpolate(image, (height, width), mode="bicubic", antialias=True)
    return grown.clamp(-1, 1)


def resample(
    levels: np.ndarray,
    size: tuple[int, int],
    method: str,
    box: tuple[float, float, float, float] | None = None,
) -> np.ndarray:
    """Resample with Pillow's filters, as other programs do; antialiased.

    Args:
        levels: (H, W, 3) uint8, or one channel (H, W) float32.
        size: width and height.
        method: "bilinear", "bicubic" or "lanczos".
        box: the part to resample: left, top, right, bottom; all by default.
    """
    how = Image.Resampling[method.upper()]
    return np.asarray(Image.fromarray(levels).resize(size, how, box))


def load_image(path: str | os.PathLike[str]) -> Tensor:
    """Read a picture file of ``FORMATS`` as (1, 3, H, W) RGB in [-1, 1].

    The EXIF orientation is applied; grey, palette, 16-bit, CMYK and alpha
    (over white) pictures become RGB. At most ``MAX_PIXELS`` are decoded.

    Raises:
        FileError: the file cannot be read.
        ImageError: it is not a picture, damaged or too large.
    """
    return to_float(load_photo(path))


def load_photo(path: str | os.PathLike[str]) -> Tensor:
    """``load_image`` for whole photographs: (1, 3, H, W) uint8, a quarter the size."""
    return decode_photo(read_file(path), name=str(path))


def decode_image(data: bytes, *, name: str = "the picture") -> Tensor:
    """``load_image`` for the bytes of a picture file; ``name`` is for errors."""
    return to_float(decode_photo(data, name=name))


def decode_photo(data: bytes, *, name: str = "the picture") -> Tensor:
    """``load_photo`` for the bytes of a picture file; ``name`` is for errors."""
    try:
        # Odd but readable files are fine, and the size is checked here.
        with (
            warnings.catch_warnings(action="ignore"),
            Image.open(io.BytesIO(data), formats=FORMATS) as opened,
        ):
            width, height = opened.size
            if width * height > MAX_PIXELS:
                raise Image.DecompressionBombError
            ImageOps.exif_transpose(opened, in_place=True)
            levels = _rgb_levels(opened)
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"{name} has more than {MAX_PIXELS // 1_000_000} million pixels; scale "
            "it down first."
        ) from error
    except UnidentifiedImageError as error:
        if data[4:8] == b"ftyp":  # also of films
            raise ImageError(
                f"{name} is a HEIC or AVIF picture, which this program cannot read; "
                "export it as JPEG or PNG, from the phone or from a picture viewer."
            ) from error
        raise ImageError(
            f"{name} is not a picture this program can read, or is damaged; use "
            f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}."
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # of any kind: each reader of Pillow has its own
        expected = isinstance(error, OSError | ValueError | SyntaxError)
        reason = shorten(str(error) if expected else repr(error), 100)
        raise ImageError(
            f"{name} is damaged ({reason}); export it again from the original."
        ) from error
    return torch.from_numpy(levels).permute(2, 0, 1)[None]


def _rgb_levels(picture: Image.Image) -> np.ndarray:
    """The pixels (H, W, 3) uint8 of an open file, converted in bands."""
    width, height = picture.size
    top = 65535.0  # of 16 bits
    if picture.mode == "F":
        top = max(float(np.max(picture.getextrema())), 1.0)
    levels = np.empty((height, width, 3), dtype=np.uint8)
    for rows in bands(width, height):
        band = picture.crop((0, rows.start, width, rows.stop))
        levels[rows] = np.asarray(_to_rgb(band, top))
    return levels


def _to_rgb(picture: Image.Image, top: float) -> Image.Image:
    """A picture in RGB; ``top`` is white where levels are not of 8 bits."""
    if picture.mode.startswith("I") or picture.mode == "F":
        values = np.asarray(picture, dtype=np.float64)
        levels = (values.clip(0, top) / top * 255).round().astype(np.uint8)
        return Image.fromarray(levels).convert("RGB")
    if "A" in picture.mode or "transparency" in picture.info:
        rgba = picture.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return picture.convert("RGB")


def png_bytes(image: Tensor, chunks: Sequence[tuple[bytes, bytes]] = ()) -> bytes:
    """Encode one picture (1, 3, H, W) as PNG with no metadata.

    ``chunks`` are extra (type, data) pairs of private types, placed before the pixels.
    """
    extra = PngInfo()
    for kind, body in chunks:
        extra.add(kind, body)
    return _encode(image, "PNG", compress_level=4, pnginfo=extra)


def jpeg_bytes(image: Tensor, *, quality: int = 92) -> bytes:
    """Encode one picture (1, 3, H, W) as JPEG: fastest to encode and to draw."""
    return _encode(image, "JPEG", quality=quality)


def webp_bytes(image: Tensor, *, quality: int = 80, lossless: bool = False) -> bytes:
    """Encode one picture (1, 3, H, W) as WebP: fewest bytes in a page."""
    return _encode(image, "WEBP", quality=quality, lossless=lossless)


def _encode(image: Tensor, kind: str, **options: Any) -> bytes:
    pixels = to_uint8(image)
    if len(pixels) != 1:
        raise ImageError(
            f"a {kind} file holds one picture, got a batch of {len(pixels)}; encode "
            "them one by one."
        )
    buffer = io.BytesIO()
    Image.fromarray(pixels[0]).save(buffer, kind, **options)
    return buffer.getvalue()


def read_png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """List every (type, data) chunk of a PNG file, checksums verified.

    Raises:
        ImageError: not a PNG, cut short, or a chunk does not match its CRC.
    """
    if not data.startswith(PNG_SIGNATURE):
        raise ImageError(
            "this is not a PNG file; pass the file `encrypt` wrote, or try "
            "--from-pixels."
        )
    chunks: list[tuple[bytes, bytes]] = []
    view = memoryview(data)
    start = len(PNG_SIGNATURE)
    while not chunks or chunks[-1][0] != b"IEND":
        # Four bytes of length, four of type, the data, four of checksum.
        end = start + 12 + int.from_bytes(data[start : start + 4], "big")
        if end > len(data):
            raise ImageError("this PNG file is cut short; get an intact copy of it.")
        body = view[start + 4 : end - 4]
        if int.from_bytes(data[end - 4 : end], "big") != zlib.crc32(body):
            raise ImageError(
                f"this PNG file is damaged (checksum of {bytes(body[:4])!r}); get an "
                "intact copy of it."
            )
        chunks.append((bytes(body[:4]), bytes(body[4:])))
        start = end
    return chunks


def save_png(image: Tensor, path: str | os.PathLike[str]) -> None:
    """Write one picture (1, 3, H, W) as PNG, atomically and without metadata."""
    write_atomic(path, png_bytes(image))


def check_images(images: Tensor) -> Tensor:
    """Return ``images``, or raise unless they are (B, 3, R, R), R a multiple of 64.

    Raises:
        ImageError: any other shape.
    """
    shape = tuple(images.shape)
    if len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3] or shape[3] % 64:
        raise ImageError(
            "a judge expects aligned faces (B, 3, R, R) with R a multiple of 64, "
            f"got {shape}; align the photo first or resize the picture."
        )
    return images
