"""e4e against a slow reference that reads the checkpoint's own names.

The published file cannot be had here. The tiny files of these tests have its names,
its 24 blocks and its layout, with fewer channels and rows; names and shapes of the
real size are compared without weights.
"""

from __future__ import annotations

import argparse
import fractions
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tiny_checkpoints import (
    BLOCKS,
    OPTIONS,
    WIDTHS,
    encoder_shapes,
    encoder_tensors,
    stylegan2_tensors,
)
from torch import Tensor

from facersa.cipher.password import Password
from facersa.cipher.rotation import RotationCipher
from facersa.errors import CheckpointError
from facersa.generator.statistics import WStatistics
from facersa.generator.stylegan2 import StyleGAN2
from facersa.inversion.e4e import E4EEncoder, grow_and_add, load_e4e
from facersa.photo.images import resize

FIRSTS, TAPS = (0, 3, 7, 21), (6, 20, 23)  # of the published trunk, 0-based
W_DIM = 8
CHANNELS = (6, 5, 4, 4, 3)  # of the generator, up to a side of 64
ROWS = 2 * len(CHANNELS)


def tiny(blocks: tuple[int, ...] = BLOCKS, rows: int = ROWS) -> dict[str, Tensor]:
    return encoder_tensors(blocks, WIDTHS, rows, W_DIM)


def decoder_tensors() -> dict[str, Tensor]:
    return stylegan2_tensors(CHANNELS, W_DIM, layers=2)


def mean_code() -> Tensor:
    """One code (rows, W_DIM), the same in each row, as training stores it."""
    return (torch.arange(W_DIM) / 4 - 1).repeat(ROWS, 1)


def content(**changes: Any) -> dict[str, Any]:
    state = {f"encoder.{name}": value for name, value in tiny().items()}
    state |= {f"decoder.{name}": value for name, value in decoder_tensors().items()}
    whole = {"state_dict": state, "latent_avg": mean_code(), "opts": OPTIONS}
    return whole | changes


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("e4e") / "e4e_tiny.pt"
    torch.save(content(), path)
    return path


@pytest.fixture(scope="module")
def networks(file: Path) -> tuple[E4EEncoder, StyleGAN2]:
    return load_e4e(file)


def faces(count: int = 2, side: int = 256) -> Tensor:
    """Smooth random pictures with some grain, in [-1, 1]."""
    stream = torch.Generator().manual_seed(2)
    coarse = torch.rand(count, 3, 8, 8, generator=stream) * 1.6 - 0.8
    grain = torch.rand(count, 3, side, side, generator=stream) * 0.4 - 0.2
    return F.interpolate(coarse, (side, side), mode="bilinear") + grain


def slow_enlarge(x: Tensor, side: int) -> Tensor:
    """Straight lines between pixels, the corners of old and new on one another."""
    old = x.shape[-1]
    matrix = torch.zeros(side, old, dtype=x.dtype)
    for i in range(side):
        place = fractions.Fraction(i * (old - 1), side - 1)
        left = min(int(place), old - 2)
        matrix[i, left + 1] = float(place - left)
        matrix[i, left] = 1 - float(place - left)
    return torch.einsum("ip,jq,bcpq->bcij", matrix, matrix, x)


