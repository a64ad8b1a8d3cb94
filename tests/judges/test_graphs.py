"""Tests of the graphs in PyTorch: slow loops, and what their own runtime answers."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from facersa.assets.graphs import Node
from facersa.errors import AssetError
from facersa.judges.graphs import GraphNetwork, load_graph, run

SAME = [(1, 0), (2, 0), (2, 1), (3, 1)]  # stride, and how much longer the side is


def slow_window(
    x: np.ndarray, window: tuple[int, int], stride: int, padding: str, edge: float
) -> Any:
    """Places of the output and their part of x (H, W, C), as TensorFlow defines it."""
    sides = x.shape[:2]
    if padding == "SAME":
        out = [-(-side // stride) for side in sides]
        total = [
            max((o - 1) * stride + k - side, 0)
            for o, k, side in zip(out, window, sides, strict=True)
        ]
        ends = [(t // 2, t - t // 2) for t in total]
        x = np.pad(x, [*ends, (0, 0)], constant_values=edge)
    else:
        out = [(s - k) // stride + 1 for s, k in zip(sides, window, strict=True)]
    for i, j in product(*map(range, out)):
        top, left = i * stride, j * stride
        yield (i, j), x[top : top + window[0], left : left + window[1]]


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(("stride", "odd"), SAME)
def test_windows_are_those_of_tensorflow(stride: int, odd: int, padding: str) -> None:
    x = torch.randn(1, 6 + odd, 8, 3)
    how = {"padding": padding, "strides": (stride, stride)}
    kernel, bias, slope = torch.randn(3, 2, 3, 4), torch.randn(4), torch.rand(4)
    fused = Node("y", "_FusedConv2D", (), fused=("BiasAdd", "Prelu"), **how)
    ours = run(fused, [x, kernel.permute(3, 2, 0, 1), bias, slope])[0]
    count = 0
    for place, part in slow_window(x[0].numpy(), (3, 2), stride, padding, 0):
        y = np.einsum("hwc,hwco->o", part, kernel.numpy()) + bias.numpy()
        y = np.where(y < 0, slope.numpy() * y, y)
        np.testing.assert_allclose(ours[place], y, atol=1e-5)
        count += 1
    assert count == ours.shape[0] * ours.shape[1]

    depthwise = torch.randn(3, 3, 3, 1)
    constants = {"k": depthwise}
    nodes = [
        Node("x", "Placeholder", ()),
        Node("y", "DepthwiseConv2dNative", ("x", "k"), **how),
    ]
    (ours,) = GraphNetwork(nodes, constants, "y")(x)
    for place, part in slow_window(x[0].numpy(), (3, 3), stride, padding, 0):
        y = (part * depthwise[..., 0].numpy()).sum((0, 1))
        np.testing.assert_allclose(ours[0][place], y, atol=1e-5)

    pool = Node("y", "MaxPool", (), window=(3, 3), **how)
    ours = run(pool, [x])[0]
    for place, part in slow_window(x[0].numpy(), (3, 3), stride, padding, -np.inf):
        np.testing.assert_array_equal(ours[place], part.max((0, 1)))


def test_small_operations_are_what_they_are_called() -> None:
    x, other = torch.randn(2, 3, 4, 5), torch.randn(5)

    def result(operation: str, *inputs: Tensor, **settings: Any) -> Tensor:
        return run(Node("y", operation, (), **settings), list(inputs))

    for operation, expected in {
        "Add": x + other,
        "AddV2": x + other,
        "Mul": x * other,
        "Minimum": x.minimum(other),
        "Maximum": x.maximum(other),
        "Prelu": torch.where(x > 0, x, x * other),
    }.items():
        assert torch.equal(result(operation, x, other), expected), operation
    assert torch.equal(result("Relu", x), x.clamp(min=0))
    assert torch.equal(result("Identity", x), x)

    axes = torch.tensor([1, 2])
    torch.testing.assert_close(result("Mean", x, axes), x.flatten(1, 2).mean(1))
    assert result("Mean", x, axes, keep_dims=True).shape == (2, 1, 1, 5)
    pads = torch.tensor([[0, 0], [1, 2], [0, 0], [0, 3]])
    padded = result("Pad", x, pads)
    assert padded.shape == (2, 6, 4, 8)
    assert torch.equal(padded[:, 1:4, :, :5], x)
    assert padded.abs().sum() == pytest.approx(float(x.abs().sum()))
    assert torch.equal(result("Reshape", x, torch.tensor([1, -1])), x.flatten(1))
    joined = result("ConcatV2", x, x + 1, torch.tensor(-1))
    assert torch.equal(joined, torch.cat([x, x + 1], 3))


def test_only_what_an_output_needs_is_kept() -> None:
    nodes = [
        Node("x", "Placeholder", ()),
        Node("y", "Add", ("x", "one")),
        Node("z", "Mul", ("y", "two")),
    ]
    constants = {"one": torch.ones(1), "two": 2 * torch.ones(1)}
    network = GraphNetwork(nodes, constants, "y")
    assert len(list(network.buffers())) == 1 and len(network.nodes) == 2
    assert network(torch.zeros(1))[0] == 1
    assert [float(y) for y in GraphNetwork(nodes, constants, "z", "y")(torch.ones(1))]
    with pytest.raises(AssetError, match="no node 'w'"):
        GraphNetwork(nodes, constants, "w")


def waves(shape: tuple[int, ...], low: float, high: float) -> Tensor:
    """The picture that the package's own runtime was shown."""
    index = np.arange(int(np.prod(shape)))
    phase = (index % 1009) ** 2 * 0.0007 + index * 0.01
    values = low + (high - low) * (0.5 + 0.5 * np.sin(phase))
    return torch.from_numpy(values.astype(np.float32).reshape(shape))


# Answers of the TensorFlow.js in the package itself (its CPU backend): by place.
KNOWN: dict[str, tuple[str, Tensor, float, dict[int, float]]] = {
    "faceres": (
        "global_pooling/Mean",
        waves((1, 224, 224, 3), 0, 255),
        22.671825,
        {7: 1.61019, 237: 0.00735328, 468: 2.05833, 649: 0.0110782, 845: 0.0535493},
    ),
    "facemesh": (
        "Identity_2",
        waves((1, 192, 192, 3), 0, 1),
        89890.235,
        {0: 95.6437, 280: 91.4176, 560: -0.708013, 840: 134.508, 1120: 75.5497},
    ),
    "iris": (
        "Identity",
        waves((1, 64, 64, 3), 0, 1),
        5159.9171,
        {0: 24.9506, 45: 44.4916, 90: 41.8326, 135: 37.3958, 180: 47.9919},
    ),
    "emotion": (
        "Identity",
        waves((1, 64, 64, 1), -1, 1),
        1.0,
        {0: 0.975429, 3: 0.0245686},
    ),
}


@pytest.mark.parametrize("network", KNOWN)
@torch.no_grad()
def test_each_network_answers_as_in_its_own_runtime(network: str) -> None:
    output, picture, total, answers = KNOWN[network]
    graph = load_graph(f"outside_{network}.safetensors", output)
    result = graph(picture)[0].flatten()
    assert float(result.double().sum()) == pytest.approx(total, rel=1e-5)
    for place, answer in answers.items():
        assert float(result[place]) == pytest.approx(answer, rel=1e-4, abs=1e-4)
    twice = graph(torch.cat([picture.flip(1), picture]))[0][1].flatten()
    torch.testing.assert_close(twice, result, rtol=1e-4, atol=1e-4)
