"""What is fuzzed: the readers of everything that a stranger could have written.

A target makes a file of any bytes and reads it as the program would. Where a checksum
would stop nearly every input, the target puts it right, so that what lies behind it is
reached. ``check`` holds the property: an input is read, or is refused with an error of
the package, within two seconds.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import json
import os
import struct
import tempfile
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import torch
from safetensors.torch import save
from scipy.special import ndtri
from tiny_checkpoints import encoder_tensors, stylegan2_tensors
from torch import Tensor

from facersa.__main__ import main
from facersa.assets import graphs, pickles, readers
from facersa.cipher import description, password
from facersa.cipher.base import LearnedCipher
from facersa.cipher.catalogue import build_learned, load_learned
from facersa.cipher.description import RENAMED, VERSION_1, fingerprint, restore
from facersa.cipher.password import Password
from facersa.cli.parser import cli
from facersa.cli.pictures import read_secrets
from facersa.errors import FaceRSAError
from facersa.figures.curves import read_log
from facersa.generator import stylegan2
from facersa.generator.statistics import WStatistics
from facersa.inversion.e4e import holds_e4e, load_e4e
from facersa.judges import bisenet
from facersa.judges.calibration import load_calibrations
from facersa.photo import images
from facersa.photo.detail import read_detail
from facersa.photo.images import PNG_SIGNATURE
from facersa.sealing import prior
from facersa.sealing.chunk import CHUNK, unseal_all
from facersa.sealing.compact import CompactCode
from facersa.sealing.picture import EncryptedPicture, place
from facersa.sealing.pixels import CHECK_BYTES, DATA_BYTES, unpack
from facersa.sealing.sealed import HEAD, Sealed
from facersa.training.checkpoints import load_state
from facersa.training.loop import TrainConfig, _open_log, _resume, _saved
from facersa.training.preview import render_pool

SECONDS = 2.0  # of processor time for one input
STATS = WStatistics.load()
# Of codes of two numbers a row: forged headers cost no time in large matrices.
TINY = WStatistics(torch.zeros(2), torch.ones(2), torch.eye(2))
IMAGE = torch.zeros(1, 3, 8, 8)
ROWS = 16  # of the shipped generator's codes
TABLE = CompactCode.load()
COMPACT_BYTES = TABLE.payload_bytes(ROWS, 512)
NORMAL = ndtri((np.arange(prior.LEVELS) + 0.5) / prior.LEVELS)
FOLDER = tempfile.TemporaryDirectory(prefix="facersa-fuzz-")


def file(name: str, data: bytes) -> Path:
    """A file of these bytes, the only one of its name."""
    path = Path(FOLDER.name) / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return path


def seconds(name: str, data: bytes) -> float:
    """Processor time of one target on one input, with whatever it raises but ours."""
    start = time.process_time()
    with warnings.catch_warnings(), contextlib.suppress(FaceRSAError):
        warnings.simplefilter("ignore")
        TARGETS[name](data)
    return time.process_time() - start


def check(name: str, data: bytes) -> None:
    """Run one target on one input; again if it took long.

    The first use of a part of PyTorch imports it, which takes seconds on a busy
    machine; an input that takes long takes long twice.

    Raises:
        Exception: whatever is no error of the package, or took too long.
    """
    used = seconds(name, data)
    if used > SECONDS:
        used = min(used, seconds(name, data))
    if used > SECONDS:
        raise TimeoutError(f"{used:.1f} seconds for one input")


def use(picture: EncryptedPicture) -> None:
    """All that decryption reads of a file's faces, but for painting and argon2."""
    for square in picture.squares:
        picture.number_of(square)
    with contextlib.suppress(FaceRSAError):
        picture.pick(None)
    for number in picture.numbers:
        with contextlib.suppress(FaceRSAError):
            sealed = picture.faces[picture.pick(number)]
            where = place(sealed)
            if where is not None:
                where.beside(picture.squares)
            edit(sealed)


