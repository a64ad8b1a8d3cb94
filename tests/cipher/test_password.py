from __future__ import annotations

import hashlib
from itertools import permutations

import pytest
import torch
from argon2 import low_level
from hypothesis import given
from hypothesis import strategies as st

from facersa.cipher import password as password_module
from facersa.cipher.password import Password, new_salt, pair, stretch, total
from facersa.errors import PasswordError

SALT = bytes(range(16))
CODES = st.text(alphabet="01", min_size=12, max_size=12).map(Password.from_bits)


@given(CODES)
def test_e_and_d_cancel_and_share_one_secret(e: Password) -> None:
    d = e.inverse
    assert torch.equal(d.code, -e.code)
    assert (e + d).is_zero and not e.is_zero
    assert e.shared_secret() == d.shared_secret()
    assert d.to_bits() == e.to_bits().translate(str.maketrans("01", "10"))
    assert d.inverse == e and d.is_canonical != e.is_canonical


@given(st.lists(CODES, min_size=1, max_size=4))
def test_sums_do_not_depend_on_the_order(terms: list[Password]) -> None:
    sums = {total(order) for order in permutations(terms)}
    assert len(sums) == 1
    assert torch.equal(sums.pop().code, sum(term.code for term in terms))


@given(CODES, CODES)
def test_secret_is_shared_by_nobody_else(a: Password, b: Password) -> None:
    same = a in (b, b.inverse)
    assert (a.shared_secret() == b.shared_secret()) == same


def test_code_is_a_row_of_halves() -> None:
    e = Password.from_bits(" 0110\n")
    assert e.code.shape == (1, 4) and e.code.dtype == torch.float32
    assert e.code.tolist() == [[-0.5, 0.5, 0.5, -0.5]]
    assert e.num_bits == 4 and e.is_fresh and e.to_bits() == "0110"
    assert (e + e).code.tolist() == [[-1.0, 1.0, 1.0, -1.0]]
    assert not (e + e).is_fresh


def test_flip_changes_one_bit() -> None:
    e = Password.random(32)
    for index in (0, 13, 31):
        difference = (e.flip(index).code - e.code).abs()
        assert difference.sum() == 1 and difference[0, index] == 1
        assert e.flip(index).flip(index) == e


def test_random_passwords() -> None:
    assert Password.random(64) != Password.random(64)
    assert Password.random(64, seed=3) == Password.random(64, seed=3)
    assert Password.random(64, seed=3) != Password.random(64, seed=4)
    ones = Password.random(4096, seed=0).to_bits().count("1")
    assert 1900 < ones < 2200
    e, d = pair(20)
    assert e.num_bits == 20 and e.inverse == d
    assert len(new_salt()) == 16 and new_salt() != new_salt()


def test_text_becomes_the_argon2id_bytes() -> None:
    def bits(data: bytes) -> str:
        number = int.from_bytes(data, "big")
        return "".join(str(number >> i & 1) for i in range(8 * len(data)))

    key = low_level.hash_secret_raw(
        b"facersa password v2\0correct horse", SALT, 3, 65536, 4, 32, low_level.Type.ID
    )
    typed = Password.from_text("correct horse", salt=SALT)
    stretched = hashlib.shake_256(b"facersa code v2\0" + key).digest(16)
    assert typed.to_bits() == bits(stretched)
    assert "".join("01"[unit > 0] for unit in typed.key_units) == bits(key)


def test_the_key_numbers_follow_the_code_into_sums_and_inverses() -> None:
    texts = [Password.from_text(text, salt=SALT, num_bits=16) for text in ("a", "b")]
    added = total([*texts, Password.random(16, seed=1)])
    pairs = zip(*(text.key_units for text in texts), strict=True)
    assert added.key_units == tuple(a + b for a, b in pairs)
    assert added.inverse.key_units == tuple(-unit for unit in added.key_units)
    assert added.shared_secret() == added.inverse.shared_secret()
    bare = Password(added.half_units)
    assert bare.shared_secret() != added.shared_secret()
    assert bare.shared_secret(1) == added.shared_secret(1)


def test_text_depends_on_every_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(password_module, "ARGON2_MEMORY_KIB", 64)
    base = Password.from_text("caf\u00e9", salt=SALT)
    assert Password.from_text("cafe\u0301", salt=SALT) == base
    assert Password.from_text("cafe", salt=SALT) != base
    assert Password.from_text("caf\u00e9", salt=SALT[::-1]) != base
    for num_bits in (1, 7, 16, 130, 1000):
        short = Password.from_text("caf\u00e9", salt=SALT, num_bits=num_bits)
        assert short.num_bits == num_bits and short.is_fresh


def test_known_answers_never_change() -> None:
    """Old files must open: these bytes are part of the file format."""
    e = Password.random(16, seed=7)
    assert e.to_bits() == "0101011001010110"
    digest = hashlib.sha256(e.shared_secret(1)).hexdigest()
    assert digest[:32] == "8c35a9905589d04b35f923c9b9b71357"
    text = Password.from_text("facersa", salt=SALT, num_bits=32, scheme=1)
    assert text.to_bits() == "00000110010111000100111111010000"


@pytest.mark.parametrize("bits", ["", "  ", "012", "01 10", "+-+-", "0b01", "1" * 5000])
def test_bad_raw_codes(bits: str) -> None:
    with pytest.raises(PasswordError):
        Password.from_bits(bits)


@pytest.mark.parametrize("num_bits", [0, -1, 5000])
def test_bad_lengths(num_bits: int) -> None:
    with pytest.raises(PasswordError, match="bits"):
        Password.random(num_bits)


def test_errors_say_what_to_do_and_never_the_secret() -> None:
    e = Password.from_bits("01101")
    with pytest.raises(PasswordError, match="5 and 4"):
        e + Password.from_bits("0110")
    with pytest.raises(PasswordError, match="empty"):
        Password.from_text("", salt=SALT)
    with pytest.raises(PasswordError, match="16 bytes"):
        Password.from_text("a", salt=b"short")
    with pytest.raises(PasswordError, match="Unicode") as caught:
        Password.from_text("hunter2\ud800", salt=SALT)
    assert "hunter2" not in str(caught.value) and caught.value.__cause__ is None
    with pytest.raises(PasswordError, match="sum"):
        (e + e).to_bits()
    with pytest.raises(PasswordError, match="sum"):
        (e + e).flip(0)
    with pytest.raises(PasswordError, match="0 to 4"):
        e.flip(5)
    with pytest.raises(PasswordError, match="whole numbers"):
        Password((0.5, -0.5))  # type: ignore[arg-type]
    with pytest.raises(PasswordError, match="at most 256"):
        total([e] * 257)
    with pytest.raises(PasswordError, match="at least one"):
        total([])


def test_printing_hides_the_code() -> None:
    e = Password.from_bits("0110100110010110")
    for shown in (repr(e), str(e), f"{e}", repr([e]), repr(e + e)):
        assert "hidden" in shown and "-1" not in shown
        assert e.to_bits() not in shown


def test_stretch_separates_lengths_and_salts() -> None:
    with pytest.raises(PasswordError):
        stretch(b"secret", b"", 16)
