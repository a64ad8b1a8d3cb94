"""The face generator: MobileStyleGAN, 16 rows of W+ to a 1024 x 1024 picture.

The weights are a distillation of StyleGAN2-FFHQ (Belousov 2021); the network
is rewritten here in plain PyTorch so that every row of W+ can be set by hand,
which is what the paper's cipher needs. The published OpenVINO form is the
independent reference the tests compare with.

Row 0 styles the 4 x 4 convolution; block i, which doubles the side to 8 * 2^i,
uses row 1 + 2i (wavelet modulation and first convolution) and row 2 + 2i
(second convolution); row 15 styles the RGB output. The paper's "layers 6-9",
counted from one, are rows 5 to 8 here.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facersa.assets.registry import load_tensors, shipped_weights
from facersa.generator.base import Generator, Mapping
from facersa.ops import check_shape, haar_synthesis

BLOCK_CHANNELS = (512, 512, 512, 512, 256, 128, 64)
PREVIEW_BLOCKS = 5  # the preview reads the 128 x 128 features after block 4


class StyledConv(nn.Module):
    """Scale by a linear function of w, convolve, add noise and bias.

    Demodulation is constant in this generator and folded into its weights.
    """

    def __init__(
        self, inputs: int, outputs: int, side: int, *, separable: bool
    ) -> None:
        super().__init__()
        self.style = nn.Linear(512, inputs)
        self.depthwise: nn.Conv2d | None = None
        if separable:
            self.depthwise = nn.Conv2d(
                inputs, inputs, 3, padding=1, groups=inputs, bias=False
            )
            self.conv = nn.Conv2d(inputs, outputs, 1, bias=False)
        else:
            self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.gain = (inputs * 9) ** -0.5
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.register_buffer("noise", torch.zeros(side, side))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """(B, inputs, S, S) features and (B, 512) rows to (B, outputs, S, S)."""
        x = x * (self.style(w) * self.gain)[:, :, None, None]
        if self.depthwise is not None:
            x = self.depthwise(x)
        x = self.conv(x) + self.noise + self.bias[:, None, None]
        return F.leaky_relu(x, 0.2)


class Block(nn.Module):
    """Double the side: modulated inverse Haar transform, two styled convolutions."""

    def __init__(self, inputs: int, outputs: int, side: int) -> None:
        super().__init__()
        self.haar_style = nn.Linear(512, inputs)
        self.conv1 = StyledConv(inputs // 4, outputs, side, separable=True)
        self.conv2 = StyledConv(outputs, outputs, side, separable=True)

    def forward(self, x: Tensor, row1: Tensor, row2: Tensor) -> Tensor:
        """(B, inputs, S/2, S/2) features to (B, outputs, S, S)."""
        x = haar_synthesis(x * self.haar_style(row1)[:, :, None, None])
        return self.conv2(self.conv1(x, row1), row2)


class Synthesis(nn.Module):
    """W+ (B, 16, 512) to a picture (B, 3, 1024, 1024), about in [-1, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.constant = nn.Parameter(torch.zeros(1, 512, 4, 4))
        self.conv = StyledConv(512, 512, 4, separable=False)
        widths = (512, *BLOCK_CHANNELS)
        self.blocks = nn.ModuleList(
            Block(widths[i], widths[i + 1], 8 * 2**i) for i in range(7)
        )
        self.rgb_style = nn.Linear(512, 64)
        self.rgb = nn.Conv2d(64, 12, 1)

    def features(self, ws: Tensor, blocks: int) -> Tensor:
        """The feature map after ``blocks`` blocks: side 4 * 2^blocks."""
        constant = self.constant.expand(len(ws), -1, -1, -1)
        return self.grown(self.conv(constant, ws[:, 0]), ws, range(blocks))

    def grown(self, x: Tensor, ws: Tensor, blocks: range) -> Tensor:
        """What these blocks make of the feature map before them."""
        for i in blocks:
            x = self.blocks[i](x, ws[:, 1 + 2 * i], ws[:, 2 + 2 * i])
        return x

    def forward(self, ws: Tensor) -> Tensor:
        """Render ``ws`` at full size."""
        x = self.features(ws, 7)
        x = x * (self.rgb_style(ws[:, 15]) / 8)[:, :, None, None]  # 8 = sqrt(64)
        return haar_synthesis(self.rgb(x))


class PreviewHead(nn.Module):
    """A 256 x 256 picture from the 128 x 128 features: the fast path.

    A linear layer gives the four Haar bands, from the features and from the features
    as the next wavelet step would modulate them. A small separable convolution, styled
    by the remaining rows 11 to 15, adds what is not linear.
    """

    def __init__(self, inputs: int = 256, width: int = 96) -> None:
        super().__init__()
        self.linear = nn.Conv2d(2 * inputs, 12, 1)
        self.squeeze = nn.Conv2d(2 * inputs, width, 1)
        self.style = nn.Linear(5 * 512, width)
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.mix = nn.Conv2d(width, width, 1)
        self.bands = nn.Conv2d(width, 12, 3, padding=1)
        self.reset()

    def reset(self) -> None:
        """New random weights; at first the linear layer acts alone."""
        for layer in self.children():
            layer.reset_parameters()  # type: ignore[operator]
        for tensor in self.bands.parameters():
            nn.init.zeros_(tensor)

    def forward(self, x: Tensor, modulated: Tensor, rows: Tensor) -> Tensor:
        """Features (B, 256, 128, 128) twice, rows 11-15 (B, 5, 512) to a picture."""
        both = torch.cat([x, modulated], dim=1)
        scale = 1 + self.style(rows.flatten(1))[:, :, None, None]
        hidden = F.leaky_relu(self.squeeze(both) * scale, 0.2)
        hidden = F.leaky_relu(self.mix(self.depthwise(hidden)), 0.2)
        return haar_synthesis(self.linear(both) + self.bands(hidden))


class MobileStyleGAN(nn.Module, Generator):
    """The generator that ships: 16 rows of length 512, pictures of side 1024."""

    num_ws, w_dim, resolution = 16, 512, 1024
    w_avg: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.mapping = Mapping()
        self.synthesis = Synthesis()
        self.head = PreviewHead()
        self.register_buffer("w_avg", torch.zeros(512))

    def synthesize(self, ws: Tensor) -> Tensor:
        """W+ (B, 16, 512) to pictures (B, 3, 1024, 1024), about in [-1, 1]."""
        check_shape(ws, None, self.num_ws, self.w_dim, name="ws")
        return self.synthesis(ws)

    def preview(self, ws: Tensor) -> Tensor:
        """W+ (B, 16, 512) to (B, 3, 256, 256): fast, approximate, differentiable."""
        check_shape(ws, None, self.num_ws, self.w_dim, name="ws")
        return self.preview_and_features(ws, PREVIEW_BLOCKS)[0]

    def preview_and_features(self, ws: Tensor, blocks: int) -> tuple[Tensor, Tensor]:
        """The preview, and the feature map after ``blocks`` blocks on its way."""
        features = self.synthesis.features(ws, blocks)
        last = self.synthesis.grown(features, ws, range(blocks, PREVIEW_BLOCKS))
        return self.head(*self.head_inputs(last, ws)), features

    def head_inputs(
        self, features: Tensor, ws: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What the preview head reads, from the features after block 4."""
        block: Block = self.synthesis.blocks[PREVIEW_BLOCKS]  # type: ignore[assignment]
        style = block.haar_style(ws[:, 11])
        style = style / 32  # brings both inputs to about one size
        return features, features * style[:, :, None, None], ws[:, 11:]


def load_mobile_stylegan(device: str | torch.device = "cpu") -> MobileStyleGAN:
    """The pretrained FFHQ generator, frozen, in evaluation mode.

    Raises:
        AssetError: the weights are neither cached nor can be fetched.
    """
    generator = MobileStyleGAN()
    tensors = load_tensors("generator.safetensors")
    tensors["w_avg"] = shipped_weights("w_stats.safetensors")["mean"]
    head = shipped_weights("preview_head.safetensors")
    tensors |= {f"head.{name}": value.float() for name, value in head.items()}
    generator.load_state_dict(tensors)
    return generator.to(device).eval().requires_grad_(False)