def edit(sealed: Sealed) -> None:
    """The code in a face, edited by the cipher that the face names."""
    with mock.patch.multiple(description, **SHIPPED), contextlib.suppress(FaceRSAError):
        cipher = restore(sealed.params, ROWS, statistics=TINY)
        code = torch.full((1, cipher.num_bits), 0.5)
        if cipher.name in ("rotation", "steady"):
            cipher(torch.zeros(1, ROWS, 2), code)
    if sealed.mode == "open":
        sealed.code()
    elif isinstance(sealed.prior, prior.NormalPrior) and sealed.shape[1] == 2:
        with mock.patch.object(prior, "_quantiles", lambda weight, scale: NORMAL):
            sealed.prior.from_bytes(sealed.payload, TINY)


def png_chunk(body: bytes) -> bytes:
    """A chunk of a PNG, from its type and data."""
    checksum = zlib.crc32(body).to_bytes(4, "big")
    return (len(body) - 4).to_bytes(4, "big") + body + checksum


def picture(data: bytes) -> None:
    """A picture file, or a face beside a code; a PNG also with right checksums."""
    start, out = len(PNG_SIGNATURE), data[: len(PNG_SIGNATURE)]
    while data.startswith(PNG_SIGNATURE) and start + 12 <= len(data):
        end = start + 8 + int.from_bytes(data[start : start + 4], "big")
        out += png_chunk(data[start + 4 : end])
        start = end + 4
    with mock.patch.object(images, "MAX_PIXELS", 2**18):
        for content in {data, out + data[start:]}:
            with contextlib.suppress(FaceRSAError):
                use(EncryptedPicture.read(content))
        with contextlib.suppress(FaceRSAError):
            read_detail(data)


def chunk(data: bytes) -> None:
    """Chunks of a PNG: for each a head of seven bytes and JSON; the rest is made."""
    png = bytearray(PNG_SIGNATURE)
    for number, part in enumerate(data.split(b"\xff\xff", 7)):
        head, (text, _, given) = part[:7].ljust(7, b"\0"), part[7:].partition(b"\0")
        version, mode, rows, size, length, same = struct.unpack(">BBBHBB", head)
        payload = bytes(COMPACT_BYTES if b"compact" in text else 2 * rows * size + 1)
        if b'"detail":40' in text:
            payload += bytes(40)
        if mode == 1:
            payload = zlib.compress(bytes(4 * rows * size))
        salt = hashlib.sha256(str(0 if same else number).encode()).digest()
        body = HEAD.pack(version, mode, rows, size, max(0, len(text) - length))
        body += salt[:28] + text + (given or payload)
        png += png_chunk(CHUNK + body + hashlib.sha256(body).digest())
    png += png_chunk(b"IEND")
    with mock.patch.object(CompactCode, "load", lambda: TABLE):
        use(EncryptedPicture(IMAGE, tuple(unseal_all(bytes(png)))))


def pixels(data: bytes) -> None:
    """The message in the pixels, behind error correction."""
    body = data[: DATA_BYTES - CHECK_BYTES].ljust(DATA_BYTES - CHECK_BYTES, b"\0")
    with mock.patch.object(CompactCode, "load", lambda: TABLE):
        sealed = unpack(body, (640, 480), TINY)
    use(EncryptedPicture(IMAGE, (sealed,), pixels_only=True))


def published(data: bytes) -> None:
    """A pickle of arrays, a graph, or OpenVINO's XML: formats of published weights."""
    if data[:1] == b"G":
        graphs.tfjs_graph(data[1:], struct.pack("<4f", *range(4)))
        return
    if data[:1] == b"P":
        with contextlib.suppress(FaceRSAError):
            pickles.read_numpy_pickle(data[1:])
        readers.lpips_trunk(data[1:])
        return
    weights = struct.pack("<16f", *range(16))
    with contextlib.suppress(FaceRSAError):
        readers.mobile_stylegan(data, weights, data, weights)
    network = readers.OpenVinoWeights(data, weights)
    for name in ("Gemm_1", "Tile_10", "in", "w"):
        for size in (1, 2):
            with contextlib.suppress(FaceRSAError):
                network.constant_of(name, size)
        with contextlib.suppress(FaceRSAError):
            network.upstream_constant(name, (2, 2))


def unchanged(value: Tensor, *_: Any, **__: Any) -> Tensor:
    """In place of random initial weights."""
    return value


def parser() -> torch.nn.Module:
    """In place of the large BiSeNet."""
    return torch.nn.BatchNorm2d(2)


