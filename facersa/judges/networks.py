"""Frozen networks that judge pictures: identity, landmarks, pose, expression, LPIPS.

They measure what the paper's losses (section "Training") and tables (1 to 3)
speak of. Two independent families are kept apart on purpose. The *training*
judges here are differentiable, so a cipher may be trained against them; the
*held-out* judge is in ``heldout``. The expression network is differentiable
too and is still never trained against.

Every judge takes FFHQ-aligned pictures (B, 3, R, R), float32 RGB in [-1, 1], R
a multiple of 64, and none is loaded inside another: a ``load_*`` function makes
each one from its pretrained file. Third-party packages are imported there, when
first needed, since some take seconds to load.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facersa.assets.registry import asset_path, load_tensors
from facersa.errors import AssetError
from facersa.photo.images import check_images, resize

# What each network is shown, in 64ths of the side: left, top, right, bottom. Chosen
# by search over generated faces, against dlib's landmarks and the pose from them.
LANDMARK_CROP = (10, 17, 54, 61)
POSE_CROP = (10, 13, 54, 57)
EXPRESSION_CROP = (8, 10, 56, 58)


def crop_face(images: Tensor, sixty_fourths: Sequence[int], size: int) -> Tensor:
    """A part of pictures (B, 3, R, R), in 64ths of the side, at (B, 3, size, size)."""
    unit = check_images(images).shape[-1] // 64
    left, top, right, bottom = (unit * n for n in sixty_fourths)
    return resize(images[:, :, top:bottom, left:right], size)


class FrozenNetwork(nn.Module):
    """A pretrained network that stays in evaluation mode and takes no training.

    Gradients still flow to its input.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> FrozenNetwork:
        """Do nothing: a frozen network knows evaluation mode only."""
        super().train(False)
        return self


class IdentityJudge(FrozenNetwork):
    """Who is this? MobileFaceNet, 512-d, of the ArcFace family (training judge)."""

    def crop(self, images: Tensor) -> Tensor:
        """(B, 3, R, R) to the (B, 3, 112, 112) face that ArcFace networks read.

        The crop of the whole StyleGAN-inversion family: means over 256 x 256
        cells, rows 35 to 222, columns 32 to 219, means over 112 x 112 cells.
        """
        pooled = F.adaptive_avg_pool2d(check_images(images), 256)
        return F.adaptive_avg_pool2d(pooled[:, :, 35:223, 32:220], 112)

    def levels(self, crops: Tensor) -> Tensor:
        """Crops (B, 3, 112, 112) in [-1, 1] as the network was trained on them."""
        return ((crops + 1) * 127.5 - 127) / 128

    def embed_crop(self, crops: Tensor) -> Tensor:
        """(B, 3, 112, 112) face crops in [-1, 1] to unit vectors (B, 512)."""
        return F.normalize(self.network(self.levels(crops)), dim=1)

    def embed(self, images: Tensor) -> Tensor:
        """Aligned faces (B, 3, R, R) to unit vectors (B, 512)."""
        return self.embed_crop(self.crop(images))

    forward = embed


class Landmarks(FrozenNetwork):
    """68 landmarks of a face (training judge)."""

    def landmarks(self, images: Tensor) -> Tensor:
        """Aligned faces to landmarks (B, 68, 2): x, y in sides of the picture."""
        face = crop_face(images, LANDMARK_CROP, 64)
        luma = face.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
        grey = (face * luma).sum(1, keepdim=True)
        landmarks = self.network((grey + 1) * 127.5 / 256).view(-1, 68, 2)
        left, top, right, _ = LANDMARK_CROP
        corner = landmarks.new_tensor([left, top])
        return (landmarks * (right - left) + corner) / 64

    forward = landmarks


