"""Tests of the reader of TensorFlow.js graphs."""

from __future__ import annotations

import copy
import json
from base64 import b64encode
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load

from facersa.assets.graphs import GRAPH, Node, parse_nodes, tfjs_graph
from facersa.errors import AssetError


def code(text: str) -> str:
    return b64encode(text.encode()).decode()


def model() -> dict[str, Any]:
    """y = convolution of x, then a mean; written in an order that cannot be run."""
    return {
        "modelTopology": {
            "node": [
                {"name": "m", "op": "Mean", "input": ["y", "axes"]},
                {
                    "name": "y",
                    "op": "_FusedConv2D",
                    "input": ["x", "k", "b"],
                    "attr": {
                        "strides": {"list": {"i": ["1", "2", "1", "1"]}},
                        "dilations": {"list": {"i": ["1", "1", "1", "1"]}},
                        "padding": {"s": code("SAME")},
                        "data_format": {"s": code("NHWC")},
                        "fused_ops": {"list": {"s": [code("BiasAdd"), code("Relu")]}},
                    },
                },
                {"name": "x", "op": "Placeholder"},
                {"name": "k", "op": "Const"},
            ]
        },
        "weightsManifest": [
            {
                "weights": [
                    {
                        "name": "k",
                        "shape": [1, 1, 2, 3],
                        "dtype": "float32",
                        "quantization": {"dtype": "float16"},
                    },
                    {"name": "b", "shape": [3], "dtype": "float32"},
                    {"name": "axes", "shape": [2], "dtype": "int32"},
                ]
            }
        ],
    }


KERNEL = np.arange(6, dtype=np.float16).reshape(1, 1, 2, 3) / 4
BIAS, AXES = np.array([1, 2, 3], np.float32), np.array([1, 2], np.int32)
DATA = KERNEL.tobytes() + BIAS.tobytes() + AXES.tobytes()


def converted(content: object, data: bytes = DATA) -> bytes:
    return tfjs_graph(json.dumps(content).encode(), data)


def test_a_graph_is_read_in_an_order_that_can_be_run(tmp_path: Any) -> None:
    data = converted(model())
    tensors = load(data)
    assert np.array_equal(tensors["k"], KERNEL) and tensors["k"].dtype == np.float32
    assert np.array_equal(tensors["b"], BIAS)
    assert np.array_equal(tensors["axes"], AXES) and tensors["axes"].dtype == np.int32
    (tmp_path / "graph").write_bytes(data)
    with safe_open(tmp_path / "graph", "np") as file:
        nodes = parse_nodes(file.metadata()[GRAPH])
    assert nodes == [
        Node("x", "Placeholder", ()),
        Node(
            "y",
            "_FusedConv2D",
            ("x", "k", "b"),
            padding="SAME",
            strides=(2, 1),
            fused=("BiasAdd", "Relu"),
        ),
        Node("m", "Mean", ("y", "axes")),
    ]


def changed(*path: Any, value: object) -> dict[str, Any]:
    content: Any = copy.deepcopy(model())
    place = content
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return content


NODES, WEIGHTS = ("modelTopology", "node"), ("weightsManifest", 0, "weights")
SETTINGS = (*NODES, 1, "attr")


@pytest.mark.parametrize(
    "content",
    [
        [],
        {},
        changed("weightsManifest", value=[]),
        changed(*NODES, 0, "op", value="ReadFile"),
        changed(*NODES, 0, "input", value=["y"]),
        changed(*NODES, 0, "input", value=["y", "lost"]),
        changed(*NODES, 2, value={"name": "x", "op": "Identity", "input": ["m"]}),
        changed(*NODES, 2, value="x"),
        changed(*SETTINGS, "padding", value={"s": code("FULL")}),
        changed(*SETTINGS, "padding", value={"s": "???"}),
        changed(*SETTINGS, "data_format", value={"s": code("NCHW")}),
        changed(*SETTINGS, "strides", value={"list": {"i": [1, 0, 1, 1]}}),
        changed(*SETTINGS, "dilations", value={"list": {"i": [1, 2, 2, 1]}}),
        changed(*SETTINGS, "fused_ops", value={"list": {"s": [code("Exec")]}}),
        changed(*SETTINGS, "transpose_a", value={"b": True}),
        changed(*WEIGHTS, 0, "quantization", value={"dtype": "uint8"}),
        changed(*WEIGHTS, 1, "dtype", value="string"),
        changed(*WEIGHTS, 1, "shape", value=[4]),
        changed(*WEIGHTS, 1, "shape", value=[2]),
        changed(*WEIGHTS, 1, "shape", value=[-3]),
        changed(*WEIGHTS, 1, "shape", value=[10**30]),
        changed(*WEIGHTS, 1, "shape", value=[float("inf")]),
    ],
)
def test_what_is_not_such_a_graph_is_refused(content: object) -> None:
    with pytest.raises(AssetError, match="fetch their package again") as error:
        converted(content)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("data", [DATA[:-1], DATA + b"0", b""])
def test_numbers_of_another_length_are_refused(data: bytes) -> None:
    with pytest.raises(AssetError, match="do not fit"):
        converted(model(), data)


def test_no_json_is_refused() -> None:
    for text in (b"", b"\xff", b"[" * 100_000):
        with pytest.raises(AssetError, match="do not fit"):
            tfjs_graph(text, b"")
