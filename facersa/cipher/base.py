"""The contract of a cipher, and what all ciphers share: input checks and editing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from facersa.errors import PasswordError
from facersa.generator.statistics import WStatistics
from facersa.ops import check_shape

W_DIM = 512
MAX_ROWS = 64  # of a code that a cipher edits
SLOPE = 0.01  # of every LeakyReLU, as published
Settings = Mapping[str, Any]  # plain JSON values


class Cipher(Protocol):
    """Edits the identity rows of codes: ``cipher(ws, code) -> ws``.

    One call serves both ways: the code e encrypts and -e decrypts. ``ws`` is
    (B, rows, D), ``code`` (B, N) or (1, N), and rows that are not edited come back
    bit for bit.
    """

    @property
    def name(self) -> str:
        """As on the command line, in files and in ``catalogue.CATALOGUE``."""

    @property
    def num_bits(self) -> int:
        """Length N of a password code."""

    @property
    def layers(self) -> tuple[int, ...]:
        """The rows that are edited, 0-based."""

    @property
    def exact(self) -> bool:
        """Whether -e undoes e and a sum does what its chain does, by construction."""

    @property
    def settings(self) -> Settings:
        """What rebuilds the cipher, together with its weights if it has some."""

    def __call__(self, ws: Tensor, code: Tensor) -> Tensor:
        """Encrypt or decrypt."""


class LearnedCipher(nn.Module):
    """What the trained ciphers share; a subclass gives ``change``.

    Attributes:
        config: a frozen dataclass with ``num_bits``, ``layers`` and perhaps
            ``context``, rows that are read and not edited.
    """

    name: ClassVar[str]
    exact: ClassVar[bool]

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.layers: tuple[int, ...] = config.layers
        self.context: tuple[int, ...] = getattr(config, "context", ())
        self.num_bits: int = config.num_bits
        check_layers(self.layers, self.context)

    @property
    def settings(self) -> Settings:
        """The configuration as plain JSON values."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self.config).items()
        }

    def register_axes(
        self, statistics: WStatistics | None, axes: int, dtype: torch.dtype
    ) -> None:
        """Buffers of the leading axes: mean (D,), read (D, axes), write (axes, D).

        ``statistics`` are of w; those in the package where none are given.
        """
        stats = WStatistics.load() if statistics is None else statistics
        if not 1 <= axes <= len(stats.mean):
            raise ValueError(f"axes go from 1 to {len(stats.mean)}, got {axes}.")
        self.register_buffer("mean", stats.mean.to(dtype), persistent=False)
        self.register_buffer("read", stats.whitener(axes).to(dtype), persistent=False)
        self.register_buffer("write", stats.colourer(axes).to(dtype), persistent=False)

    def change(self, ws: Tensor, code: Tensor) -> Tensor:
        """M(w, p): (B, rows of ``ws``, 512) and (B, N) to (B, edited rows, 512)."""
        raise NotImplementedError

    def step(self, ws: Tensor, code: Tensor) -> Tensor:
        """What is added to the edited rows; M(w, p) where nothing scales it."""
        return self.change(ws, code)

    def forward(self, ws: Tensor, code: Tensor) -> Tensor:
        """Edit ``layers`` of ``ws`` (B, rows, 512); the others come back as they are.

        Args:
            ws: codes of the faces.
            code: (B, N) or (1, N) password codes, or sums of such.

        Raises:
            PasswordError: codes of another length or number.
            ValueError: ``ws`` of another shape.
        """
        check_ws(ws, (*self.layers, *self.context))
        step = self.step(ws, check_code(code, ws, self.num_bits))
        return add_rows(ws, self.layers, step)

    def without_context(self, ws: Tensor, code: Tensor) -> Tensor:
        """``forward`` as far as it reads edited rows only: what a student can learn."""
        return self(ws, code)


def check_layers(layers: tuple[int, ...], context: tuple[int, ...] = ()) -> None:
    """Raise ``ValueError`` unless the rows differ and no context row is edited."""
    rows = [*layers, *context]
    inside = all(type(row) is int and 0 <= row < MAX_ROWS for row in rows)
    if not layers or not inside or len(set(rows)) != len(rows):
        raise ValueError(
            f"layers {layers} and context {context} must be different rows from 0 "
            f"to {MAX_ROWS - 1}, and at least one layer; choose others."
        )


def check_code(code: Tensor, ws: Tensor, num_bits: int) -> Tensor:
    """The (B, N) code for ``ws`` (B, rows, 512); one code for all is repeated.

    Raises:
        PasswordError: another length or number of codes.
    """
    if code.ndim != 2 or code.shape[1] != num_bits or len(code) not in (1, len(ws)):
        raise PasswordError(
            f"expected codes of shape (1 or {len(ws)}, {num_bits}), got "
            f"{tuple(code.shape)}; make them with num_bits={num_bits}."
        )
    return code.to(ws).expand(len(ws), -1)


def check_ws(ws: Tensor, rows: tuple[int, ...]) -> None:
    """Raise ``ValueError`` unless ``ws`` (B, rows, 512) has all of ``rows``."""
    check_shape(ws, None, None, W_DIM, name="ws")
    if ws.shape[1] <= max(rows):
        raise ValueError(
            f"ws must have more than {max(rows)} rows, got {ws.shape[1]}; pass the "
            "W+ code."
        )


def add_rows(ws: Tensor, layers: tuple[int, ...], change: Tensor) -> Tensor:
    """``ws`` (B, rows, D) with ``change`` (B, len(layers), D) added to ``layers``."""
    index = torch.tensor(layers, device=ws.device)
    return ws.index_add(1, index, change.to(ws.dtype))
