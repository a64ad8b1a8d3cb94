"""Passwords: typed text or raw bits to the N-vector that the cipher adds up.

The paper (section 3.1) works with pairs of passwords (e, d): e encrypts, d
decrypts. A code is a vector of N half-integers; a fresh one holds only -1/2
and +1/2, and d = -e, the complement of every bit. Passwords used one after the
other are the sum of their codes, so e + d = 0 means "nothing done".

A code may be short: the learned ciphers take 16 bits. The key of a file never is: a
typed password also gives 256 numbers that no cipher sees, which add and change sign
as the code does, and the key is made of both.

Codes are kept as whole numbers of halves, so that sums are exact in any order.
"""

from __future__ import annotations

import hashlib
import operator
import secrets
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import torch
from argon2.low_level import Type, hash_secret_raw
from torch import Tensor

from facersa.errors import PasswordError

DEFAULT_BITS = 128
MAX_BITS = 4096
MAX_TERMS = 256  # passwords in one sum; keeps every angle exact in float64
SALT_BYTES = 16
KEY_BYTES = 32
NO_KEY = (0,) * (8 * KEY_BYTES)  # what a raw code adds to the key numbers
SCHEME = 2  # how typed passwords become codes; scheme 1 is that of older files

# RFC 9106, section 4, second recommended option: 64 MiB, 3 passes, 4 lanes.
ARGON2_MEMORY_KIB = 64 * 1024
ARGON2_PASSES = 3
ARGON2_LANES = 4


def new_salt() -> bytes:
    """Draw the 16 random bytes that every encrypted file gets of its own."""
    return secrets.token_bytes(SALT_BYTES)


def stretch(secret: bytes, salt: bytes, length: int) -> bytes:
    """Derive ``length`` >= 4 bytes from ``secret`` with argon2id, slowly on purpose.

    Raises:
        PasswordError: the salt does not have 16 bytes.
    """
    if len(salt) != SALT_BYTES:
        raise PasswordError(
            f"expected a salt of {SALT_BYTES} bytes, got {len(salt)}; "
            "use new_salt() or the salt stored in the file."
        )
    return hash_secret_raw(
        secret=secret,
        salt=salt,
        time_cost=ARGON2_PASSES,
        memory_cost=ARGON2_MEMORY_KIB,
        parallelism=ARGON2_LANES,
        hash_len=length,
        type=Type.ID,
    )


