"""The file format: test vectors of FORMAT.md, and old files that still decrypt."""

from __future__ import annotations

import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from facersa.cipher.catalogue import CATALOGUE, load_cipher
from facersa.cipher.description import fingerprint, restore
from facersa.cipher.password import NO_KEY, Password, stretch
from facersa.cipher.rotation import half_columns
from facersa.cipher.typed import Secrets
from facersa.errors import PasswordError, SealedError
from facersa.generator.base import Generator
from facersa.generator.statistics import WStatistics
from facersa.photo.images import from_uint8, resize
from facersa.pipeline import FaceRSA
from facersa.sealing.chunk import pack, unpack
from facersa.sealing.pixels import _pack_settings, _unpack_settings
from facersa.sealing.sealed import Sealed

DATA = Path(__file__).parent / "data"
VECTORS: dict[str, Any] = json.loads((DATA / "vectors.json").read_text())
OLD = ("version1", "version2", "version3")  # the third: before the settings of now
CASES: dict[tuple[str, str], dict[str, Any]] = {
    (version, name): case
    for version in OLD
    for name, case in json.loads((DATA / version / "cases.json").read_text()).items()
}


@pytest.fixture(scope="module")
def engine(generator: Generator) -> FaceRSA:
    return FaceRSA(generator)


@pytest.fixture(scope="module")
def expected() -> dict[str, torch.Tensor]:
    """Codes (16, 512) and small faces (64, 64, 3) that the files hold."""
    return {
        f"{version} {key}": value
        for version in OLD
        for key, value in load_file(DATA / version / "expected.safetensors").items()
    }


@pytest.mark.parametrize(("version", "name"), CASES)
def test_an_old_file_decrypts_to_what_it_held(
    engine: FaceRSA, expected: dict[str, torch.Tensor], version: str, name: str
) -> None:
    case = CASES[version, name]
    passwords = case.get("passwords") or [case["password"]]
    back = engine.decrypt(
        (DATA / version / name.partition("#")[0]).read_bytes(),
        Secrets(tuple(passwords)),
        face=case.get("face"),
        from_pixels=case.get("from_pixels", False),
    )
    torch.testing.assert_close(
        back.ws[0], expected[f"{version} {name}"].float(), atol=2e-3, rtol=2e-3
    )
    shown = resize(back.face, 64)
    wanted = from_uint8(expected[f"{version} {name} picture"].numpy())
    assert (shown - wanted).abs().mean() * 127.5 < 1.0  # grey levels


def tiny_statistics() -> WStatistics:
    """Of codes with six numbers in a row."""
    stored = VECTORS["statistics"]
    mean, values = (torch.tensor(stored[key]) for key in ("mean", "eigenvalues"))
    return WStatistics(mean, values, torch.eye(6))


@pytest.mark.parametrize("vector", VECTORS["passwords"], ids=lambda v: v["text"])
def test_typed_passwords_become_these_codes(vector: dict[str, Any]) -> None:
    salt, how = bytes.fromhex(vector["salt"]), (vector["num_bits"], vector["scheme"])
    typed = Password.from_text(
        vector["text"], salt=salt, num_bits=how[0], scheme=how[1]
    )
    assert typed.to_bits() == vector["bits"]
    number = int(vector.get("key_numbers", "0"), 16)
    signs = tuple(2 * (number >> i & 1) - 1 for i in range(256))
    assert typed.key_units == (NO_KEY if vector["scheme"] == 1 else signs)


@pytest.mark.parametrize("vector", VECTORS["keys"], ids=lambda v: str(v["scheme"]))
def test_a_code_and_its_inverse_become_this_key(vector: dict[str, Any]) -> None:
    key_numbers = tuple(vector.get("key_numbers", NO_KEY))
    password = Password(tuple(vector["halves"]), key_numbers)
    for either in (password, password.inverse):
        secret = either.shared_secret(vector["scheme"])
        assert stretch(secret, bytes.fromhex(vector["salt"]), 32).hex() == vector["key"]


def password_of(vector: dict[str, Any], sealed: Sealed) -> Password | None:
    if "bits" in vector:
        return Password.from_bits(vector["bits"])
    if texts := vector.get("texts"):
        return Secrets(tuple(texts)).password(salt=sealed.salt, num_bits=16)
    return None


