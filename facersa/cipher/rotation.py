"""The exact cipher: rotate the whitened code by angles linear in the password.

This is our own construction, not the paper's. Whitening maps w to
z = S^(-1/2) U^T (w - mean), where w looks like a standard normal. Consecutive
coordinates make 256 planes; in each the code is turned by an angle that is
linear in the password. Angles add, so passwords compose exactly and in any
order, and -e undoes e: the paper's properties (c), (f), (g) and (h) hold by
construction. A turned normal is normal, so the result is a typical code (a).

The plane's centre may be steered away from zero by a row that is not edited.
Such a row is the same before and after, so the group stays exact, while every
password but zero pushes the face away from the person (property b).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from facersa.cipher.base import Settings
from facersa.errors import PasswordError
from facersa.generator.statistics import WStatistics
from facersa.ops import check_shape

DEFAULT_LAYERS = (3, 4, 5, 6, 7, 8)
DEFAULT_CONTEXT = 12
DEFAULT_KAPPA = 0.15
MAX_KAPPA = 2  # faces are damaged from 0.5 on, and none is left at 2
TURN = 2**32  # angles are whole numbers of 2 pi / TURN, so sums of them are exact
EXACT = 2**53 // TURN  # float64 sums of up to so many half-columns are exact


@lru_cache(maxsize=32)
def half_columns(num_bits: int, row: int, planes: int) -> np.ndarray:
    """The public angle table of one row: (num_bits, planes) uint32.

    Entry (i, k) is the angle, in units of 2 pi / 2^32, by which plane k turns
    for each half in code entry i. It is drawn from SHAKE-256, so it is uniform,
    independent for every bit, row and plane, and the same on every platform.
    A bit flip moves each plane by twice its entry: uniform as well.
    """
    label = f"facersa rotation columns v1|bits={num_bits}|row={row}|planes={planes}"
    stream = hashlib.shake_256(label.encode()).digest(num_bits * planes * 4)
    return np.frombuffer(stream, dtype="<u4").reshape(num_bits, planes)


class RotationCipher(nn.Module):
    """Encrypt with a code e, decrypt with -e: ``cipher(ws, code) -> ws``.

    Args:
        statistics: of w; those in the package where none are given.
        layers: the rows that are edited, 0-based. The paper's "layers 6-9" are
            rows 5 to 8 here.
        num_bits: length N of the password code.
        kappa: how far the centre is pushed to the far side of the mean from
            the context row, 0 to ``MAX_KAPPA``; 0 is a plain rotation.
        context: the row, not an edited one, that steers the centre.

    Raises:
        ValueError: no layer, a repeated or negative one, an edited context, or kappa
            out of range.
    """

    name = "rotation"
    exact = True
    table: Tensor
    mean: Tensor
    whitener: Tensor
    colourer: Tensor

    def __init__(
        self,
        statistics: WStatistics | None = None,
        *,
        layers: Sequence[int] = DEFAULT_LAYERS,
        num_bits: int = 128,
        kappa: float = DEFAULT_KAPPA,
        context: int = DEFAULT_CONTEXT,
    ) -> None:
        super().__init__()
        stats = WStatistics.load() if statistics is None else statistics
        rows = tuple(sorted(layers))
        if not rows or rows[0] < 0 or len(set(rows)) != len(rows):
            raise ValueError(
                f"layers must be different rows from 0 up, got {tuple(layers)}."
            )
        if context < 0 or context in rows:
            raise ValueError(
                f"the context row {context} must not be one of the edited rows "
                f"{rows}; leave it out of them, or choose another context."
            )
        if not 0 <= kappa <= MAX_KAPPA:  # nor NaN
            raise ValueError(
                f"kappa must be from 0 to {MAX_KAPPA}, got {kappa}; leave it out for "
                "the usual one."
            )
        self.w_dim = stats.mean.numel()
        if self.w_dim % 2:
            raise ValueError(f"w must have an even size, got {self.w_dim}.")
        self.layers, self.num_bits = rows, num_bits
        self.kappa, self.context = float(kappa), context
        planes = self.w_dim // 2
        table = np.stack([half_columns(num_bits, row, planes) for row in rows], axis=1)
        # Buffers follow .to(device); none is learned and none needs saving.
        for name, value in {
            "table": torch.from_numpy(table.astype(np.float64)).flatten(1),
            "mean": stats.mean,
            "whitener": stats.whitener(),
            "colourer": stats.colourer(),
        }.items():
            self.register_buffer(name, value, persistent=False)

    @property
    def settings(self) -> Settings:
        """All that a file has to say: there are no weights."""
        return {
            "layers": list(self.layers),
            "num_bits": self.num_bits,
            "kappa": self.kappa,
            "context": self.context,
        }

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # .half() or .float() must not spoil the exactness: follow the device only.
        exact = dict(self.named_buffers())
        super()._apply(fn, recurse)
        for name, buffer in exact.items():
            setattr(self, name, buffer.to(getattr(self, name).device))
        return self

    def angles(self, code: Tensor) -> Tensor:
        """(B, N) codes to (B, rows, planes) angles in [0, 2 pi), float64.

        Exact: the sum is one of whole numbers, taken modulo one turn.

        Raises:
            PasswordError: a wrong length, or entries that are not halves.
        """
        if code.ndim != 2 or code.shape[1] != self.num_bits:
            raise PasswordError(
                f"expected a code of shape (B, {self.num_bits}), got "
                f"{tuple(code.shape)}; make it with num_bits={self.num_bits}."
            )
        halves = code.detach().to(self.table.device, torch.float64) * 2
        if not torch.equal(halves, halves.round()):
            raise PasswordError(
                "a code must hold multiples of 1/2; use Password.code as it is."
            )
        if halves.abs().sum(1).max() >= EXACT:
            raise PasswordError("this sum has too many passwords; use fewer.")
        units = (halves @ self.table).remainder(TURN)
        units = units.reshape(len(code), len(self.layers), -1)
        return units * (2 * math.pi / TURN)

    def forward(self, ws: Tensor, code: Tensor) -> Tensor:
        """Turn the edited rows of ``ws``; the others come back bit for bit.

        Args:
            ws: (B, rows, D) code of the faces, any float type; it is kept.
            code: (B, N) or (1, N) password code.

        Raises:
            ValueError: shapes that do not fit.
        """
        check_shape(ws, None, None, self.w_dim, name="ws")
        last = max(*self.layers, self.context)
        if ws.shape[1] <= last:
            raise ValueError(
                f"ws must have more than {last} rows to edit rows {self.layers} "
                f"about row {self.context}, got {ws.shape[1]}; pass the W+ code."
            )
        angles = self.angles(code)
        if len(code) not in (1, len(ws)):
            raise ValueError(
                f"expected one code or one for each of {len(ws)} faces, "
                f"got {len(code)}."
            )
        return self.turn(ws, angles)

    def coordinates(self, ws: Tensor) -> Tensor:
        """Where edited rows lie about their centres: (B, rows, planes, 2), float64."""
        rows = [*self.layers, self.context]
        z = (ws[:, rows].double() - self.mean) @ self.whitener
        # c = -kappa * z(context), so z - c = z + kappa * z(context)
        return (z[:, :-1] + self.kappa * z[:, -1:]).unflatten(-1, (-1, 2))

    def turn(self, ws: Tensor, angles: Tensor) -> Tensor:
        """Turn the edited rows of ``ws`` by angles (B or 1, rows, planes)."""
        x, y = self.coordinates(ws).unbind(-1)
        sine, less_cosine = angles.sin(), -2 * (angles / 2).sin().square()
        # Only the change is computed, so that the zero code changes no bit.
        moved = torch.stack(
            [less_cosine * x - sine * y, sine * x + less_cosine * y], dim=-1
        )
        rows = list(self.layers)
        delta = moved.flatten(-2) @ self.colourer
        edited = (ws[:, rows].double() + delta).to(ws.dtype)
        return ws.index_copy(1, torch.tensor(rows, device=ws.device), edited)
