"""BiSeNet face parsing (Yu et al. 2018), for users who have the checkpoint.

The network of the usual public checkpoint: 19 parts of a face, trained on
CelebAMask-HQ, whose annotations are for non-commercial research. No package carries
the weights, so they are read from a local file. Without one, training uses the
clusters of ``generator.parts``, under their own name.

Names of layers are those of the checkpoint. Two further heads in it are needed for its
training only and are left out.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facersa.assets.pickles import read_torch_file, tensors_under
from facersa.errors import CheckpointError
from facersa.ops import check_shape
from facersa.photo.images import resize

PARTS = 19
BACKGROUND = 0  # the part that is no part of a person
SIDE = 512
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, on [0, 1]
UNUSED = ("conv_out16.", "conv_out32.", "cp.resnet.fc.")


class ConvBNReLU(nn.Module):
    """Convolution without bias, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H, W)."""
        return F.relu(self.bn(self.conv(x)))


class AttentionRefinement(nn.Module):
    """Features, each channel multiplied by a gate, from its mean over the picture."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = ConvBNReLU(inputs, outputs, 3)
        self.conv_atten = nn.Conv2d(outputs, outputs, 1, bias=False)
        self.bn_atten = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H, W)."""
        x = self.conv(x)
        pooled = x.mean((2, 3), keepdim=True)
        return x * torch.sigmoid(self.bn_atten(self.conv_atten(pooled)))


class ContextPath(nn.Module):
    """A ResNet-18, and its deep features enlarged to 1/8 of the picture's side."""

    def __init__(self) -> None:
        from torchvision.models import resnet18  # slow to import, and rarely needed

        super().__init__()
        self.resnet = resnet18()
        self.resnet.fc = nn.Identity()
        self.arm16 = AttentionRefinement(256, 128)
        self.arm32 = AttentionRefinement(512, 128)
        self.conv_head32 = ConvBNReLU(128, 128, 3)
        self.conv_head16 = ConvBNReLU(128, 128, 3)
        self.conv_avg = ConvBNReLU(512, 128, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, S, S) to details and context, (B, 128, S / 8, S / 8) each."""
        net = self.resnet
        x = net.layer1(net.maxpool(net.relu(net.bn1(net.conv1(x)))))
        x8 = net.layer2(x)
        x16 = net.layer3(x8)
        x32 = net.layer4(x16)
        whole = self.conv_avg(x32.mean((2, 3), keepdim=True))
        deep = self.arm32(x32) + whole
        deep = self.conv_head32(F.interpolate(deep, x16.shape[2:], mode="nearest"))
        deep = self.arm16(x16) + deep
        return x8, self.conv_head16(F.interpolate(deep, x8.shape[2:], mode="nearest"))


class FeatureFusion(nn.Module):
    """Details and context, joined, each channel multiplied by a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.convblk = ConvBNReLU(256, 256, 1)
        self.conv1 = nn.Conv2d(256, 64, 1, bias=False)
        self.conv2 = nn.Conv2d(64, 256, 1, bias=False)

    def forward(self, details: Tensor, context: Tensor) -> Tensor:
        """Two of (B, 128, H, W) to (B, 256, H, W)."""
        x = self.convblk(torch.cat([details, context], 1))
        pooled = x.mean((2, 3), keepdim=True)
        return x + x * torch.sigmoid(self.conv2(F.relu(self.conv1(pooled))))


class Output(nn.Module):
    """Features to logits of the parts."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = ConvBNReLU(256, 256, 3)
        self.conv_out = nn.Conv2d(256, PARTS, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 256, H, W) to (B, ``PARTS``, H, W)."""
        return self.conv_out(self.conv(x))


class BiSeNet(nn.Module):
    """Pictures (B, 3, R, R) in [-1, 1] to shares of parts (B, 19, 64, 64)."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.cp = ContextPath()
        self.ffm = FeatureFusion()
        self.conv_out = Output()
        for name, values in (("mean", MEAN), ("std", STD)):
            tensor = torch.tensor(values, device="cpu")[:, None, None]
            self.register_buffer(name, tensor, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Parse ``image``; shares of the parts sum to one at each place."""
        check_shape(image, None, 3, None, None, name="image")
        x = (resize(image, SIDE) * 0.5 + 0.5 - self.mean) / self.std
        return self.conv_out(self.ffm(*self.cp(x))).softmax(1)

    def background(self, image: Tensor) -> Tensor:
        """The share (B, 1, 64, 64) of background in ``image`` (B, 3, R, R)."""
        return self(image)[:, BACKGROUND : BACKGROUND + 1]


def load_bisenet(path: str | Path, device: str | torch.device = "cpu") -> BiSeNet:
    """The network with the weights in a local PyTorch checkpoint, frozen.

    Raises:
        CheckpointError: the file is missing, unsafe, or of another network.
    """
    content = read_torch_file(path)
    tensors = {
        name: value
        for name, value in tensors_under({"file": content}, "file").items()
        if not name.startswith(UNUSED)
    }
    with torch.device("meta"):  # no memory beside that of the file
        network = BiSeNet()
    try:
        network.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise CheckpointError(
            f"{path} does not hold the 19-part BiSeNet ({reason[:120]}); give the file "
            "of its state dictionary."
        ) from error
    return network.to(device).eval().requires_grad_(False)
