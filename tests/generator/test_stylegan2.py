"""StyleGAN2 against a slow reference that reads the checkpoint's own names."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_checkpoints import stylegan2_tensors
from torch import Tensor

from facersa.errors import CheckpointError
from facersa.generator.stylegan2 import (
    StyleGAN2,
    load_stylegan2,
    low_pass,
    upsample,
)

CHANNELS = (6, 5, 4, 3)  # all different: a mix-up of sides cannot pass
W_DIM = 7
LAYERS = 3


def checkpoint_tensors() -> dict[str, Tensor]:
    return stylegan2_tensors(CHANNELS, W_DIM, LAYERS)


def slow_filter(x: np.ndarray, first: int, size: int) -> np.ndarray:
    """Convolve rows and columns by [1, 3, 3, 1] / 4; keep ``size`` from ``first``."""
    taps = np.array([1.0, 3.0, 3.0, 1.0]) / 4
    for axis in (-1, -2):
        x = np.apply_along_axis(np.convolve, axis, x, taps)
        x = np.take(x, range(first, first + size), axis=axis)
    return x


def slow_upsample(x: np.ndarray) -> np.ndarray:
    """(C, S, S) to (C, 2S, 2S)."""
    channels, side, _ = x.shape
    spread = np.zeros((channels, 2 * side, 2 * side))
    spread[:, ::2, ::2] = x
    return slow_filter(spread, 1, 2 * side)


def slow_conv(
    state: dict[str, np.ndarray],
    name: str,
    x: np.ndarray,
    w: np.ndarray,
    *,
    up: bool = False,
    demodulate: bool = True,
) -> np.ndarray:
    """One sample, weights modulated and demodulated one output at a time."""
    weight = state[f"{name}.weight"][0]
    outputs, inputs, kernel, _ = weight.shape
    style = state[f"{name}.modulation.weight"] @ w / math.sqrt(len(w))
    style = style + state[f"{name}.modulation.bias"]
    scaled = np.empty_like(weight)
    for o in range(outputs):
        one = weight[o] * style[:, None, None] / math.sqrt(inputs * kernel**2)
        if demodulate:
            one = one / np.sqrt((one**2).sum() + 1e-8)
        scaled[o] = one
    side = x.shape[-1]
    if up:
        out = np.zeros((outputs, 2 * side + 1, 2 * side + 1))
        for i in range(side):
            for j in range(side):
                splash = np.einsum("ocab,c->oab", scaled, x[:, i, j])
                out[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3] += splash
        return slow_filter(out, 2, 2 * side)
    margin = kernel // 2
    padded = np.pad(x, ((0, 0), (margin, margin), (margin, margin)))
    out = np.zeros((outputs, side, side))
    for i in range(side):
        for j in range(side):
            patch = padded[:, i : i + kernel, j : j + kernel]
            out[:, i, j] = (scaled * patch).sum((1, 2, 3))
    return out


def slow_picture(tensors: dict[str, Tensor], ws: Tensor) -> np.ndarray:
    """The picture (3, R, R) of one code (rows, W_DIM), in float64, by loops."""
    state = {name: value.double().numpy() for name, value in tensors.items()}
    code = ws.double().numpy()

    def styled(name: str, number: int, x: np.ndarray, *, up: bool) -> np.ndarray:
        x = slow_conv(state, f"{name}.conv", x, code[number], up=up)
        x = x + state[f"{name}.noise.weight"] * state[f"noises.noise_{number}"][0]
        x = x + state[f"{name}.activate.bias"][:, None, None]
        return np.where(x > 0, x, 0.2 * x) * math.sqrt(2)

    def rgb(name: str, row: int, x: np.ndarray) -> np.ndarray:
        x = slow_conv(state, f"{name}.conv", x, code[row], demodulate=False)
        return x + state[f"{name}.bias"][0]

    x = styled("conv1", 0, state["input.input"][0], up=False)
    image = rgb("to_rgb1", 1, x)
    for i in range(len(CHANNELS) - 1):
        x = styled(f"convs.{2 * i}", 2 * i + 1, x, up=True)
        x = styled(f"convs.{2 * i + 1}", 2 * i + 2, x, up=False)
        image = slow_upsample(image) + rgb(f"to_rgbs.{i}", 2 * i + 3, x)
    return image


def slow_map(tensors: dict[str, Tensor], z: Tensor) -> Tensor:
    """The mapping of one z (W_DIM,), in float64."""
    x = z.double() / (z.double().square().mean() + 1e-8).sqrt()
    for i in range(1, LAYERS + 1):
        weight = tensors[f"style.{i}.weight"].double() * 0.01 / math.sqrt(W_DIM)
        x = weight @ x + tensors[f"style.{i}.bias"].double() * 0.01
        x = torch.where(x > 0, x, 0.2 * x) * math.sqrt(2)
    return x


@pytest.fixture
def rosinality(tmp_path: Path) -> Path:
    path = tmp_path / "rosinality.pt"
    average = torch.arange(W_DIM) / 10
    torch.save({"g_ema": checkpoint_tensors(), "latent_avg": average}, path)
    return path


def e4e_file(path: Path, opts: Any) -> Path:
    state = {f"decoder.{name}": value for name, value in checkpoint_tensors().items()}
    state["encoder.input_layer.0.weight"] = torch.zeros(2, 2)
    average = (torch.arange(W_DIM) / 10).repeat(2 * len(CHANNELS), 1)
    torch.save({"state_dict": state, "latent_avg": average, "opts": opts}, path)
    return path


def test_the_picture_is_that_of_the_slow_reference(rosinality: Path) -> None:
    model = load_stylegan2(rosinality)
    ws = torch.randn(3, model.num_ws, W_DIM)
    pictures = model.synthesize(ws)
    assert pictures.shape == (3, 3, 32, 32)
    for picture, code in zip(pictures, ws, strict=True):
        wanted = slow_picture(checkpoint_tensors(), code)
        assert np.abs(picture.numpy() - wanted).max() < 1e-4 * np.abs(wanted).max()


def test_the_mapping_is_that_of_the_slow_reference(rosinality: Path) -> None:
    model = load_stylegan2(rosinality)
    z = torch.randn(4, W_DIM)
    wanted = torch.stack([slow_map(checkpoint_tensors(), one) for one in z])
    assert torch.allclose(model.map(z).double(), wanted, rtol=1e-4, atol=1e-5)


def test_both_formats_give_the_same_generator(rosinality: Path, tmp_path: Path) -> None:
    ours = load_stylegan2(rosinality)
    options = argparse.Namespace(stylegan_size=32, start_from_latent_avg=True)
    for opts in (options, vars(options)):
        theirs = load_stylegan2(e4e_file(tmp_path / "e4e.pt", opts))
        assert theirs.state_dict().keys() == ours.state_dict().keys()
        for name, value in ours.state_dict().items():
            assert torch.allclose(theirs.state_dict()[name], value), name


def test_what_is_loaded_is_frozen_and_ready(rosinality: Path) -> None:
    model = load_stylegan2(str(rosinality))
    assert (model.resolution, model.num_ws, model.w_dim) == (32, 8, W_DIM)
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())
    assert torch.allclose(model.w_avg, torch.arange(W_DIM) / 10)


def test_the_old_file_format_loads_too(tmp_path: Path) -> None:
    path = tmp_path / "old.pt"
    content = {"g_ema": checkpoint_tensors(), "args": argparse.Namespace(size=32)}
    torch.save(content, path, _use_new_zipfile_serialization=False)
    assert load_stylegan2(path).resolution == 32


def test_a_missing_mean_code_is_estimated(tmp_path: Path) -> None:
    path = tmp_path / "no_average.pt"
    torch.save({"g_ema": checkpoint_tensors()}, path)
    model = load_stylegan2(path)
    codes = model.map(torch.randn(20_000, W_DIM))
    error = (model.w_avg - codes.mean(0)).abs() / codes.std(0)
    assert error.max() < 0.05


def test_missing_noise_maps_mean_no_noise(tmp_path: Path) -> None:
    tensors = checkpoint_tensors()
    quiet = {k: v for k, v in tensors.items() if not k.startswith("noises.")}
    path = tmp_path / "quiet.pt"
    torch.save({"g_ema": quiet}, path)
    ws = torch.randn(1, 2 * len(CHANNELS), W_DIM)
    silent = {k: v * (0 if k.startswith("noises.") else 1) for k, v in tensors.items()}
    wanted = slow_picture(silent, ws[0])
    picture = load_stylegan2(path).synthesize(ws)[0].numpy()
    assert np.abs(picture - wanted).max() < 1e-4 * np.abs(wanted).max()


@pytest.mark.parametrize(
    "content",
    [
        [1, 2],
        torch.zeros(3),
        {},
        {"model": {"a": torch.zeros(2)}},
        {"g_ema": {"a": torch.zeros(2)}},
        {"state_dict": {"encoder.a": torch.zeros(2)}},
    ],
)
def test_a_foreign_file_is_refused(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "foreign.pt"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="give a rosinality or e4e checkpoint"):
        load_stylegan2(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("convs.2.conv.weight", None),
        ("style.2.bias", None),
        ("to_rgbs.1.bias", None),
        ("convs.3.conv.weight", torch.zeros(1, 4, 9, 3, 3)),
        ("noises.noise_3", torch.zeros(1, 1, 4, 4)),
        ("to_rgbs.0.upsample.kernel", torch.ones(4, 4) / 4),
        ("convs.0.conv.blur.kernel", torch.ones(2, 2)),
    ],
)
def test_a_part_that_does_not_fit_is_refused(
    tmp_path: Path, name: str, value: Tensor | None
) -> None:
    tensors = checkpoint_tensors()
    assert name in tensors
    del tensors[name]
    if value is not None:
        tensors[name] = value
    path = tmp_path / "unfit.pt"
    torch.save({"g_ema": tensors}, path)
    with pytest.raises(CheckpointError) as caught:
        load_stylegan2(path)
    assert "\n" not in str(caught.value)


def test_a_file_cannot_ask_for_more_than_it_holds() -> None:
    """Sizes are read from it: a long bias, many sides, a mean of a billion rows."""
    good = stylegan2_tensors(CHANNELS, W_DIM, LAYERS)
    sides = {f"to_rgbs.{i}.bias": torch.zeros(1) for i in range(12)}
    sides |= {f"convs.{2 * i + 1}.activate.bias": torch.zeros(1) for i in range(12)}
    for change in ({"conv1.activate.bias": torch.zeros(10**6)}, sides):
        with pytest.raises(CheckpointError, match="does not hold a StyleGAN2"):
            load_stylegan2("file", content={"g_ema": good | change})
    for average in (torch.zeros(1).expand(10**9, W_DIM), torch.eye(W_DIM).to_sparse()):
        with pytest.raises(CheckpointError, match="not an array of real numbers"):
            load_stylegan2("file", content={"g_ema": good, "latent_avg": average})
    whole = {"g_ema": good, "latent_avg": torch.ones(W_DIM, dtype=torch.int8)}
    assert torch.equal(load_stylegan2("file", content=whole).w_avg, torch.ones(W_DIM))


def test_configuration_f_is_of_the_published_size() -> None:
    with torch.device("meta"):
        model = StyleGAN2((512, 512, 512, 512, 512, 256, 128, 64, 32))
    assert (model.num_ws, model.resolution, model.w_dim) == (18, 1024, 512)
    # Karras et al. 2020, table 1: 30 M parameters, here without the mapping.
    painting = sum(p.numel() for p in model.convs.parameters())
    painting += sum(p.numel() for p in model.rgbs.parameters())
    assert 28.0e6 < painting < 28.7e6


def test_upsampling_keeps_a_constant_picture_inside_and_the_mean_of_any() -> None:
    flat = upsample(torch.full((1, 2, 8, 8), 0.7))
    assert flat.shape == (1, 2, 16, 16)
    assert torch.allclose(flat[..., 2:-2, 2:-2], torch.tensor(0.7))
    spot = torch.zeros(1, 1, 9, 9)
    spot[..., 4, 4] = 1
    large = upsample(spot)
    assert torch.allclose(large.sum(), torch.tensor(4.0))  # four pixels for each one
    assert torch.allclose(large, large.flip(-1, -2))  # still in the middle


def test_upsampling_does_not_shift_the_picture() -> None:
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    row = upsample(ramp)[0, 0, 8]
    wanted = (torch.arange(16) + 0.5) / 2 - 0.5  # pixel centres at half the distance
    assert torch.allclose(row[2:-2], wanted[2:-2], atol=1e-6)


def test_low_pass_removes_the_checkerboard() -> None:
    x = torch.ones(1, 1, 12, 12)
    x[..., ::2, :] *= -1
    assert low_pass(x, (1, 1))[..., 2:-2, 2:-2].abs().max() < 1e-6


def small(**options: Any) -> StyleGAN2:
    return StyleGAN2(CHANNELS, w_dim=W_DIM, mapping_layers=LAYERS, **options)


def test_noise_is_a_constant_that_matters() -> None:
    model = small()
    ws = model.broadcast(model.map(torch.randn(1, W_DIM)))
    quiet = model.synthesize(ws)
    with torch.no_grad():
        model.convs[5].noise_strength.fill_(1.0)
    noisy = model.synthesize(ws)
    assert torch.equal(noisy, model.synthesize(ws))
    assert (noisy - quiet).abs().max() > 1e-2
    assert "convs.5.noise" in dict(model.named_buffers())


def test_every_row_reaches_the_picture_and_its_gradient() -> None:
    model = small()
    ws = torch.randn(2, model.num_ws, W_DIM, requires_grad=True)
    model.synthesize(ws).square().mean().backward()
    assert ws.grad is not None
    assert (ws.grad.abs().amax(-1) > 0).all()


def test_the_gradient_is_right() -> None:
    model = small().double()
    ws = torch.randn(1, model.num_ws, W_DIM, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x: model.synthesize(x).mean((2, 3)), ws, fast_mode=True
    )


def test_the_preview_is_a_smaller_picture() -> None:
    channels = (4, 4, 4, 4, 4, 4, 4, 4)
    model = StyleGAN2(channels, w_dim=W_DIM, mapping_layers=1)
    assert model.resolution == 512
    ws = model.sample([1])
    preview = model.preview(ws)
    assert preview.shape == (1, 3, 256, 256)
    with torch.no_grad():
        model.rgbs[-1].conv.weight.zero_()
    # With nothing added at the last side, the picture is the preview, upsampled.
    assert torch.allclose(model.synthesize(ws), upsample(preview), atol=1e-5)
    assert small().preview(torch.randn(1, 8, W_DIM)).shape == (1, 3, 32, 32)


def test_one_side_is_not_a_generator() -> None:
    with pytest.raises(ValueError, match="two sides"):
        StyleGAN2((8,))