@functools.cache
def networks() -> dict[bytes, dict[Any, Any]]:
    """Small checkpoints of one's own networks, by a letter."""
    state = {f"decoder.{k}": v for k, v in stylegan2_tensors((2, 2), 16, 1).items()}
    encoder = encoder_tensors(blocks=(1, 1, 1, 1), rows=4, w_dim=16)
    state |= {f"encoder.{name}": value for name, value in encoder.items()}
    return {
        b"S": {"g_ema": stylegan2_tensors((2, 2), 16, 1), "latent_avg": torch.ones(16)},
        b"E": {"state_dict": state, "latent_avg": torch.ones(4, 16), "opts": {}},
        b"B": dict(parser().state_dict()),
    }


CHANGES: tuple[Callable[[Any, int], Any], ...] = (
    lambda value, n: value[:n] if value.ndim else value,
    lambda value, n: value.reshape(-1)[:n],
    lambda value, n: value[None],
    lambda value, n: value.new_zeros(n, n % 5, 1),
    lambda value, n: value.to((torch.int8, torch.bool, torch.complex64)[n % 3]),
    lambda value, n: torch.zeros(1).expand(2**12 * n),
    lambda value, n: torch.full_like(value, (float("nan"), 1e38, -1)[n % 3]),
    lambda value, n: (None, "text", {}, [n])[n % 4],
    lambda value, n: torch.zeros(n, n).to_sparse(),
)


def changed(content: dict[Any, Any], orders: bytes) -> dict[Any, Any]:
    """A checkpoint with some of its tensors exchanged, renamed or left out."""
    content = {k: dict(v) if isinstance(v, dict) else v for k, v in content.items()}
    for start in range(0, len(orders) - 3, 4):
        which, other, how, number = orders[start : start + 4]
        parts = [content, *(v for v in content.values() if isinstance(v, dict))]
        part = parts[which % len(parts)]
        name = [*part, "nothing"][(which * 7 + other) % (len(part) + 1)]
        value = part.get(name)
        if how == 0:
            part.pop(name, None)
        elif how == 1:
            part[number] = value
        elif how == 2 and isinstance(name, str):
            part[name.replace("0", str(number))] = value
        elif isinstance(value, Tensor):
            with contextlib.suppress(RuntimeError):
                part[name] = CHANGES[how % len(CHANGES)](value, number)
    return content


def checkpoint(data: bytes) -> None:
    """A PyTorch file, the pickle in one, or the tensors in one."""
    kind, rest = data[:1], data[1:]
    if kind in networks():
        content = changed(networks()[kind], rest)
    else:
        raw = rest if kind == b"R" else zipped(rest)
        content = pickles.read_torch_file(file("checkpoint.pt", raw))
    quick: Any = dict.fromkeys(("kaiming_uniform_", "uniform_"), unchanged)
    quiet = mock.patch.multiple(torch.nn.init, **quick)
    with quiet, mock.patch.object(stylegan2, "AVERAGE_SAMPLES", 10):
        with contextlib.suppress(FaceRSAError):
            stylegan2.load_stylegan2("file", content=content)
        with contextlib.suppress(FaceRSAError):
            holds_e4e(content)
            load_e4e("file", content=content)
    given = mock.patch.object(bisenet, "read_torch_file", lambda path: content)
    with given, mock.patch.object(bisenet, "BiSeNet", parser):
        bisenet.load_bisenet("file")


