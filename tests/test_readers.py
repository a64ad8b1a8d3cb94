"""Tests of the readers of published weight formats."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load

from facersa import readers
from facersa.errors import AssetError


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
    with pytest.raises(AssetError, match="not an LPIPS checkpoint"):
        readers.lpips_trunk(pickle.dumps({"Other": {}}))


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
    with pytest.raises(AssetError, match="wrong version"):
        net.constant_of("Gemm_2")
    with pytest.raises(AssetError, match="no constant"):
        net.upstream_constant("Gemm_1", (5,))
