"""Foreign files: tensors come out, code never runs, errors are one line."""

from __future__ import annotations

import argparse
import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load
from torch import Tensor

from facersa.assets import readers
from facersa.assets.readers import read_torch_file, tensors_under
from facersa.errors import AssetError, CheckpointError


def test_numpy_pickles_are_read() -> None:
    value = {"a": [np.arange(4, dtype=np.float32)], "b": {"c": np.ones((2, 2))}}
    out = readers.read_numpy_pickle(pickle.dumps(value))
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
        readers.read_numpy_pickle(pickle.dumps({"a": Evil()}))
    assert not (tmp_path / "should-not-exist").exists()
    with pytest.raises(AssetError, match="damaged"):
        readers.read_numpy_pickle(b"\x80\x04nonsense")


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_every_plain_dtype_and_order_is_read(protocol: int, order: Any) -> None:
    for kind in ("f2", "<f4", ">f8", "i1", ">i2", "i8", "u1", "u4", "?"):
        array = np.arange(6).reshape(2, 3).astype(kind, order=order)
        back = np.asarray(readers.read_numpy_pickle(pickle.dumps(array, protocol)))
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
    back = readers.read_numpy_pickle(crafted("f4", PLAIN, data))
    assert np.asarray(back).tolist() == [1.0]


@pytest.mark.parametrize("dtype", ["O", "O8", "V8", "U1", "S8", "M8", "c8", "f4,O", ""])
def test_other_dtypes_are_refused(dtype: str) -> None:
    """numpy's own unpickling would take eight bytes of the file for an address."""
    data = b"c_codecs\nencode\n(S'AAAAAAAA'\nS'latin1'\ntR"
    with pytest.raises(AssetError, match="refused"):
        readers.read_numpy_pickle(crafted(dtype, PLAIN, data))


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
        readers.read_numpy_pickle(crafted("f4", state, b"(lI1\na"))


def test_lpips_kernels_are_turned_to_torch_layout() -> None:
    trunk = {
        f"Conv_{i}": {
            "kernel": np.full((3, 5, 2, 4), i, np.float32),
            "bias": np.ones(4),
        }
        for i in range(5)
    }
    trunk["Conv_1"]["kernel"] = np.arange(120, dtype=np.float32).reshape(3, 5, 2, 4)
    checkpoint: dict[str, Any] = {"AlexNet_0": trunk}
    for k in range(5):
        checkpoint[f"NetLinLayer_{k}"] = {"Conv_0": {"kernel": np.ones((1, 1, 6, 1))}}
    out = load(readers.lpips_trunk(pickle.dumps(checkpoint)))
    assert out["features.3.weight"].shape == (4, 2, 3, 5)
    assert out["features.3.weight"][1, 0, 2, 4] == trunk["Conv_1"]["kernel"][2, 4, 0, 1]
    assert out["lin4.weight"].shape == (1, 6, 1, 1)
    trunk["Conv_1"]["kernel"] = np.ones(3)
    for other in ({"Other": {}}, checkpoint, {"AlexNet_0": []}, 3):
        with pytest.raises(AssetError, match="expected an LPIPS checkpoint"):
            readers.lpips_trunk(pickle.dumps(other))


IR = b"""<net><layers>
<layer id="0" name="in" type="Parameter"/>
<layer id="1" name="w" type="Const">
  <data element_type="f32" shape="2, 2" offset="4" size="16"/></layer>
<layer id="2" name="Gemm_1" type="MatMul"/>
<layer id="3" name="k" type="Const">
  <data element_type="i64" shape="1" offset="0" size="4"/></layer>
</layers><edges>
<edge from-layer="0" from-port="0" to-layer="2" to-port="0"/>
<edge from-layer="3" from-port="0" to-layer="2" to-port="2"/>
<edge from-layer="1" from-port="0" to-layer="2" to-port="1"/>
</edges></net>"""


def test_openvino_constants_are_found_through_the_graph() -> None:
    weights = np.array([9, 1, 2, 3, 4], "<f4").tobytes()
    net = readers.OpenVinoWeights(IR, weights)
    np.testing.assert_array_equal(net.constant_of("Gemm_1"), [[1, 2], [3, 4]])
    np.testing.assert_array_equal(
        net.upstream_constant("Gemm_1", (2, 2)), [[1, 2], [3, 4]]
    )
    with pytest.raises(AssetError, match="with node 'Gemm_2'.*--licences"):
        net.constant_of("Gemm_2")
    with pytest.raises(AssetError, match="a constant of shape"):
        net.upstream_constant("Gemm_1", (5,))


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (b"</net>", b""),
        (b'id="1"', b""),
        (b'name="w"', b""),
        (b'type="Const"', b""),
        (b'element_type="f32"', b""),
        (b'shape="2, 2"', b'shape="3"'),
        (b'offset="4"', b'offset="-4"'),
        (b'size="16"', b'size="many"'),
        (b'size="16"', b'size="1' + b"0" * 40 + b'"'),
        (b'to-layer="2"', b""),
    ],
)
def test_a_damaged_network_is_refused(good: bytes, bad: bytes) -> None:
    with pytest.raises(AssetError, match="the OpenVINO network is damaged"):
        readers.OpenVinoWeights(IR.replace(good, bad), bytes(20))


def test_a_network_of_other_parts_is_refused() -> None:
    with pytest.raises(AssetError, match="with node 'MatMul_8'"):
        readers.mobile_stylegan(IR, bytes(20), IR, bytes(20))
    with pytest.raises(AssetError, match="above node 'none'"):
        readers.OpenVinoWeights(IR, bytes(20)).upstream_constant("none", (2, 2))
    with pytest.raises(AssetError, match=r"of shape \(-1, 1, 3, 3\), not \(4,\)"):
        readers._reshaped(np.zeros(4), -1, 1, 3, 3)


def test_a_pickle_cannot_ask_for_a_list_longer_than_itself() -> None:
    """The unpickler would make one of 64 million places, and fill it."""
    with pytest.raises(AssetError, match="damaged .an object at place 67108864"):
        readers.read_numpy_pickle(b"\x80\x04Nr\x00\x00\x00\x04.")


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


def tfjs(values: np.ndarray, **more: object) -> tuple[bytes, bytes]:
    entry = {"name": "a/filters", "shape": list(values.shape), **more}
    return json.dumps([{"weights": [entry]}]).encode(), values.tobytes()


def test_tfjs_weights_are_scaled_back_and_turned_round() -> None:
    kernel = np.arange(3 * 2 * 4 * 5, dtype=np.uint8).reshape(3, 2, 4, 5)
    data = tfjs(kernel, quantization={"dtype": "uint8", "scale": 0.5, "min": -1.0})
    weight = load(readers.tfjs_weights(*data))["a.weight"]
    assert weight.shape == (5, 4, 3, 2)
    assert weight[1, 2, 0, 1] == kernel[0, 1, 2, 1] * 0.5 - 1


def test_tfjs_weights_that_do_not_fit_are_refused() -> None:
    manifest, data = tfjs(np.zeros(4, np.float32))
    for bad in ((manifest, data[:-1]), (manifest, data + b"0"), (b"[]", data)):
        with pytest.raises(AssetError, match="fetch"):
            readers.tfjs_weights(*bad)
