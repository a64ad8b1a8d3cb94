"""What a user gives: typed passwords, raw codes, or both, and their sum."""

from __future__ import annotations

from dataclasses import dataclass

from facersa.cipher.password import (
    DEFAULT_BITS,
    MAX_TERMS,
    SCHEME,
    Password,
    spell,
    total,
)
from facersa.errors import PasswordError


@dataclass(frozen=True)
class Secrets:
    """What the user gave: typed passwords, raw codes, or both; never printed.

    Attributes:
        texts: typed passwords; encrypting adds their codes, decrypting takes
            them off.
        codes: raw codes as ``facersa pair`` prints them, added as they are.

    Raises:
        PasswordError: one string where a tuple of them belongs (each of its letters
            would be a password), a text that ``Password.from_text`` refuses, codes of
            different lengths, or more than ``MAX_TERMS`` in all. Said here because
            stretching the texts takes long.
    """

    texts: tuple[str, ...] = ()
    codes: tuple[Password, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.texts, str):
            raise PasswordError(
                "expected a tuple of passwords, got one string; write "
                "Secrets((password,))."
            )
        if len(self.texts) + len(self.codes) > MAX_TERMS:
            raise PasswordError(
                f"a sum may have at most {MAX_TERMS} passwords; use fewer."
            )
        for text in self.texts:
            spell(text)
        if self.codes:
            total(self.codes)

    def __repr__(self) -> str:
        return f"Secrets({len(self.texts)} texts, {len(self.codes)} codes)"

    def num_bits(self, wish: int | None = None, *, default: int = DEFAULT_BITS) -> int:
        """Length of the code: as wished, else as raw codes say, else ``default``.

        Raises:
            PasswordError: raw codes have another length than the one wished for.
        """
        own = self.codes[0].num_bits if self.codes else wish
        if wish not in (None, own):
            raise PasswordError(
                f"the raw codes have {own} bits, and {wish} were asked for; leave the "
                "number of bits out."
            )
        return default if own is None else own

    def password(
        self,
        *,
        salt: bytes,
        num_bits: int,
        decrypt: bool = False,
        scheme: int = SCHEME,
    ) -> Password:
        """The sum of all (property h); decrypting takes the typed ones off.

        Raises:
            PasswordError: nothing was given, or lengths differ.
        """
        typed = [
            Password.from_text(text, salt=salt, num_bits=num_bits, scheme=scheme)
            for text in self.texts
        ]
        if decrypt:
            typed = [password.inverse for password in typed]
        return total([*typed, *self.codes])