def slow_codes(tensors: dict[str, Tensor], images: Tensor, average: Tensor) -> Tensor:
    """The codes (B, rows, W_DIM) of pictures of side 256, in float64."""
    state = {name: value.double() for name, value in tensors.items()}

    def norm(name: str, x: Tensor) -> Tensor:
        mean, variance, scale, shift = (
            state[f"{name}.{part}"][:, None, None]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (variance + 1e-5).sqrt() * scale + shift

    def prelu(name: str, x: Tensor) -> Tensor:
        return torch.where(x > 0, x, x * state[f"{name}.weight"][:, None, None])

    def same(name: str, x: Tensor) -> Tensor:
        weight = state[f"{name}.weight"]
        return F.conv2d(x, weight, padding=weight.shape[-1] // 2)

    def one_by_one(name: str, x: Tensor) -> Tensor:
        return torch.einsum("oi,bihw->bohw", state[f"{name}.weight"][:, :, 0, 0], x)

    def block(number: int, x: Tensor) -> Tensor:
        name = f"body.{number}"
        step = 2 if number in FIRSTS else 1
        short = x[:, :, ::step, ::step]
        if number in FIRSTS[1:]:
            short = one_by_one(f"{name}.shortcut_layer.0", short)
            short = norm(f"{name}.shortcut_layer.1", short)
        x = same(f"{name}.res_layer.1", norm(f"{name}.res_layer.0", x))
        x = same(f"{name}.res_layer.3", prelu(f"{name}.res_layer.2", x))
        x = norm(f"{name}.res_layer.4", x[:, :, ::step, ::step])
        down = state[f"{name}.res_layer.5.fc1.weight"][:, :, 0, 0]
        up = state[f"{name}.res_layer.5.fc2.weight"][:, :, 0, 0]
        means = x.flatten(2).mean(2)
        gate = 1 / (1 + torch.exp(-(means @ down.T).clamp(min=0) @ up.T))
        return short + gate[:, :, None, None] * x

    def head(row: int, x: Tensor) -> Tensor:
        for i in range(int(math.log2(x.shape[-1]))):
            name = f"styles.{row}.convs.{2 * i}"
            x = same(name, x)[:, :, ::2, ::2]
            x = x + state[f"{name}.bias"][:, None, None]
            x = torch.where(x > 0, x, x / 100)
        weight = state[f"styles.{row}.linear.weight"] / math.sqrt(W_DIM)
        return x[:, :, 0, 0] @ weight.T + state[f"styles.{row}.linear.bias"]

    def lateral(number: int, small: Tensor, large: Tensor) -> Tensor:
        name = f"latlayer{number}"
        large = one_by_one(name, large) + state[f"{name}.bias"][:, None, None]
        return slow_enlarge(small, large.shape[-1]) + large

    x = same("input_layer.0", images.double())
    x = prelu("input_layer.2", norm("input_layer.1", x))
    after = {}
    for number in range(sum(BLOCKS)):
        x = block(number, x)
        after[number] = x
    c1, c2, c3 = (after[tap] for tap in TAPS)
    assert [c.shape[-1] for c in (c1, c2, c3)] == [64, 32, 16]
    p2 = lateral(1, c3, c2)
    p1 = lateral(2, p2, c1)
    w0 = head(0, c3)
    codes = [w0]
    for row in range(1, len(average)):
        codes.append(w0 + head(row, c3 if row < 3 else p2 if row < 7 else p1))
    return torch.stack(codes, 1) + average.double()


def test_the_codes_are_those_of_the_slow_reference(
    networks: tuple[E4EEncoder, StyleGAN2],
) -> None:
    encoder, _ = networks
    images = faces(2)
    ws = encoder(images)
    wanted = slow_codes(tiny(), images, mean_code())
    assert ws.shape == (2, ROWS, W_DIM) and ws.dtype == torch.float32
    found = wanted - mean_code()
    # The comparison says something: signals of about one, rows and faces that differ.
    assert 0.1 < found.std() < 10
    assert (found[:, 1:] - found[:, :-1]).abs().amax(-1).min() > 1e-2
    assert (wanted[0] - wanted[1]).abs().max() > 1e-2
    assert (ws - wanted).abs().max() < 1e-4 * wanted.abs().max()


def test_names_and_shapes_are_those_of_the_published_file() -> None:
    with torch.device("meta"):
        encoder = E4EEncoder()
    places = {name: tuple(t.shape) for name, t in encoder.state_dict().items()}
    assert places.pop("w_avg") == (18, 512)
    assert places == encoder_shapes(BLOCKS, (64, 128, 256, 512), 18, 512)
    assert encoder.taps == TAPS
    # From a report of keys of e4e_ffhq_encode.pt: six convolutions in the last head.
    last = {name for name in places if name.startswith("styles.17.")}
    parts = [*(f"convs.{i}" for i in (0, 2, 4, 6, 8, 10)), "linear"]
    assert last == {f"styles.17.{p}.{q}" for p in parts for q in ("weight", "bias")}


def test_what_is_loaded_is_frozen_and_ready(
    networks: tuple[E4EEncoder, StyleGAN2],
) -> None:
    encoder, generator = networks
    assert (encoder.num_ws, encoder.w_dim) == (generator.num_ws, generator.w_dim)
    assert not encoder.training and not generator.training
    for network in networks:
        assert not any(p.requires_grad for p in network.parameters())
    image = faces(1).requires_grad_()
    encoder(image).square().mean().backward()  # a loss may still look through it
    assert image.grad is not None and image.grad.abs().max() > 0


def test_the_generator_paints_what_the_encoder_found(
    networks: tuple[E4EEncoder, StyleGAN2],
) -> None:
    encoder, generator = networks
    pictures = generator.synthesize(encoder(faces(2)))
    assert pictures.shape == (2, 3, 64, 64)
    assert pictures.isfinite().all()
    assert (pictures[0] - pictures[1]).abs().max() > 1e-3
    torch.testing.assert_close(generator.w_avg, mean_code()[0])


def test_a_face_does_not_depend_on_its_company(
    networks: tuple[E4EEncoder, StyleGAN2],
) -> None:
    encoder, _ = networks
    images = faces(2)
    together, alone = encoder(images), encoder(images[1:])
    torch.testing.assert_close(together[1:], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("side", [512, 300, 64])
def test_pictures_are_resized_inside(
    networks: tuple[E4EEncoder, StyleGAN2], side: int
) -> None:
    encoder, _ = networks
    image = faces(1, side)
    assert torch.equal(encoder(image), encoder(resize(image, 256)))


@pytest.mark.parametrize("shape", [(3, 256, 256), (1, 1, 256, 256), (1, 3, 256, 128)])
def test_other_pictures_are_refused(
    networks: tuple[E4EEncoder, StyleGAN2], shape: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match="images must have shape"):
        networks[0](torch.zeros(shape))


def test_growing_keeps_the_corners() -> None:
    small, large = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 8, 8)
    grown = grow_and_add(small, large) - large
    corners = (slice(None), slice(None), slice(None, None, 7), slice(None, None, 7))
    torch.testing.assert_close(grown[corners], small[:, :, ::3, ::3])
    torch.testing.assert_close(grown, slow_enlarge(small, 8))


def load(path: Path, **changes: Any) -> tuple[E4EEncoder, StyleGAN2]:
    torch.save(content(**changes), path)
    return load_e4e(str(path))


def test_the_mean_is_added_once_whatever_form_it_has(
    networks: tuple[E4EEncoder, StyleGAN2], tmp_path: Path
) -> None:
    path, image = tmp_path / "mean.pt", faces(1)
    plain = OPTIONS | {"start_from_latent_avg": False}
    without, _ = load(path, opts=plain)
    difference = networks[0](image) - without(image)
    torch.testing.assert_close(difference, mean_code()[None])
    trained_without = content(opts=plain)
    del trained_without["latent_avg"]
    torch.save(trained_without, path)
    assert torch.equal(load_e4e(path)[0].w_avg, torch.zeros(ROWS, W_DIM))
    # Of different rows, each has its own; one row serves all.
    for average in (mean_code()[0], mean_code()[:1], torch.randn(ROWS, W_DIM)):
        encoder, _ = load(path, latent_avg=average)
        assert torch.equal(encoder.w_avg, average.expand(ROWS, W_DIM))


def test_options_come_in_any_form(
    networks: tuple[E4EEncoder, StyleGAN2], tmp_path: Path
) -> None:
    wanted = networks[0].state_dict()
    for opts in (argparse.Namespace(**OPTIONS), {}, None):
        encoder, _ = load(tmp_path / "opts.pt", opts=opts)
        for name, value in encoder.state_dict().items():
            assert torch.equal(value, wanted[name]), name


def test_other_depths_are_read_from_the_file(tmp_path: Path) -> None:
    state = content()["state_dict"]
    state = {k: v for k, v in state.items() if not k.startswith("encoder.")}
    tensors = tiny(blocks=(1, 2, 1, 3))
    state |= {f"encoder.{name}": value.half() for name, value in tensors.items()}
    encoder, _ = load(tmp_path / "other.pt", state_dict=state)
    assert (len(encoder.body), encoder.taps) == (7, (2, 3, 6))
    ws = encoder(faces(1))
    assert ws.dtype == torch.float32 and ws.isfinite().all()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("encoder.latlayer2.weight", None),
        ("encoder.body.5.res_layer.5.fc1.weight", None),
        ("encoder.body.21.shortcut_layer.0.weight", None),
        ("encoder.body.0.shortcut_layer.0.weight", torch.zeros(16, 16, 1, 1)),
        ("encoder.body.4.res_layer.3.weight", None),
        ("encoder.body.7.res_layer.3.weight", torch.tensor(1.0)),
        ("encoder.body.0.res_layer.3.weight", torch.zeros(8, 8, 3, 3)),
        ("encoder.styles.4.convs.8.weight", None),
        ("encoder.styles.9.linear.weight", None),
        ("encoder.styles.0.linear.weight", torch.tensor(1.0)),
        ("encoder.styles.2.linear.bias", torch.zeros(W_DIM + 1)),
        ("encoder.input_layer.0.weight", torch.zeros(16, 6, 3, 3)),
        ("encoder.extra.weight", torch.zeros(2)),
    ],
)
def test_a_part_that_does_not_fit_is_refused(
    tmp_path: Path, name: str, value: Tensor | None
) -> None:
    state = content()["state_dict"]
    if value is None:
        del state[name]
    else:
        state[name] = value
    with pytest.raises(CheckpointError, match="give a checkpoint of encoder4ed") as e:
        load(tmp_path / "unfit.pt", state_dict=state)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"opts": OPTIONS | {"encoder_type": "GradualStyleEncoder"}}, "GradualStyle"),
        ({"latent_avg": None}, "got none"),
        ({"latent_avg": torch.zeros(ROWS + 2, W_DIM)}, r"got \(12, 8\)"),
        ({"state_dict": {}}, "got latent_avg, opts, state_dict"),
        ({"state_dict": {"decoder.a": torch.zeros(2)}}, '"encoder." tensors'),
        ({"state_dict": {"encoder.a": torch.zeros(2)}}, r"stages of \[\] and 0 heads"),
    ],
)
def test_another_file_is_refused(
    tmp_path: Path, changes: dict[str, Any], found: str
) -> None:
    with pytest.raises(CheckpointError, match=found):
        load(tmp_path / "other.pt", **changes)


