"""Networks that TensorFlow.js stores as a graph: a safe reader of nodes and numbers.

The nodes are those of TensorFlow, in JSON; the numbers lie one after the other in a
second file. Only the operations in ``OPERATIONS`` are read, and nothing is run.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save

from facersa.errors import AssetError

# Operation and how many inputs it has; a fused one has those of its parts as well.
OPERATIONS: Mapping[str, tuple[int, ...]] = {
    "Placeholder": (0,),
    "Identity": (1,),
    "Conv2D": (2,),
    "_FusedConv2D": (3, 4),
    "DepthwiseConv2dNative": (2,),
    "_FusedMatMul": (3,),
    "Add": (2,),
    "AddV2": (2,),
    "Mul": (2,),
    "Minimum": (2,),
    "Maximum": (2,),
    "Relu": (1,),
    "Prelu": (2,),
    "Sigmoid": (1,),
    "Softmax": (1,),
    "MaxPool": (1,),
    "Mean": (2,),
    "Pad": (2,),
    "Reshape": (2,),
    "ConcatV2": (3,),
}
DAMAGED = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    SafetensorError,
    TypeError,
    ValueError,
)
GRAPH = "graph"  # the nodes in the metadata of the converted file


class Node(NamedTuple):
    """One operation of a graph.

    Attributes:
        name: of its result.
        operation: one of ``OPERATIONS``.
        inputs: names of nodes or of constants.
        padding: "SAME" or "VALID", of convolutions and pools.
        strides: down and to the right.
        window: of a pool, height and width.
        fused: what is done to the result: "BiasAdd", then "Relu" or "Prelu".
        keep_dims: of a mean.
    """

    name: str
    operation: str
    inputs: tuple[str, ...]
    padding: str = "VALID"
    strides: tuple[int, int] = (1, 1)
    window: tuple[int, int] = (1, 1)
    fused: tuple[str, ...] = ()
    keep_dims: bool = False


def tfjs_graph(model: bytes, data: bytes) -> bytes:
    """A TensorFlow.js graph model and its numbers as one safetensors file.

    Its tensors are the constants, float32 or int32, in TensorFlow's layout; its
    metadata hold the nodes that ``parse_nodes`` reads, each after its inputs.

    Raises:
        AssetError: the files are damaged, do not belong together, or use operations
            that are not read here.
    """
    try:
        content = json.loads(model)
        constants = _constants(content["weightsManifest"], data)
        nodes = [
            _node(node)
            for node in content["modelTopology"]["node"]
            if node["op"] != "Const"
        ]
        ordered = _ordered(nodes, set(constants))
        return save(constants, metadata={GRAPH: json.dumps(ordered)})
    except DAMAGED as error:
        raise AssetError(
            f"the graph and its weights do not fit ({error}); fetch their package "
            "again."
        ) from error


def parse_nodes(text: str) -> list[Node]:
    """The nodes of a file of ``tfjs_graph``."""
    return [
        Node(
            name,
            operation,
            tuple(inputs),
            padding,
            (strides[0], strides[1]),
            (window[0], window[1]),
            tuple(fused),
            keep_dims,
        )
        for name, operation, inputs, padding, strides, window, fused, keep_dims in (
            json.loads(text)
        )
    ]


def _constants(manifest: Any, data: bytes) -> dict[str, np.ndarray]:
    (group,) = manifest
    out: dict[str, np.ndarray] = {}
    start = 0
    for entry in group["weights"]:
        kind = np.dtype({"float32": "<f4", "int32": "<i4"}[entry["dtype"]])
        packed = entry.get("quantization", {}).get("dtype")
        if packed not in (None, "float16"):
            raise ValueError(f"weights packed as {packed!r}")
        stored = np.dtype("<f2") if packed else kind
        shape = tuple(int(side) for side in entry["shape"])
        size = int(np.prod(shape, dtype=object))
        if min(shape, default=0) < 0 or start + size * stored.itemsize > len(data):
            raise ValueError(f"too few bytes for {entry['name']!r}")
        value = np.frombuffer(data, stored, size, start).reshape(shape)
        start += size * stored.itemsize
        out[str(entry["name"])] = value.astype(kind)
    if start != len(data):
        raise ValueError(f"{start} bytes of weights expected, {len(data)} there")
    return out


def _node(node: Mapping[str, Any]) -> Node:
    attributes, inputs = node.get("attr", {}), node.get("input", [])
    name, operation = str(node["name"]), str(node["op"])
    if len(inputs) not in OPERATIONS.get(operation, ()):
        raise ValueError(f"operation {operation!r} with {len(inputs)} inputs")

    def numbers(key: str) -> tuple[int, int]:
        """Of (1, height, width, 1); ones where there are none."""
        if key not in attributes:
            return 1, 1
        batch, height, width, channel = map(int, attributes[key]["list"]["i"])
        if (batch, channel) != (1, 1) or not (0 < height < 99 and 0 < width < 99):
            raise ValueError(f"{key} of {name!r}")
        return height, width

    def text(value: str) -> str:
        return b64decode(value, validate=True).decode("ascii")

    def flag(key: str) -> bool:
        return bool(attributes.get(key, {}).get("b", False))

    padding = text(attributes["padding"]["s"]) if "padding" in attributes else "VALID"
    layout = text(attributes["data_format"]["s"]) if "data_format" in attributes else ""
    listed = attributes.get("fused_ops", {}).get("list", {}).get("s", [])
    fused = tuple(text(part) for part in listed)
    known = fused in ((), ("BiasAdd",), ("BiasAdd", "Relu"), ("BiasAdd", "Prelu"))
    turned = flag("transpose_a") or flag("transpose_b")
    if padding not in ("SAME", "VALID") or layout not in ("", "NHWC"):
        raise ValueError(f"padding {padding!r}, layout {layout!r} of {name!r}")
    if not known or turned or numbers("dilations") != (1, 1):
        raise ValueError(f"the settings of {name!r}")
    return Node(
        name,
        operation,
        tuple(str(one) for one in inputs),
        padding,
        numbers("strides"),
        numbers("ksize"),
        fused,
        flag("keep_dims"),
    )


def _ordered(nodes: list[Node], known: set[str]) -> list[Node]:
    """The nodes, each after its inputs."""
    waiting, ordered, ready = list(nodes), list[Node](), set(known)
    while waiting:
        rest = []
        for node in waiting:
            if ready.issuperset(node.inputs):
                ordered.append(node)
                ready.add(node.name)
            else:
                rest.append(node)
        if len(rest) == len(waiting):
            raise ValueError(f"no input for {rest[0].name!r}")
        waiting = rest
    return ordered
