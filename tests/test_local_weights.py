"""Foreign files: tensors come out, code never runs, errors are one line."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from facersa.errors import CheckpointError
from facersa.local_weights import read_torch_file, tensors_under


class Malicious:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_and_plain_values_come_back(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "weights.pt"
    content = {
        "state_dict": {"encoder.a": torch.arange(3).half(), "decoder.a": torch.ones(1)},
        "opts": argparse.Namespace(size=32, name="x"),
        "step": 7,
    }
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    back = read_torch_file(path)
    assert (back["opts"].size, back["opts"].name, back["step"]) == (32, "x", 7)
    encoder = tensors_under(back, "state_dict", "encoder.")
    assert list(encoder) == ["a"]
    assert encoder["a"].dtype == torch.float32
    assert encoder["a"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_file_is_refused_and_not_run(tmp_path: Path, zipped: bool) -> None:
    path, proof = tmp_path / "evil.pt", tmp_path / "proof"
    content = {"g_ema": {"a": torch.ones(1)}, "opts": Malicious(proof)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match="cannot be read safely"):
        read_torch_file(path)
    assert not proof.exists()
    torch.load(path, weights_only=False)  # the file does attack a careless reader
    assert proof.exists()


def test_a_namespace_is_trusted_only_while_reading(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"opts": argparse.Namespace(a=1)}, path)
    read_torch_file(path)
    assert argparse.Namespace not in torch.serialization.get_safe_globals()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.pt", tmp_path):
        with pytest.raises(CheckpointError, match="is not a file"):
            read_torch_file(path)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"g_ema": {"a": torch.ones(100)}}, path)
    data = path.read_bytes()
    for damaged in (b"", b"not a checkpoint", data[: len(data) // 2], data[100:]):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError) as caught:
            read_torch_file(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(3), {}, {"a": 3}])
def test_what_is_not_there_is_empty(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "foreign.pt"
    torch.save(content, path)
    assert tensors_under(read_torch_file(path), "a") == {}