def test_an_encoder_for_another_generator_is_refused(tmp_path: Path) -> None:
    tensors = tiny(rows=ROWS + 2)
    state = {f"encoder.{name}": value for name, value in tensors.items()}
    state |= {f"decoder.{name}": value for name, value in decoder_tensors().items()}
    with pytest.raises(CheckpointError, match=r"expected \(10, 8\).*got \(12, 8\)"):
        load(tmp_path / "rows.pt", state_dict=state, latent_avg=mean_code()[0])


def test_a_file_without_its_generator_is_refused(tmp_path: Path) -> None:
    tensors = tiny()
    state = {f"encoder.{name}": value for name, value in tensors.items()}
    with pytest.raises(CheckpointError, match="StyleGAN2"):
        load(tmp_path / "half.pt", state_dict=state)


@pytest.mark.parametrize("whole", [[1, 2], torch.zeros(3), {"g_ema": {}}, {}])
def test_a_foreign_file_is_refused(tmp_path: Path, whole: Any) -> None:
    path = tmp_path / "foreign.pt"
    torch.save(whole, path)
    with pytest.raises(CheckpointError, match="does not hold the e4e encoder"):
        load_e4e(path)


def test_the_exact_cipher_works_on_its_codes(
    networks: tuple[E4EEncoder, StyleGAN2],
) -> None:
    """The recipe of the module, from photograph to face and back."""
    encoder, generator = networks
    statistics = WStatistics.measure(generator, samples=4096)
    cipher = RotationCipher(statistics, context=ROWS - 1)
    password = Password.random(seed=3)
    ws = encoder(faces(2))
    hidden = cipher(ws, password.code)
    opened = cipher(hidden, -password.code)
    assert (opened - ws).abs().max() < 1e-4
    assert (hidden - ws)[:, list(cipher.layers)].abs().amax((1, 2)).min() > 0.1
    kept = [row for row in range(ROWS) if row not in cipher.layers]
    assert torch.equal(hidden[:, kept], ws[:, kept])
    painted = generator.synthesize(torch.cat([ws, hidden, opened]))
    before, meanwhile, after = painted.chunk(3)
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-3)
    assert (meanwhile - before).abs().max() > 0.05
