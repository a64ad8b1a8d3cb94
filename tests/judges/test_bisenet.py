"""Tests of BiSeNet: its shape, and its weights from a local file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from facersa.errors import CheckpointError
from facersa.judges.bisenet import PARTS, BiSeNet, load_bisenet


@pytest.fixture(scope="module")
def network() -> BiSeNet:
    torch.manual_seed(0)
    return BiSeNet().eval()


@pytest.fixture(scope="module")
def file(network: BiSeNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In the form of the public checkpoint: training heads and a classifier too."""
    extra = {
        "conv_out16.conv.conv.weight": torch.zeros(64, 128, 3, 3),
        "conv_out32.conv_out.weight": torch.zeros(PARTS, 64, 1, 1),
        "cp.resnet.fc.weight": torch.zeros(1000, 512),
    }
    path = tmp_path_factory.mktemp("bisenet") / "79999_iter.pth"
    torch.save(dict(network.state_dict()) | extra, path)
    return path


def test_names_are_those_of_the_public_checkpoint(network: BiSeNet) -> None:
    names = set(network.state_dict())
    assert {
        "cp.resnet.conv1.weight",
        "cp.resnet.layer2.0.downsample.0.weight",
        "cp.arm16.conv.bn.running_mean",
        "cp.arm32.conv_atten.weight",
        "cp.arm32.bn_atten.weight",
        "cp.conv_head16.conv.weight",
        "cp.conv_avg.bn.weight",
        "ffm.convblk.conv.weight",
        "ffm.conv2.weight",
        "conv_out.conv.bn.weight",
        "conv_out.conv_out.weight",
    } <= names
    assert not [name for name in names if name.startswith(("mean", "std"))]


def test_a_local_file_gives_the_same_network(network: BiSeNet, file: Path) -> None:
    loaded = load_bisenet(file)
    assert not any(p.requires_grad for p in loaded.parameters())
    image = torch.rand(2, 3, 256, 256, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        shares, expected = loaded(image * 2 - 1), network(image * 2 - 1)
    assert torch.equal(shares, expected)
    assert shares.shape == (2, PARTS, 64, 64)
    torch.testing.assert_close(shares.sum(1), torch.ones(2, 64, 64))


def test_the_background_is_the_first_of_the_parts(network: BiSeNet) -> None:
    image = torch.rand(1, 3, 256, 256) * 2 - 1
    with torch.no_grad():
        network.conv_out.conv_out.weight[0] += 0.01
        background, parts = network.background(image), network(image)
        network.conv_out.conv_out.weight[0] -= 0.01
    assert background.shape == (1, 1, 64, 64)
    assert torch.equal(background, parts[:, :1])


def test_shares_follow_the_picture(network: BiSeNet) -> None:
    image = torch.zeros(1, 3, 256, 256, requires_grad=True)
    network(image)[:, 0].mean().backward()
    assert image.grad is not None and image.grad.abs().max() > 0


def test_other_files_are_named(tmp_path: Path, network: BiSeNet) -> None:
    with pytest.raises(CheckpointError, match="not a file"):
        load_bisenet(tmp_path / "none.pth")
    other = tmp_path / "other.pth"
    torch.save({"weight": torch.zeros(3)}, other)
    with pytest.raises(CheckpointError, match="19-part BiSeNet"):
        load_bisenet(other)
    torch.save({3: torch.zeros(3)}, other)
    with pytest.raises(CheckpointError, match="19-part BiSeNet"):
        load_bisenet(other)
    fewer = dict(network.state_dict())
    fewer["conv_out.conv_out.weight"] = torch.zeros(16, 256, 1, 1)
    torch.save(fewer, other)
    with pytest.raises(CheckpointError, match="19-part BiSeNet"):
        load_bisenet(other)
