"""TensorFlow's graphs run in PyTorch: what the judges of ``outside`` need, no more.

Results keep TensorFlow's layout (batch, height, width, channels). A convolution turns
them into PyTorch's and back, which moves no number: it is a view of the same memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor, nn

from facersa.assets.graphs import GRAPH, Node, parse_nodes
from facersa.assets.registry import asset_path
from facersa.errors import AssetError

CONVOLUTIONS = ("Conv2D", "_FusedConv2D", "DepthwiseConv2dNative")


class GraphNetwork(nn.Module):
    """A graph up to some of its nodes.

    Args:
        nodes: each after its inputs, as ``assets.graphs`` orders them.
        constants: by name.
        outputs: names of the nodes whose results are wanted.

    Raises:
        AssetError: the graph lacks one of ``outputs``.
    """

    def __init__(
        self, nodes: Sequence[Node], constants: Mapping[str, Tensor], *outputs: str
    ) -> None:
        super().__init__()
        if lacking := set(outputs) - {node.name for node in nodes}:
            raise AssetError(
                f"the graph has no node {min(lacking)!r}; fetch its package again."
            )
        wanted = set(outputs)
        for node in reversed(nodes):
            if node.name in wanted:
                wanted |= set(node.inputs)
        self.nodes = [node for node in nodes if node.name in wanted]
        self.outputs = outputs
        kernels = {
            node.inputs[1]: node.operation
            for node in self.nodes
            if node.operation in CONVOLUTIONS
        }
        self._names: dict[str, str] = {}
        for index, name in enumerate(sorted(wanted & set(constants))):
            value = constants[name]
            if name in kernels:
                value = _kernel(value, kernels[name])
            self._names[name] = f"constant{index}"
            self.register_buffer(f"constant{index}", value)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, height, width, channels) to the results of ``outputs``."""
        values = {name: getattr(self, own) for name, own in self._names.items()}
        for node in self.nodes:
            inputs = [values[name] for name in node.inputs]
            values[node.name] = x if not inputs else run(node, inputs)
        return [values[name] for name in self.outputs]


def _kernel(value: Tensor, operation: str) -> Tensor:
    """(height, width, inputs, outputs) as PyTorch has it; depthwise ones side by side.

    A depthwise kernel is (height, width, channels, multiplier).
    """
    if operation == "DepthwiseConv2dNative":
        height, width, channels, multiplier = value.shape
        value = value.permute(2, 3, 0, 1)
        return value.reshape(channels * multiplier, 1, height, width).contiguous()
    return value.permute(3, 2, 0, 1).contiguous()


def run(node: Node, inputs: Sequence[Tensor]) -> Tensor:
    """The result of one operation; kernels come as ``GraphNetwork`` keeps them."""
    x, *others = inputs
    match node.operation:
        case "Conv2D" | "_FusedConv2D" | "DepthwiseConv2dNative":
            kernel, *others = others
            first = _padded(x, node, tuple(kernel.shape[2:]))
            groups = x.shape[-1] if node.operation == "DepthwiseConv2dNative" else 1
            y = F.conv2d(first, kernel, stride=node.strides, groups=groups)
            return _finished(y.permute(0, 2, 3, 1), node.fused, others)
        case "Softmax":
            return x.softmax(-1)
        case "MaxPool":
            first = _padded(x, node, node.window, -torch.inf)
            y = F.max_pool2d(first, node.window, node.strides)
            return y.permute(0, 2, 3, 1)
        case "Add" | "AddV2":
            return x + others[0]
        case "Mul":
            return x * others[0]
        case "Minimum":
            return torch.minimum(x, others[0])
        case "Maximum":
            return torch.maximum(x, others[0])
        case "Relu":
            return x.relu()
        case "Prelu":
            return _prelu(x, others[0])
        case "Mean":
            return x.mean(tuple(others[0].flatten().tolist()), node.keep_dims)
        case "Pad":
            before_and_after = others[0].flip(0).flatten().tolist()
            return F.pad(x, before_and_after)
        case "Reshape":
            shape = others[0].tolist()
            return x.reshape([len(x), *shape[1:]])
        case "ConcatV2":
            return torch.cat([x, others[0]], int(others[1]))
        case "Identity":
            return x
    raise AssetError(
        f"the operation {node.operation!r} of {node.name!r} is not run here; choose "
        "outputs that do not need it."
    )


def _padded(x: Tensor, node: Node, window: Sequence[int], value: float = 0.0) -> Tensor:
    """In PyTorch's layout; "SAME" puts the odd pixel on the right and below."""
    x = x.permute(0, 3, 1, 2)
    if node.padding == "VALID":
        return x
    sides: list[int] = []
    for length, size, stride in zip(x.shape[2:], window, node.strides, strict=True):
        total = max((-(-length // stride) - 1) * stride + size - length, 0)
        sides = [total // 2, total - total // 2, *sides]
    return F.pad(x, sides, value=value)


def _prelu(x: Tensor, slope: Tensor) -> Tensor:
    return torch.where(x < 0, slope * x, x)


def _finished(y: Tensor, fused: Sequence[str], others: Sequence[Tensor]) -> Tensor:
    """With the bias and the activation that are fused with an operation."""
    if "BiasAdd" in fused:
        y = y + others[0]
    if "Relu" in fused:
        y = y.relu()
    return _prelu(y, others[1]) if "Prelu" in fused else y


def load_graph(asset: str, *outputs: str) -> GraphNetwork:
    """A graph among the pretrained files, up to ``outputs``."""
    with safe_open(asset_path(asset), "pt") as file:
        constants = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        nodes = parse_nodes(file.metadata()[GRAPH])
    return GraphNetwork(nodes, constants, *outputs)