class Pose(FrozenNetwork):
    """Which way the head points: 66 bins of 3 degrees per angle (training judge)."""

    def angles(self, images: Tensor) -> Tensor:
        """Aligned faces to (B, 3) degrees: yaw, pitch (up positive), roll."""
        logits = self.network(_imagenet(crop_face(images, POSE_CROP, 224)))
        bins = torch.arange(66.0, device=images.device)
        return torch.stack(
            [(head.softmax(1) * bins).sum(1) * 3 - 99 for head in logits], dim=1
        )

    def rotations(self, images: Tensor) -> Tensor:
        """Aligned faces to rotation matrices (B, 3, 3), axes right, down, away."""
        yaw, pitch, roll = torch.deg2rad(self.angles(images)).unbind(1)
        return _rotation(-pitch, 0) @ _rotation(yaw, 1) @ _rotation(roll, 2)

    forward = rotations


def _rotation(angle: Tensor, axis: int) -> Tensor:
    """Rotations (B, 3, 3) by ``angle`` (B,) radians about one axis."""
    first, second = (axis + 1) % 3, (axis + 2) % 3
    cos, sin = angle.cos(), angle.sin()
    zero, one = torch.zeros_like(angle), torch.ones_like(angle)
    cells = [[one if i == j else zero for j in range(3)] for i in range(3)]
    cells[first][first] = cells[second][second] = cos
    cells[first][second], cells[second][first] = -sin, sin
    return torch.stack([torch.stack(row, -1) for row in cells], -2)


def _imagenet(images: Tensor) -> Tensor:
    mean = images.new_tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    spread = images.new_tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    return ((images + 1) / 2 - mean) / spread


class Expression(FrozenNetwork):
    """Seven expressions (DenseNet-121). For reports only: never train against it."""

    def logits(self, images: Tensor) -> Tensor:
        """Aligned faces to (B, 7) logits; index 3 is happy, 6 is neutral."""
        return self.network((crop_face(images, EXPRESSION_CROP, 224) + 1) / 2)

    forward = logits


