"""What every mapper does to a code: checks of its input, and rows that change."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from facersa.errors import PasswordError
from facersa.ops import check_shape

W_DIM = 512

SLOPE = 0.01  # of every LeakyReLU, as published


def check_layers(layers: tuple[int, ...], context: tuple[int, ...] = ()) -> None:
    """Raise ``ValueError`` unless the rows differ and no context row is edited."""
    rows = [*layers, *context]
    if not layers or min(rows) < 0 or len(set(rows)) != len(rows):
        raise ValueError(
            f"layers {layers} and context {context} must be different rows from 0 "
            "up, and at least one layer; choose others."
        )


def check_code(code: Tensor, ws: Tensor, num_bits: int) -> Tensor:
    """The (B, N) code for ``ws`` (B, rows, 512), one for all being repeated.

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


Cipher = Callable[[Tensor, Tensor], Tensor]
