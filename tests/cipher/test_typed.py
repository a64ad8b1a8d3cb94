"""Tests of what a user gives."""

import pytest

from facersa.cipher.password import Password
from facersa.cipher.typed import Secrets
from facersa.errors import PasswordError


def test_secrets_are_checked_before_the_slow_stretching() -> None:
    e = Password.from_bits("0110")
    assert len(Secrets(("a",) * 255, (e,)).texts) == 255
    for texts, codes in (("a",) * 257, ()), (("a",) * 256, (e,)), ((), (e,) * 257):
        with pytest.raises(PasswordError, match="at most 256 passwords; use fewer"):
            Secrets(texts, codes)
    with pytest.raises(PasswordError, match="empty"):
        Secrets(("a", ""))
    with pytest.raises(PasswordError, match="LC_ALL") as caught:
        Secrets(("a", "hunter2\udce9"))
    assert "hunter2" not in str(caught.value)
    with pytest.raises(PasswordError, match="equal length, got 4 and 2"):
        Secrets(codes=(e, Password.from_bits("01")))
    with pytest.raises(PasswordError, match="have 4 bits, and 32 were asked for"):
        Secrets(codes=(e,)).num_bits(32)


def test_the_length_is_that_asked_for_or_of_the_codes_or_the_default() -> None:
    typed, raw = Secrets(("a",)), Secrets(("a",), (Password.from_bits("0110"),))
    assert [typed.num_bits(9), typed.num_bits(default=7)] == [9, 7]
    assert [raw.num_bits(4), raw.num_bits(default=7)] == [4, 4]
