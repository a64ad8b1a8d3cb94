"""Tests of what files say of a cipher."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
import torch
from torch import Tensor

from facersa.cipher.catalogue import CATALOGUE, LEARNED, build_learned, load_cipher
from facersa.cipher.description import (
    FORMER,
    RENAMED,
    VERSION_1,
    describe,
    fingerprint,
    label,
    restore,
    upgrade,
)
from facersa.cipher.password import Password
from facersa.errors import SealedError


def test_a_fingerprint_sees_what_a_file_holds() -> None:
    """Biases whole: some are so large that halves would be coarse."""
    mapper = load_cipher("assembled")
    whole = fingerprint(mapper)
    state = mapper.state_dict()
    halved = {k: v.half().float() for k, v in state.items()}
    assert any(not torch.equal(halved[k], v) for k, v in state.items() if v.ndim == 1)
    mapper.load_state_dict(halved)
    assert fingerprint(mapper) != whole


@pytest.mark.parametrize("name", CATALOGUE)
def test_what_a_file_says_of_a_cipher_builds_it_again(
    name: str, any_ws: Tensor
) -> None:
    cipher = load_cipher(name)
    stored = json.loads(json.dumps(describe(cipher)))
    again = restore(stored, 16)
    assert fingerprint(again) == fingerprint(cipher)
    code = Password.random(cipher.num_bits, seed=1).code
    assert torch.equal(again(any_ws, code), cipher(any_ws, code))
    assert name in label(cipher)


def test_own_weights_are_told_from_the_shipped_ones() -> None:
    own = build_learned("ring")
    stored = describe(own)
    assert restore(stored, 16, loaded=own) is own
    with pytest.raises(SealedError, match="other weights of the ring.*--weights"):
        restore(stored, 16)
    shipped = describe(load_cipher("ring"))
    assert fingerprint(restore(shipped, 16, loaded=own)) == shipped["weights"]


@pytest.mark.parametrize(
    "change",
    [
        {"cipher": "future"},
        {"cipher": ["rotation"]},
        {"layers": [3, 99]},
        {"layers": "3-8"},
        {"layers": [True, 4]},
        {"layers": []},
        {"context": 5},
        {"kappa": "much"},
        {"kappa": 1e308},
        {"kappa": -1.0},
        {"num_bits": 10**9},
        {"num_bits": 12.5},
        {"weights": "00" * 8},
        {"more": 1},
    ],
)
def test_senseless_descriptions_are_one_clear_error(change: dict[str, Any]) -> None:
    stored = describe(load_cipher()) | change
    with pytest.raises(SealedError, match="does not know"):
        restore(stored, 16)


def test_version_1_named_the_same_weights_otherwise() -> None:
    ((old_name, old_weights),) = RENAMED
    assert old_name == "faithful" and old_weights in VERSION_1.values()
    names = {"ring": "ring", "steered": "steered", "faithful": "assembled"}
    for name, weights in zip(names, VERSION_1.values(), strict=True):
        cipher = restore({"cipher": name, "weights": weights, "num_bits": 16}, 16)
        assert cipher.name == names[name]
        shipped = load_cipher(names[name])
        assert fingerprint(cipher) == fingerprint(shipped)
    old = {
        "cipher": "mapper",
        "mapper": "ring",
        "weights": "7a5b723d6d564926",
        "num_bits": 16,
    }
    assert upgrade(old) == describe(load_cipher("ring"))


def test_weights_that_shipped_once_are_named() -> None:
    for weights, until in FORMER.items():
        assert weights not in map(fingerprint, map(load_cipher, LEARNED))
        old = {"cipher": "faithful", "weights": weights, "num_bits": 16}
        with pytest.raises(SealedError, match=f"until {until}; decrypt it with"):
            restore(old, 16)


def test_a_fingerprint_is_what_the_format_says() -> None:
    """Computed once more, by the words of FORMAT.md."""
    cipher = load_cipher("ring")
    text = "facersa cipher 2\nring\naxes=128\nlayers=[5, 6, 7, 8]\nnum_bits=16\n"
    text += "planes=16\nradius=3.0\nspread=2.8\nstrength=0.8\n"
    digest = hashlib.sha256(text.encode())
    for name in ("angles", "centre", "directions"):
        values = cipher.state_dict()[name].numpy().astype("<f2")
        shape = ", ".join(map(str, values.shape))
        digest.update(f"{name} <f2 [{shape}]\n".encode() + values.tobytes())
    assert fingerprint(cipher) == digest.hexdigest()[:16] == "a23abff9a14c77af"
