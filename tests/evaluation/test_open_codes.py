"""Tests of the attacks on codes that travel in clear."""

from __future__ import annotations

import pytest
import torch

from facersa.cipher.base import Cipher
from facersa.cipher.catalogue import load_cipher
from facersa.cipher.description import label
from facersa.cipher.modulation import MapperConfig, ModulationMapper
from facersa.cipher.password import Password
from facersa.cipher.rotation import RotationCipher
from facersa.errors import FaceRSAError
from facersa.evaluation.open_codes import (
    attack_codes,
    code_of,
    every_code,
    known_pair,
    number_of,
    rank,
    searched,
    unlike_reference,
    unlike_rows,
)
from facersa.evaluation.results import value
from facersa.generator.base import Generator


def short_mapper() -> ModulationMapper:
    """The paper's network with random weights, for codes of 6 bits."""
    return ModulationMapper(MapperConfig(num_bits=6, strength=1.0))


@pytest.mark.parametrize("name", ["rotation", "steady", "ring", "steered", "short"])
def test_one_known_pair_opens_all_other_codes(name: str, any_ws: torch.Tensor) -> None:
    cipher: Cipher = short_mapper() if name == "short" else load_cipher(name)
    password, other = (Password.random(cipher.num_bits, seed=k) for k in (1, 2))
    edited = cipher(any_ws, password.code)
    undo = known_pair(cipher, any_ws[:1], edited[:1])
    moved = (edited - any_ws)[1:].norm()
    # Exact for an exact cipher; the paper's form undoes as well as its own inverse.
    owner = (cipher(edited, password.inverse.code) - any_ws)[1:].norm()
    assert (undo(edited)[1:] - any_ws[1:]).norm() < 1.01 * owner + 1e-4 * moved
    wrong = cipher(any_ws, other.code)
    assert (undo(wrong)[1:] - any_ws[1:]).norm() > 0.3 * moved


def test_a_long_code_of_an_unknown_cipher_is_refused(any_ws: torch.Tensor) -> None:
    class Other:
        name, num_bits, layers = "other", 128, (5, 6)

    other: Cipher = Other()  # type: ignore[assignment]
    with pytest.raises(FaceRSAError, match="too many to try"):
        known_pair(other, any_ws[:1], any_ws[:1])


def test_codes_are_numbered() -> None:
    codes = torch.cat(list(every_code(11)))
    assert codes.shape == (2048, 11) and set(codes.unique().tolist()) == {-0.5, 0.5}
    assert [number_of(codes[k : k + 1]) for k in (0, 5, 2047)] == [0, 5, 2047]
    assert torch.equal(code_of(torch.tensor([5]), 11), codes[5:6])
    assert len({tuple(row.tolist()) for row in codes}) == 2048


def test_a_rank_counts_from_one_and_ties_half() -> None:
    misfits = torch.tensor([3.0, 1.0, 2.0, 2.0])
    assert [rank(misfits, right) for right in range(4)] == [4, 1, 2.5, 2.5]


def test_the_right_password_makes_rows_alike(generator: Generator) -> None:
    ws, cipher = generator.sample([8], 0.85), RotationCipher(num_bits=8)
    password = Password.random(8, seed=4)
    edited, right = cipher(ws, password.code), number_of(password.code)
    for misfit in (unlike_rows(cipher), unlike_reference(cipher, ws)):
        found = searched(cipher, edited, misfit)
        assert found.shape == (256,) and found.argmin() == right
        assert rank(found, right) == 1
    forwards = searched(cipher, edited, unlike_reference(cipher, ws), decrypt=False)
    assert forwards.argmin() == 255 - right  # encrypting by the inverse is as good


def test_both_attacks_on_people(generator: Generator) -> None:
    ciphers = RotationCipher(num_bits=8), load_cipher("steady")
    result = attack_codes(ciphers, generator, n=2, progress=False)
    short, long = "rotation, 8 bits", "steady, 128 bits"
    for name in (short, long):
        assert value(result, name, "known pair", "error").mean < 1e-5
    assert value(result, short, "no reference, W", "rank").mean == 1
    assert value(result, short, "a reference, offsets", "first").n == 2
    assert len([r for r in result["rows"] if r["property"] == long]) == 1
    assert result["ciphers"] == [label(cipher) for cipher in ciphers]
    with pytest.raises(FaceRSAError, match="2 people"):
        attack_codes(ciphers, generator, n=1)
