"""The one image contract, and the only file that knows about picture files.

Inside the package a picture is a float32 RGB tensor (B, 3, H, W) in [-1, 1].
Everything a photograph carries besides its pixels (EXIF, thumbnails, GPS,
comments) ends here: it is read for the orientation and never written again.
"""

from __future__ import annotations

import io
import os
import struct
import tempfile
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont, ImageOps, UnidentifiedImageError
from torch import Tensor

from facersa.errors import ImageError

MAX_PIXELS = 100_000_000
GREY_GAP = 2.5 / 127.5  # of the channels of a grey picture, JPEG's rounding included
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def from_uint8(array: np.ndarray) -> Tensor:
    """Turn (H, W, 3) or (B, H, W, 3) uint8 RGB into (B, 3, H, W) in [-1, 1]."""
    if array.dtype != np.uint8 or array.ndim not in (3, 4) or array.shape[-1] != 3:
        raise ImageError(
            "expected uint8 RGB of shape (H, W, 3) or (B, H, W, 3), "
            f"got {array.dtype} {array.shape}; convert it to RGB first."
        )
    batch = array if array.ndim == 4 else array[None]
    tensor = torch.from_numpy(np.array(batch)).permute(0, 3, 1, 2)
    return tensor.float() / 127.5 - 1


def to_uint8(image: Tensor) -> np.ndarray:
    """Turn (B, 3, H, W) in [-1, 1] into (B, H, W, 3) uint8, values clamped."""
    if image.ndim != 4 or image.shape[1] != 3:
        raise ImageError(f"expected (B, 3, H, W), got {tuple(image.shape)}.")
    levels = ((image.detach().float() + 1) * 127.5).round().clamp(0, 255)
    return levels.to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def is_grey(image: Tensor) -> bool:
    """Whether the channels of a picture (1, 3, H, W) agree to within 2 grey levels."""
    return bool((image.amax(1) - image.amin(1)).max() <= GREY_GAP)


def to_grey(image: Tensor) -> Tensor:
    """The luma (Rec. 601) of pictures (B, 3, H, W) in all three channels."""
    luma = image.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    return (image * luma).sum(1, keepdim=True).expand_as(image).contiguous()


def resize(image: Tensor, size: int | tuple[int, int]) -> Tensor:
    """Resample to ``size``: exact area means when shrinking, bicubic to grow."""
    height, width = (size, size) if isinstance(size, int) else size
    if (height, width) == tuple(image.shape[-2:]):
        return image
    if height <= image.shape[-2] and width <= image.shape[-1]:
        return F.adaptive_avg_pool2d(image, (height, width))
    grown = F.interpolate(image, (height, width), mode="bicubic", antialias=True)
    return grown.clamp(-1, 1)


def resample(levels: np.ndarray, size: tuple[int, int], method: str) -> np.ndarray:
    """Pillow's own filters, as other programs use them, smooth when shrinking.

    Args:
        levels: (H, W, 3) uint8, or one channel (H, W) float32.
        size: width and height.
        method: "bilinear", "bicubic" or "lanczos".
    """
    how = Image.Resampling[method.upper()]
    return np.asarray(Image.fromarray(levels).resize(size, how))


def load_image(path: str | os.PathLike[str]) -> Tensor:
    """Read any common picture file as (1, 3, H, W) RGB in [-1, 1].

    The EXIF orientation is applied; grey, palette, 16-bit, CMYK and alpha
    (over white) pictures become RGB. At most ``MAX_PIXELS`` are decoded.

    Raises:
        ImageError: the file is missing, not a picture, damaged or too large.
    """
    return decode_image(read_file(path), name=str(path))


def read_file(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a file; ``ImageError`` names the path if it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ImageError(
            f"cannot read {path}: {error.strerror or error}; check the path."
        ) from error


def decode_image(data: bytes, *, name: str = "the picture") -> Tensor:
    """``load_image`` for the bytes of a picture file."""
    try:
        with _quietly(), Image.open(io.BytesIO(data)) as opened:
            width, height = opened.size
            if width * height > MAX_PIXELS:
                raise ImageError(
                    f"{name} is {width} x {height} pixels, more than "
                    f"{MAX_PIXELS // 1_000_000} million; scale it down first."
                )
            upright = ImageOps.exif_transpose(opened)
            rgb = _to_rgb(upright)
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"{name} has more than {MAX_PIXELS // 1_000_000} million pixels; scale "
            "it down first."
        ) from error
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{name} is not a picture this program can read; use PNG or JPEG."
        ) from error
    except (OSError, ValueError, SyntaxError) as error:
        raise ImageError(
            f"{name} is damaged ({error}); export it again from the original."
        ) from error
    return from_uint8(np.asarray(rgb))


