"""Tests of the paper's mapper: each part by hand, each option by what it does."""

from __future__ import annotations

import lzma
from importlib import resources

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load
from torch import Tensor

from facersa.cipher.catalogue import load_cipher
from facersa.cipher.modulation import (
    MapperConfig,
    Modulation,
    ModulationMapper,
    PasswordConverter,
)
from facersa.cipher.password import Password


def codes(*seeds: int, num_bits: int = 16) -> Tensor:
    return torch.cat([Password.random(num_bits, seed=s).code for s in seeds])


def test_converter_by_hand() -> None:
    converter = PasswordConverter(16)
    code = codes(3)
    by_hand = code @ converter.first.weight.T + converter.first.bias
    by_hand = torch.where(by_hand > 0, by_hand, 0.01 * by_hand)
    by_hand = by_hand @ converter.second.weight.T + converter.second.bias
    by_hand = torch.where(by_hand > 0, by_hand, 0.01 * by_hand)
    torch.testing.assert_close(converter(code), by_hand)


@pytest.mark.parametrize("one_plus", [False, True])
def test_modulation_by_hand(one_plus: bool) -> None:
    module = Modulation(one_plus=one_plus)
    x, v = torch.randn(2, 4, 512), torch.randn(2, 512)
    for i in range(2):
        y = x[i] @ module.linear.weight.T + module.linear.bias
        y = (y - y.mean()) / (y.var(unbiased=False) + 1e-5).sqrt()
        gamma, beta = module.gamma(v[i : i + 1])[0], module.beta(v[i : i + 1])[0]
        expected = y * (gamma + one_plus) + beta
        torch.testing.assert_close(module(x, v)[i], expected, atol=1e-5, rtol=1e-4)


def test_published_quirks_do_what_their_names_say(any_ws: Tensor) -> None:
    published = ModulationMapper(MapperConfig.published())
    change = published.change(any_ws, codes(1, 2, 3))
    # A last LeakyReLU of slope .01 leaves next to nothing below zero.
    assert change.clamp_max(0).abs().sum() < 0.05 * change.abs().sum()
    # Biases alone move a face that nobody encrypted.
    assert published.change(any_ws, torch.zeros(1, 16)).abs().max() > 1e-3
    ours = ModulationMapper()
    assert (
        ours.change(any_ws, torch.zeros(1, 16).expand(3, -1)).abs().max() < 1e-5
    )  # both halves round apart
    there, back = (ours.change(any_ws, s * codes(1, 2, 3)) for s in (1, -1))
    torch.testing.assert_close(there, -back)


@pytest.mark.parametrize(("norm", "dim"), [("features", -1), ("rows", -2)])
def test_the_axis_of_the_pixel_norm(norm: str, dim: int, any_ws: Tensor) -> None:
    mapper = ModulationMapper(MapperConfig(norm=norm, modules=1, odd=False))
    scaled = any_ws.clone()
    scaled[:, 5:9] *= torch.rand(3, 4 if dim == -1 else 1, 1 if dim == -1 else 512) + 1
    code = codes(1, 2, 3)
    torch.testing.assert_close(mapper.change(scaled, code), mapper.change(any_ws, code))


def test_the_shipped_file_needs_plain_pytorch_only(any_ws: Tensor) -> None:
    """The paper's network in fifteen lines, from the file of weights alone."""
    file = resources.files("facersa") / "weights/mapper_faithful.safetensors.xz"
    weights = {
        k: v.float() for k, v in load(lzma.decompress(file.read_bytes())).items()
    }

    def linear(name: str, x: Tensor) -> Tensor:
        return F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def branch(name: str, v: Tensor) -> Tensor:
        scale, shift = weights[f"{name}.1.weight"], weights[f"{name}.1.bias"]
        hidden = F.layer_norm(linear(f"{name}.0", v), [512], scale, shift)
        return linear(f"{name}.3", F.leaky_relu(hidden, 0.01))[:, None]

    def network(x: Tensor, p: Tensor) -> Tensor:
        v = F.leaky_relu(linear("converter.first", p), 0.01)
        v = F.leaky_relu(linear("converter.second", v), 0.01)
        for k in range(3):
            x = F.layer_norm(linear(f"modules_.{k}.linear", x), [4, 512])
            x = x * branch(f"modules_.{k}.gamma", v) + branch(f"modules_.{k}.beta", v)
            x = F.leaky_relu(x, 0.01) if k < 2 else x
        return x

    rows, p = any_ws[:, 5:9], codes(1, 2, 3)
    x = rows / (rows.square().mean(2, keepdim=True) + 1e-8).sqrt()
    changed = any_ws.clone()
    changed[:, 5:9] += 0.1 * (network(x, p) - network(x, -p)) / 2
    torch.testing.assert_close(
        load_cipher("faithful")(any_ws, p), changed, atol=1e-5, rtol=1e-4
    )