@dataclass(frozen=True)
class Password:
    """A password's code, or the sum of several, as N whole numbers of halves.

    Printing one never shows the code. Make one with ``random``, ``from_text``
    or ``from_bits`` rather than by hand. ``key_units`` are the 256 numbers that only
    the key of a file is made of: zero for raw codes.

    Example:
        >>> e = Password.from_bits("0110")
        >>> e.inverse.to_bits()
        '1001'
        >>> (e + e.inverse).code.tolist()
        [[0.0, 0.0, 0.0, 0.0]]
    """

    half_units: tuple[int, ...] = field(repr=False)
    key_units: tuple[int, ...] = field(default=NO_KEY, repr=False)

    def __post_init__(self) -> None:
        _check_bits(len(self.half_units))
        units = self.half_units + self.key_units
        if any(type(unit) is not int for unit in units):
            raise PasswordError(
                "a code must hold whole numbers of halves (int); "
                "use Password.from_bits or Password.from_text."
            )
        if max(map(abs, units)) > MAX_TERMS:
            raise PasswordError(
                f"a sum may have at most {MAX_TERMS} passwords; use fewer."
            )

    def __repr__(self) -> str:
        kind = "fresh" if self.is_fresh else "sum"
        return f"Password(num_bits={self.num_bits}, {kind}, code hidden)"

    @classmethod
    def random(
        cls, num_bits: int = DEFAULT_BITS, *, seed: int | None = None
    ) -> Password:
        """Draw a fresh password from the system's randomness.

        ``seed`` makes it repeatable, for experiments only: whoever knows the
        seed knows the password.
        """
        _check_bits(num_bits)
        length = -(-num_bits // 8)
        if seed is None:
            return cls(_signs(secrets.token_bytes(length), num_bits))
        label = f"facersa random password v1|{num_bits}|{seed}".encode()
        return cls(_signs(hashlib.shake_256(label).digest(length), num_bits))

    @classmethod
    def from_text(
        cls,
        text: str,
        *,
        salt: bytes,
        num_bits: int = DEFAULT_BITS,
        scheme: int = SCHEME,
    ) -> Password:
        """Turn typed text into a fresh code, and a key, with argon2id.

        The text is put in Unicode form NFC first, so that an accented letter is
        the same password on every keyboard. ``salt`` is 16 bytes, one a file.
        Neither code nor key is stronger than the text. ``scheme`` is 1 for files of
        versions 1 and 2, in which a typed password has no key beside its code.

        Raises:
            PasswordError: empty text, text that is not valid Unicode, a bad
                salt or number of bits.
        """
        _check_bits(num_bits)
        spelled = spell(text)
        label = f"facersa password v{scheme}\0".encode()
        if scheme == 1:
            length = max(4, -(-num_bits // 8))  # argon2 makes four bytes or more
            return cls(_signs(stretch(label + spelled, salt, length), num_bits))
        key = stretch(label + spelled, salt, KEY_BYTES)
        expanded = hashlib.shake_256(b"facersa code v2\0" + key)
        code = cls(_signs(expanded.digest(-(-num_bits // 8)), num_bits))
        return replace(code, key_units=_signs(key, 8 * KEY_BYTES))

    @classmethod
    def from_bits(cls, bits: str) -> Password:
        """Read a raw fresh code written as 0 and 1: 0 is -1/2, 1 is +1/2.

        Swapping every 0 and 1 gives the inverse. Sums have no written form:
        give their terms one by one and add them.

        Raises:
            PasswordError: empty, too long, or other characters than 0 and 1.
        """
        stripped = bits.strip()
        if not stripped or set(stripped) - {"0", "1"}:
            raise PasswordError(
                "a raw code is a row of 0 and 1, such as 01101001; "
                "copy it again as `facersa pair` printed it."
            )
        return cls(tuple(1 if bit == "1" else -1 for bit in stripped))

    @property
    def num_bits(self) -> int:
        """Length N of the code."""
        return len(self.half_units)

    @property
    def is_fresh(self) -> bool:
        """Whether every entry is -1/2 or +1/2: one password, not a sum."""
        return all(abs(unit) == 1 for unit in self.half_units)

    @property
    def is_zero(self) -> bool:
        """Whether the terms cancel out, so that the cipher would do nothing."""
        return not any(self.half_units)

    @property
    def is_canonical(self) -> bool:
        """Whether this one of the pair e, -e is the larger in dictionary order."""
        return self.half_units >= self.inverse.half_units

    @property
    def code(self) -> Tensor:
        """The code as a (1, N) float32 tensor of multiples of 1/2."""
        return torch.tensor([self.half_units], dtype=torch.float32) / 2

    @property
    def inverse(self) -> Password:
        """The password that undoes this one: the negated code."""
        return Password(
            tuple(-unit for unit in self.half_units),
            tuple(-unit for unit in self.key_units),
        )

    def __add__(self, other: Password) -> Password:
        """Both passwords one after the other, in any order (paper, eq. for h).

        Raises:
            PasswordError: the lengths differ, or the sum has too many terms.
        """
        if not isinstance(other, Password):
            return NotImplemented
        if self.num_bits != other.num_bits:
            raise PasswordError(
                f"expected passwords of equal length, got {self.num_bits} and "
                f"{other.num_bits} bits; make both with the same number of bits."
            )
        return Password(
            tuple(map(operator.add, self.half_units, other.half_units)),
            tuple(map(operator.add, self.key_units, other.key_units)),
        )

    def to_bits(self) -> str:
        """Write a fresh code as 0 and 1, for ``from_bits``. This is the secret.

        Raises:
            PasswordError: the password is a sum.
        """
        self._need_fresh("written as bits")
        return "".join("1" if unit > 0 else "0" for unit in self.half_units)

    def flip(self, index: int) -> Password:
        """The nearest wrong password: bit ``index`` (0-based) flipped.

        Raises:
            PasswordError: the password is a sum, or has no such bit.
        """
        self._need_fresh("flipped")
        if not 0 <= index < self.num_bits:
            raise PasswordError(
                f"expected a bit from 0 to {self.num_bits - 1}, got {index}."
            )
        units = list(self.half_units)
        units[index] = -units[index]
        return replace(self, half_units=tuple(units))

    def shared_secret(self, scheme: int = SCHEME) -> bytes:
        """Bytes that e and d = -e have in common and nobody else knows.

        They are the larger, in dictionary order, of the code and its negative, with
        the key numbers of that one, which scheme 1 leaves out. They are as guessable
        as the password: pass them through ``stretch``.
        """
        larger = self if self.is_canonical else self.inverse
        numbers = (self.num_bits, *larger.half_units)
        if scheme != 1:
            numbers += larger.key_units
        packed = b"".join(number.to_bytes(4, "big", signed=True) for number in numbers)
        return f"facersa shared secret v{scheme}\0".encode() + packed

    def _need_fresh(self, verb: str) -> None:
        if not self.is_fresh:
            raise PasswordError(
                f"only a single password can be {verb}, and this is a sum; "
                "use its terms one by one."
            )


def _signs(data: bytes, count: int) -> tuple[int, ...]:
    """The lowest ``count`` bits of a big-endian number: 1 for one, -1 for zero."""
    number = int.from_bytes(data, "big")
    return tuple(1 if number >> i & 1 else -1 for i in range(count))


def pair(num_bits: int = DEFAULT_BITS) -> tuple[Password, Password]:
    """Draw a pair (e, d): either one undoes the other."""
    e = Password.random(num_bits)
    return e, e.inverse


def total(passwords: Iterable[Password]) -> Password:
    """Sum one or more passwords of equal length (property h).

    Raises:
        PasswordError: none given, or the lengths differ.
    """
    terms = list(passwords)
    if not terms:
        raise PasswordError("no password was given; give at least one.")
    result = terms[0]
    for term in terms[1:]:
        result = result + term
    return result


def _check_bits(num_bits: int) -> None:
    if not 1 <= num_bits <= MAX_BITS:
        raise PasswordError(
            f"expected 1 to {MAX_BITS} bits, got {num_bits}; 128 is the usual choice."
        )


def spell(text: str) -> bytes:
    """The bytes of a typed password, the same for every way to type its letters."""
    if not text:
        raise PasswordError("the password is empty; type at least one character.")
    try:
        return unicodedata.normalize("NFC", text).encode()
    except UnicodeEncodeError:  # its own message would quote the password
        raise PasswordError(
            "the password is not valid Unicode text: the terminal writes other bytes "
            "than the locale says; set LC_ALL to the terminal's encoding."
        ) from None