@contextmanager
def _quietly() -> Iterator[None]:
    """No warnings about odd but readable files; the size is checked here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I") or picture.mode == "F":
        values = np.asarray(picture, dtype=np.float64)
        top = 65535.0 if picture.mode.startswith("I") else max(values.max(), 1.0)
        levels = (values.clip(0, top) / top * 255).round().astype(np.uint8)
        return Image.fromarray(levels).convert("RGB")
    if "A" in picture.mode or "transparency" in picture.info:
        rgba = picture.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return picture.convert("RGB")


def png_bytes(image: Tensor, chunks: Sequence[tuple[bytes, bytes]] = ()) -> bytes:
    """Encode one picture (1, 3, H, W) as PNG with no metadata.

    ``chunks`` are extra (type, data) pairs, placed before the pixels.
    """
    pixels = to_uint8(image)
    if len(pixels) != 1:
        raise ImageError(f"a PNG holds one picture, got a batch of {len(pixels)}.")
    buffer = io.BytesIO()
    Image.fromarray(pixels[0]).save(buffer, "PNG", compress_level=4)
    plain = buffer.getvalue()
    header_end = len(PNG_SIGNATURE) + 25  # IHDR: 4 length, 4 type, 13 data, 4 CRC
    extra = b"".join(_chunk(kind, data) for kind, data in chunks)
    return plain[:header_end] + extra + plain[header_end:]


def jpeg_bytes(image: Tensor, *, quality: int = 92) -> bytes:
    """Encode one picture (1, 3, H, W) as JPEG: the fastest way to a screen."""
    return _encode(image, "JPEG", quality=quality)


def webp_bytes(image: Tensor, *, quality: int = 80, lossless: bool = False) -> bytes:
    """Encode one picture (1, 3, H, W) as WebP: the fewest bytes in a page."""
    return _encode(image, "WEBP", quality=quality, lossless=lossless)


def _encode(image: Tensor, kind: str, **options: int | bool) -> bytes:
    pixels = to_uint8(image)
    if len(pixels) != 1:
        raise ImageError(f"a {kind} holds one picture, got a batch of {len(pixels)}.")
    buffer = io.BytesIO()
    Image.fromarray(pixels[0]).save(buffer, kind, **options)
    return buffer.getvalue()


def _chunk(kind: bytes, data: bytes) -> bytes:
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


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
    position = len(PNG_SIGNATURE)
    while position < len(data):
        head = data[position : position + 8]
        end = position + 12 + int.from_bytes(head[:4], "big")
        if end > len(data):
            raise ImageError("this PNG file is cut short; get an intact copy of it.")
        kind, body = head[4:], data[position + 8 : end - 4]
        if struct.unpack(">I", data[end - 4 : end])[0] != zlib.crc32(kind + body):
            raise ImageError(
                f"this PNG file is damaged (checksum of {kind!r}); get an intact copy."
            )
        chunks.append((kind, body))
        position = end
        if kind == b"IEND":
            return chunks
    raise ImageError("this PNG file is cut short; get an intact copy of it.")


def write_atomic(path: str | os.PathLike[str], data: bytes) -> None:
    """Write ``data`` to ``path`` whole or not at all.

    Raises:
        ImageError: the folder is missing or not writable, or the disk is full.
    """
    path = Path(path)
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            temporary = file.name
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise ImageError(
            f"cannot write {path}: {error.strerror or error}; nothing was left "
            "behind: free some space or choose another folder."
        ) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def save_png(
    image: Tensor,
    path: str | os.PathLike[str],
    *,
    chunks: Sequence[tuple[bytes, bytes]] = (),
) -> None:
    """Write one picture as PNG, atomically and without any metadata."""
    write_atomic(path, png_bytes(image, chunks))


def grid(images: Tensor, columns: int, pad: int = 4) -> Tensor:
    """Lay (B, 3, R, R) pictures out in rows: one (1, 3, H, W) sheet on white."""
    count, _, height, width = images.shape
    rows = -(-count // columns)
    sheet = torch.ones(1, 3, rows * (height + pad) + pad, columns * (width + pad) + pad)
    for index, image in enumerate(images.detach().cpu()):
        top = pad + (index // columns) * (height + pad)
        left = pad + (index % columns) * (width + pad)
        sheet[0, :, top : top + height, left : left + width] = image
    return sheet


def contact_sheet(
    images: Sequence[Tensor],
    labels: Sequence[str],
    *,
    columns: int = 3,
    side: int = 360,
    letters: int = 18,
) -> Tensor:
    """Pictures (1, 3, R, R) in rows, each at ``side`` pixels above its label.

    ``letters`` is the size of the labels' font in pixels.
    """
    font, band = ImageFont.load_default(letters), round(letters * 1.8)
    tiles = []
    for image, label in zip(images, labels, strict=True):
        tile = Image.new("RGB", (side, side + band), "white")
        tile.paste(Image.fromarray(to_uint8(resize(image, side))[0]))
        ImageDraw.Draw(tile).text(
            (4, side + letters // 4), label, fill="black", font=font
        )
        tiles.append(from_uint8(np.asarray(tile)))
    return grid(torch.cat(tiles), columns, pad=8)


def check_output(path: str, *sources: str) -> Path:
    """Fail before the long work, not after it."""
    output = Path(path)
    if not output.parent.is_dir():
        raise ImageError(f"the folder {output.parent} does not exist; make it first.")
    if output.is_dir():
        raise ImageError(f"{output} is a folder; name a file in it.")
    if not os.access(output.parent, os.W_OK):
        raise ImageError(f"the folder {output.parent} is not writable; choose another.")
    if any(output.exists() and output.samefile(s) for s in sources if Path(s).exists()):
        raise ImageError(f"{output} is the input itself; choose another name.")
    return output