class Detector(FrozenNetwork):
    """Is there a face, and where? RFB-320 (training judge).

    It reads the whole picture squeezed to 320 x 240, so any shape will do.
    """

    def __init__(self, network: nn.Module, centres: Tensor, sizes: Tensor) -> None:
        super().__init__(network)
        self.register_buffer("centres", centres)
        self.register_buffer("sizes", sizes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) to boxes (B, 4420, 4) and face probabilities (B, 4420).

        Boxes are left, top, right, bottom in widths and heights of the picture.
        """
        small = F.interpolate(images, (240, 320), mode="bilinear", antialias=True)
        logits, offsets = self.network(((small + 1) * 127.5 - 127) / 128)
        centre = self.centres + 0.1 * offsets[..., :2] * self.sizes
        half = self.sizes * (0.2 * offsets[..., 2:]).exp() / 2
        return torch.cat([centre - half, centre + half], 2), logits.softmax(2)[..., 1]

    @torch.no_grad()
    def detect(
        self, images: Tensor, threshold: float = 0.65
    ) -> list[tuple[Tensor, Tensor]]:
        """Per picture: boxes (n, 4) as in ``forward`` and scores (n,), best first.

        Of boxes that overlap by more than .4 (intersection over union), only the one
        with the best score remains.
        """
        from torchvision.ops import nms

        faces = []
        for box, score in zip(*self(images), strict=True):
            above = score > threshold
            box, score = box[above], score[above]
            best = nms(box, score, 0.4)
            faces.append((box[best], score[best]))
        return faces


def _convert(name: str, outputs: Sequence[str] = ()) -> tuple[nn.Module, Any]:
    """An ONNX asset as a PyTorch module for any batch size, and its ONNX form.

    ``outputs`` cuts the graph at those nodes instead of at its own outputs.
    """
    import onnx
    import onnx2torch

    model = onnx.load(asset_path(name))
    _free_the_batch(model.graph)
    converted = model
    if outputs:
        converted = onnx.ModelProto()
        converted.CopyFrom(model)
        nodes = list(model.graph.node)
        last = max(i for i, n in enumerate(nodes) if set(n.output) & set(outputs))
        del converted.graph.node[last + 1 :]
        del converted.graph.output[:]
        converted.graph.output.extend(
            onnx.helper.make_tensor_value_info(o, onnx.TensorProto.FLOAT, None)
            for o in outputs
        )
    return onnx2torch.convert(converted), model


def _free_the_batch(graph: Any) -> None:
    """Let reshapes keep the batch (0 in ONNX) where they were exported for one."""
    from onnx import numpy_helper

    shapes = {node.input[1] for node in graph.node if node.op_type == "Reshape"}
    holders = [i for i in graph.initializer if i.name in shapes]
    for node in graph.node:
        if node.op_type == "Constant" and node.output[0] in shapes:
            holders.append(node.attribute[0].t)
    for holder in holders:
        shape = numpy_helper.to_array(holder).copy()
        if shape[0] == 1:
            shape[0] = 0
            holder.CopyFrom(numpy_helper.from_array(shape, holder.name))


def load_identity(device: str | torch.device = "cpu") -> IdentityJudge:
    """The training judge of identity."""
    return IdentityJudge(_convert("identity.onnx")[0]).to(device)


def load_landmarks(device: str | torch.device = "cpu") -> Landmarks:
    """The training judge of landmarks."""
    return Landmarks(_convert("landmarks.onnx")[0]).to(device)


def load_pose(device: str | torch.device = "cpu") -> Pose:
    """The training judge of head pose."""
    return Pose(_convert("pose.onnx")[0]).to(device)


def load_expression(device: str | torch.device = "cpu") -> Expression:
    """The judge of expression; for reports only."""
    return Expression(_convert("expression.onnx")[0]).to(device)


def load_detector(device: str | torch.device = "cpu") -> Detector:
    """The training judge of face detection."""
    from onnx import numpy_helper

    # The nodes after these two only decode boxes, in a way onnx2torch lacks.
    network, model = _convert("detector.onnx", outputs=("461", "462"))
    constants = {
        node.output[0]: numpy_helper.to_array(node.attribute[0].t)
        for node in model.graph.node
        if node.op_type == "Constant"
    }
    centres, sizes = (torch.from_numpy(constants[n].copy()) for n in ("469", "475"))
    return Detector(network, centres, sizes).to(device)


def load_lpips(net: str = "alex", device: str | torch.device = "cpu") -> nn.Module:
    """LPIPS v0.1 of Zhang et al. 2018, with its real trunk and linear weights.

    Args:
        net: "alex" (to compare with published figures) or "vgg".
        device: where it runs.

    Returns:
        A frozen module: two pictures (B, 3, H, W) in [-1, 1], H and W at least
        64, to distances (B, 1, 1, 1), 0 for equal pictures.
    """
    names = {"alex": "alexnet.safetensors", "vgg": "vgg16.safetensors"}
    if net not in names:
        raise AssetError(f"LPIPS comes with {sorted(names)}, not {net!r}; choose one.")
    import lpips

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lpips calls torchvision in its old way
        module = lpips.LPIPS(net=net, pnet_rand=True, pretrained=False, verbose=False)
    tensors = load_tensors(names[net])
    state = module.state_dict()
    for key in state:
        part = key.split(".")
        if part[0] == "net":  # net.slice1.0.weight is torchvision's features.0.weight
            state[key] = tensors[f"features.{part[2]}.{part[3]}"]
        elif part[0] == "lins":  # lins.0.model.1.weight and lin0.model.1.weight
            state[key] = tensors[f"lin{part[1]}.weight"]
        elif part[0].startswith("lin"):
            state[key] = tensors[f"{part[0]}.weight"]
    module.load_state_dict(state)
    return module.eval().requires_grad_(False).to(device)


def tapped(network: torch.fx.GraphModule, names: Sequence[str]) -> nn.Module:
    """The network with those inner results before its own."""
    graph = copy.deepcopy(network.graph)
    nodes = {node.name: node for node in graph.nodes}
    output = next(node for node in graph.nodes if node.op == "output")
    output.args = ((*(nodes[name] for name in names), output.args[0]),)
    return torch.fx.GraphModule(network, graph)