def zipped(pickled: bytes) -> bytes:
    """A PyTorch archive with this pickle, and one storage of four numbers."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("file/data.pkl", pickled)
        archive.writestr("file/byteorder", "little")
        archive.writestr("file/data/0", struct.pack("<4f", 1, 2, 3, 4))
        archive.writestr("file/version", "3\n")
    return buffer.getvalue()


SMALL: dict[bytes, tuple[str, dict[str, Any]]] = {
    b"1": ("ring", {"planes": 2, "axes": 8}),
    b"2": ("steered", {"axes": 4, "width": 4}),
    b"3": ("assembled", {"modules": 0}),
    b"4": ("faithful", {"modules": 0}),
}


@functools.cache
def learned(name: str) -> LearnedCipher:
    """A small cipher with random weights."""
    torch.manual_seed(0)
    (settings,) = (more for other, more in SMALL.values() if other == name)
    return build_learned(name, settings, STATS)


# In place of the weights that ship: small ones under their fingerprints.
PRINTS = dict(zip(("ring", "steered", "assembled"), VERSION_1.values(), strict=True))
PRINTS["assembled"] = RENAMED["faithful", PRINTS["assembled"]][1]
PRINTS["faithful"] = fingerprint(load_learned("faithful"))
SHIPPED: Any = {
    "load_cipher": lambda name, **_: learned(name),
    "fingerprint": lambda cipher: PRINTS[cipher.name],
}


@functools.cache
def tensors(kind: bytes) -> bytes:
    """The file of a small cipher's weights."""
    return save(learned(SMALL[kind][0]).state_dict())


def weights(data: bytes) -> None:
    """The card of a cipher's weights, the head of their file, or the whole file."""
    kind, rest = data[:1], data[1:]
    name, settings = SMALL.get(kind, SMALL[b"1"])
    card, stored = rest, tensors(kind if kind in SMALL else b"1")
    if kind not in SMALL:
        card = json.dumps({"settings": {"mapper": settings}}).encode()
        size = 8 + int.from_bytes(stored[:8], "little")
        head = len(rest).to_bytes(8, "little")
        stored = head + rest + stored[size:] if kind == b"H" else rest
        with contextlib.suppress(FaceRSAError):
            WStatistics.load(file("statistics.safetensors", stored))
    path = file("weights.safetensors", stored)
    file("weights.json", card)
    cipher = load_learned(name, path, statistics=STATS)
    ws = torch.zeros(1, max(*cipher.layers, *cipher.context, 0) + 1, 512)
    cipher(ws, torch.full((1, cipher.num_bits), 0.5))


# The least that training continues, and the tensors of its checkpoint.
TASK: Any = SimpleNamespace(name="toy", module=torch.nn.Linear(1, 1), settings={})
SHARD = save({"module.weight": torch.ones(1), "module.bias": torch.ones(1)})


def state(data: bytes) -> None:
    """A run's checkpoint, its log, a judge's calibration, or stored pictures."""
    kind, rest = data[:1], data[1:]
    if kind == b"C":
        load_calibrations.cache_clear()
        load_calibrations(file("calibration.json", rest))
    elif kind == b"L":
        with contextlib.suppress(FaceRSAError):
            read_log(file("log.json", rest))
        path = file("log.jsonl", rest)
        with contextlib.suppress(FaceRSAError):
            read_log(path)
        _open_log(path, 1).close()
    elif kind == b"P":
        painter: Any = SimpleNamespace(synthesize=None, preview=None)
        path = file("pool.000000.safetensors", rest)
        render_pool(painter, torch.zeros(1, 1, 1), path.parent)
    else:
        file("state/shard", SHARD)
        folder = file("state/state.json", rest).parent
        with contextlib.suppress(FaceRSAError):
            load_state(folder)
        average = {k: v.clone() for k, v in TASK.module.state_dict().items()}
        optimizer = torch.optim.Adam(TASK.module.parameters())
        if saved := _saved(TASK, TrainConfig(), folder.parent):
            _resume(TASK, folder.parent, saved, optimizer, average)


def text(data: bytes) -> None:
    """A typed password, a raw code, or arguments of the command line."""
    words = [os.fsdecode(word) for word in data.split(b"\0")]
    with contextlib.suppress(FaceRSAError):
        Password.from_bits(words[0]).to_bits()
    cheap = mock.patch.multiple(password, ARGON2_MEMORY_KIB=32, ARGON2_PASSES=1)
    with cheap, contextlib.suppress(FaceRSAError):
        secrets = read_secrets(tuple(words[:2]), tuple(words[2:3]))
        secrets.password(salt=bytes(16), num_bits=secrets.num_bits())
    with contextlib.ExitStack() as stack:
        for command in cli.commands.values():
            stack.enter_context(mock.patch.object(command, "callback", lambda **_: 0))
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
        main(words)


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (
        picture,
        chunk,
        pixels,
        published,
        checkpoint,
        weights,
        state,
        text,
    )
}
