"""Tests of the readers of pickled weights."""

from __future__ import annotations

import argparse
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from facersa.assets.pickles import read_numpy_pickle, read_torch_file, tensors_under
from facersa.errors import AssetError, CheckpointError


def test_numpy_pickles_are_read() -> None:
    value = {"a": [np.arange(4, dtype=np.float32)], "b": {"c": np.ones((2, 2))}}
    out = read_numpy_pickle(pickle.dumps(value))
    np.testing.assert_array_equal(out["a"][0], value["a"][0])
    np.testing.assert_array_equal(out["b"]["c"], np.ones((2, 2)))


class Evil:
    def __reduce__(self) -> Any:
        return os.system, ("touch should-not-exist",)


def test_pickles_that_run_code_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AssetError, match="refused"):
        read_numpy_pickle(pickle.dumps({"a": Evil()}))
    assert not (tmp_path / "should-not-exist").exists()
    with pytest.raises(AssetError, match="damaged"):
        read_numpy_pickle(b"\x80\x04nonsense")


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_every_plain_dtype_and_order_is_read(protocol: int, order: Any) -> None:
    for kind in ("f2", "<f4", ">f8", "i1", ">i2", "i8", "u1", "u4", "?"):
        array = np.arange(6).reshape(2, 3).astype(kind, order=order)
        back = np.asarray(read_numpy_pickle(pickle.dumps(array, protocol)))
        assert back.dtype == array.dtype
        np.testing.assert_array_equal(back, array)


def crafted(dtype: str, state: bytes, data: bytes) -> bytes:
    """A pickled array of which each part is as an attacker wants it."""
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
    kind = b"cnumpy\ndtype\n(S'" + dtype.encode() + b"'\nI00\nI01\ntR(" + state + b"tb"
    return array + b"(I1\n(I1\nt" + kind + b"I00\n" + data + b"tb."


PLAIN = b"I3\nS'<'\nNNNI-1\nI-1\nI0\n"


def test_a_crafted_array_of_plain_numbers_is_read() -> None:
    data = b"c_codecs\nencode\n(V\\u0000\\u0000\\u0080?\nS'latin1'\ntR"
    back = read_numpy_pickle(crafted("f4", PLAIN, data))
    assert np.asarray(back).tolist() == [1.0]


@pytest.mark.parametrize("dtype", ["O", "O8", "V8", "U1", "S8", "M8", "c8", "f4,O", ""])
def test_other_dtypes_are_refused(dtype: str) -> None:
    """numpy's own unpickling would take eight bytes of the file for an address."""
    data = b"c_codecs\nencode\n(S'AAAAAAAA'\nS'latin1'\ntR"
    with pytest.raises(AssetError, match="refused"):
        read_numpy_pickle(crafted(dtype, PLAIN, data))


@pytest.mark.parametrize(
    "state",
    [
        PLAIN.replace(b"'<'", b"'O,<'"),  # a structure with objects
        PLAIN.replace(b"I0\n", b"I63\n"),  # the flags of objects: ignored
        PLAIN.replace(b"NNN", b"(cnumpy\ndtype\n(S'O8'\nI00\nI01\ntR(I2\nttNN"),
        b"",
    ],
)
def test_a_dtype_cannot_be_changed_into_one_of_objects(state: bytes) -> None:
    with pytest.raises(AssetError, match=r"refused|damaged"):
        read_numpy_pickle(crafted("f4", state, b"(lI1\na"))


def test_a_pickle_cannot_ask_for_a_list_longer_than_itself() -> None:
    """The unpickler would make one of 64 million places, and fill it."""
    with pytest.raises(AssetError, match="damaged .an object at place 67108864"):
        read_numpy_pickle(b"\x80\x04Nr\x00\x00\x00\x04.")


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
    with pytest.raises(CheckpointError, match="cannot be read safely") as refused:
        read_torch_file(path)
    assert "weights_only" not in str(refused.value)  # PyTorch tells how to run it
    assert not proof.exists()
    torch.load(path, weights_only=False)  # the file does attack a careless reader
    assert proof.exists()


def test_a_compressed_file_is_not_unpacked(tmp_path: Path) -> None:
    """PyTorch stores numbers as they are; packed zeros become a thousand times more."""
    plain, packed = tmp_path / "plain.pt", tmp_path / "packed.pt"
    torch.save({"g_ema": {"a": torch.zeros(10**6)}}, plain)
    with (
        zipfile.ZipFile(plain) as source,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            target.writestr(name, source.read(name))
    assert packed.stat().st_size < plain.stat().st_size / 100
    with pytest.raises(CheckpointError, match="unpacks to 4"):
        read_torch_file(packed)


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


@pytest.mark.parametrize(
    "value",
    [
        torch.zeros(1).expand(10**9),
        torch.eye(3).to_sparse(),
        torch.zeros(2, dtype=torch.complex64),
        torch.empty(10**9, device="meta"),
    ],
)
def test_a_tensor_without_a_number_for_each_entry_is_refused(value: Tensor) -> None:
    with pytest.raises(CheckpointError, match="'a' is not an array of real numbers"):
        tensors_under({"g_ema": {"a": value, 3: value}}, "g_ema")