@pytest.mark.parametrize(
    "vector", VECTORS["chunks"], ids=lambda v: f"{v['name']} {v['version']}"
)
def test_a_chunk_holds_this_code(vector: dict[str, Any]) -> None:
    body = bytes.fromhex(vector["body"])
    sealed, statistics = unpack(body), tiny_statistics()
    assert pack(sealed) == body and sealed.mode == vector["name"]
    assert statistics.fingerprint() == VECTORS["statistics"]["fingerprint"]
    code = sealed.code(password_of(vector, sealed), statistics=statistics)[0]
    torch.testing.assert_close(code, torch.tensor(vector["code"]), atol=1e-5, rtol=0)
    if "detail" in vector:
        password = password_of(vector, sealed)
        assert password is not None
        revealed = sealed.reveal(password, statistics=statistics)
        assert revealed.detail.hex() == vector["detail"]


@pytest.mark.parametrize("vector", VECTORS["wrong"], ids=lambda v: v["why"])
def test_a_sealed_chunk_does_not_open(vector: dict[str, Any]) -> None:
    sealed = unpack(bytes.fromhex(vector["body"]))
    with pytest.raises(PasswordError, match=vector["why"]):
        sealed.code(password_of(vector, sealed), statistics=tiny_statistics())


@pytest.mark.parametrize(
    "vector", VECTORS["refused"], ids=lambda v: v.get("new", v["why"])
)
def test_other_bytes_are_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(SealedError, match=vector["why"]):
        unpack(bytes.fromhex(vector["body"]))


@pytest.mark.parametrize(
    "vector", VECTORS["marks"], ids=lambda v: f"{v['params']['cipher']} {v['version']}"
)
def test_a_mark_holds_these_settings(vector: dict[str, Any]) -> None:
    head = bytes.fromhex(vector["head"])
    params, salt, geometry = _unpack_settings(head, tuple(vector["size"]))
    assert (params, salt.hex()) == (vector["params"], vector["salt"])
    assert geometry["others"] and geometry["photo_size"] == vector["size"]
    for key in ("oval", "tone"):
        assert geometry.get(key) == vector["geometry"].get(key)
    np.testing.assert_allclose(geometry["quad"], vector["geometry"]["quad"], atol=1e-3)
    again = _pack_settings(vector["version"], params, salt, vector["geometry"])
    assert again == head


def test_the_columns_of_the_rotation_are_these() -> None:
    stored = VECTORS["columns"]
    table = half_columns(stored["num_bits"], stored["row"], stored["planes"])
    assert [[i, k, int(table[i, k])] for i, k, _ in stored["entries"]] == stored[
        "entries"
    ]


@pytest.mark.parametrize("kept", [4, 6])
def test_the_steady_cipher_is_as_described(kept: int) -> None:
    """Section 8 of FORMAT.md, in numpy."""
    file = resources.files("facersa") / "weights" / "steady.safetensors"
    assert hashlib.sha256(file.read_bytes()).hexdigest() == VECTORS["directions"]
    matrix = np.eye(512)
    for j, d in enumerate(load_file(str(file))[f"kept_{kept}"].numpy().T):
        v = matrix.T @ d - np.eye(512)[j]
        matrix = matrix @ (np.eye(512) - 2 * np.outer(v, v) / (v @ v))
    stats, halves = WStatistics.load(), np.array([1, -1] * 8)
    angles = halves @ half_columns(16, 3, 256).astype(float) * (2 * np.pi / 2**32)
    angles[: kept // 2] = 0
    ws = stats.unwhiten(torch.randn(1, 16, 512, dtype=torch.float64))
    z = stats.whiten(ws)[0].numpy() @ matrix
    y = z[7] + 0.15 * z[12]
    turned = (y[0::2] + 1j * y[1::2]) * np.exp(1j * angles)
    wanted = np.stack([turned.real, turned.imag], 1).ravel() - 0.15 * z[12]
    code = Password(tuple(int(half) for half in halves)).code
    described = {"cipher": "steady", "num_bits": 16, "layers": [3, 7], "kappa": 0.15}
    described |= {"context": 12} | ({"kept": kept} if kept == 6 else {})
    edited = stats.whiten(restore(described, 16)(ws, code))[0, 7]
    np.testing.assert_allclose(edited.numpy() @ matrix, wanted, atol=1e-6)


def test_the_shipped_ciphers_have_these_fingerprints() -> None:
    found = {name: fingerprint(load_cipher(name)) for name in CATALOGUE}
    assert found == VECTORS["fingerprints"]
