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
