"""Foreign files: tensors come out, code never runs, errors are one line."""

from __future__ import annotations

import json
import pickle
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load

from facersa.assets import readers
from facersa.errors import AssetError


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
