"""Write the corpus: ``python -m fuzz.seeds`` in ``tests``, after a change of targets.

Small files of every kind that the targets read, made from ``tests/data`` or here.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import torch
from fuzz.targets import FOLDER, IMAGE, SHARD, SMALL, TASK, tensors
from PIL import Image
from safetensors.torch import save
from tiny_checkpoints import stylegan2_tensors

from facersa.judges.calibration import load_calibrations, save_calibrations
from facersa.photo.images import decode_image, png_bytes, read_png_chunks
from facersa.sealing.chunk import CHUNK
from facersa.sealing.pixels import _corrected
from facersa.sealing.sealed import HEAD, VERSION
from facersa.sealing.watermark import STEPS, read
from facersa.training.loop import TrainConfig, _identity

HERE = Path(__file__).resolve().parent
VERSION_1 = HERE.parent / "data" / "version1"
IR = b"""<net><layers>
<layer id="0" name="in" type="Parameter"/>
<layer id="1" name="w" type="Const">
  <data element_type="f32" shape="2, 2" offset="4" size="16"/></layer>
<layer id="2" name="Gemm_1" type="MatMul"/>
</layers><edges>
<edge from-layer="0" from-port="0" to-layer="2" to-port="0"/>
<edge from-layer="1" from-port="0" to-layer="2" to-port="1"/>
</edges></net>"""
GRAPH = {
    "modelTopology": {
        "node": [
            {"name": "k", "op": "Const"},
            {"name": "x", "op": "Placeholder"},
            {
                "name": "y",
                "op": "Conv2D",
                "input": ["x", "k"],
                "attr": {
                    "strides": {"list": {"i": ["1", "2", "2", "1"]}},
                    "padding": {"s": "U0FNRQ=="},
                },
            },
        ]
    },
    "weightsManifest": [
        {"weights": [{"name": "k", "shape": [1, 1, 2, 2], "dtype": "float32"}]}
    ],
}
COMMANDS = (
    "encrypt\0photo.png\0-o\0out.png\0--layers\0003-8\0--face\0001\0--bits\00064",
    "decrypt\0out.png\0-o\0back.png\0--from-pixels\0--code\0000110",
    "train\0mapper\0--cipher\0ring\0--steps\00010",
    "0110\0pass\0001001",
    "--help",
)


def pictures() -> dict[str, bytes]:
    """Files of every usual format, and encrypted ones."""
    levels = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
    rgb = Image.fromarray(levels)
    turned = Image.Exif()
    turned[0x0112] = 6
    variants = {
        "rgb.png": (rgb, {}),
        "alpha.png": (rgb.convert("RGBA"), {}),
        "palette.png": (rgb.convert("P"), {"transparency": 0}),
        "sixteen.png": (Image.fromarray(levels[..., 0].astype(np.uint16) * 99), {}),
        "turned.jpg": (rgb, {"exif": turned}),
        "cmyk.jpg": (rgb.convert("CMYK"), {}),
        "picture.webp": (rgb, {}),
        "picture.gif": (rgb, {}),
        "picture.bmp": (rgb, {}),
        "picture.tif": (rgb, {"compression": "tiff_lzw"}),
        "picture.ppm": (rgb, {}),
    }
    files = {}
    for name, (image, options) in variants.items():
        buffer = io.BytesIO()
        image.save(buffer, Image.registered_extensions()[Path(name).suffix], **options)
        files[name] = buffer.getvalue()
    for name in ("ring", "open"):
        chunks = read_png_chunks((VERSION_1 / f"{name}.png").read_bytes())
        files[f"{name}.png"] = png_bytes(IMAGE, [c for c in chunks if c[0] == CHUNK])
    return files


def chunks() -> dict[str, bytes]:
    """Heads and notes of the chunks of ``tests/data``."""
    files = {}
    for path in VERSION_1.glob("*.png"):
        parts = []
        for kind, body in read_png_chunks(path.read_bytes()):
            if kind == CHUNK:
                version, mode, rows, size, length = HEAD.unpack_from(body)
                start = HEAD.size + 28
                small = size if b'"compact"' in body[: start + length] else 2
                head = struct.pack(">BBBHBB", version, mode, rows, small, 0, 0)
                parts.append(head + body[start : start + length])
        files[path.stem] = b"\xff\xff".join(parts)
    text = files["ring"][7:].replace(b"{", b'{"detail":40,', 1)
    files["detail"] = bytes([VERSION]) + files["ring"][1:7] + text
    return files


def messages() -> dict[str, bytes]:
    """What the pixels of ``tests/data`` hold, without the code itself."""
    files = {}
    for path in VERSION_1.glob("*.jpg"):
        image = decode_image(path.read_bytes())
        found = (_corrected(read(image, step)) for step in STEPS)
        files[path.stem] = next(message for message in found if message)[:80]
    return files


def weights_of_others() -> dict[str, bytes]:
    """Pickles and XML."""
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    files = {
        f"arrays{protocol}": b"P" + pickle.dumps({"a": [array, 1.5]}, protocol)
        for protocol in (0, 2, 4)
    }
    kernel = {"kernel": np.ones((1, 1, 1, 1), np.float32), "bias": np.ones(1)}
    flax = {f"NetLinLayer_{k}": {"Conv_0": kernel} for k in range(5)}
    flax["AlexNet_0"] = {f"Conv_{k}": kernel for k in range(5)}
    files |= {"lpips": b"P" + pickle.dumps(flax), "network.xml": IR}
    return files | {"graph": b"G" + json.dumps(GRAPH).encode()}


def checkpoints() -> dict[str, bytes]:
    """PyTorch files, and orders to change a network's tensors."""
    buffer = io.BytesIO()
    torch.save({"g_ema": {"input.input": torch.ones(4)}, "opts": {}}, buffer)
    with zipfile.ZipFile(buffer) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith("data.pkl"))
        files = {"file": b"R" + buffer.getvalue(), "pickle": b"Z" + archive.read(name)}
    names = len(stylegan2_tensors((2, 2), 16, 1))
    for letter in "SEB":
        files[letter] = letter.encode() + bytes((1, names // 2, 5, 40))
    return files


def trained() -> dict[str, bytes]:
    """Cards and files of small ciphers' weights."""
    files = {}
    for kind, (name, settings) in SMALL.items():
        card = {"settings": {"mapper": settings}}
        files[f"{name}.json"] = kind + json.dumps(card).encode()
    data = tensors(b"1")
    head = data[8 : 8 + int.from_bytes(data[:8], "little")]
    return files | {"head": b"H" + head, "weights": b"A" + data}


def runs() -> dict[str, bytes]:
    """What training and measuring write."""
    groups = torch.optim.Adam(TASK.module.parameters()).state_dict()["param_groups"]
    meta = _identity(TASK, TrainConfig()) | {"optimizer": groups}
    shapes = {"module.weight": [1, 1], "module.bias": [1]}
    shards = {"shard": hashlib.sha256(SHARD).hexdigest()}
    run = {"step": 7, "shapes": shapes, "shards": shards, "meta": meta}
    calibrations = Path(FOLDER.name) / "calibration.json"
    save_calibrations(load_calibrations()[:1], calibrations)
    pool = {"pixels": torch.zeros(1, 2, 2, 3).byte(), "codes": torch.zeros(1, 1, 1)}
    return {
        "state.json": b"S" + json.dumps(run).encode(),
        "calibration.json": b"C" + calibrations.read_bytes(),
        "log.json": b'L{"steps": [1, 2], "figures": {"loss": [0.5, null]}}',
        "log.jsonl": b'L{"step": 1, "loss": 0.5}\n{"step": 2}\n',
        "pool": b"P" + save(pool),
    }


def main() -> None:
    """Write every file."""
    corpus = {
        "picture": pictures(),
        "chunk": chunks(),
        "pixels": messages(),
        "published": weights_of_others(),
        "checkpoint": checkpoints(),
        "weights": trained(),
        "state": runs(),
        "text": {f"{i}": words.encode() for i, words in enumerate(COMMANDS)},
    }
    for target, files in corpus.items():
        folder = HERE / "corpus" / target
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (folder / name).write_bytes(data)


if __name__ == "__main__":
    main()
