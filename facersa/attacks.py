"""What an adversary would try who holds more than the picture."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def copy_row(ws: Tensor, layers: Sequence[int], source: int) -> Tensor:
    """Copy one unedited row over the edited ones: no password needed.

    Rows of one person's code resemble each other; in W they are equal. So
    whoever holds an edited *code* in clear has the person back, approximately
    for codes of photographs and exactly for codes in W. It works against the
    paper's setting too, where the edited code travels.

    Args:
        ws: (B, rows, D) edited codes.
        layers: the rows that were edited.
        source: a row that was not.

    Raises:
        ValueError: ``source`` is an edited row.
    """
    if source in layers:
        raise ValueError(f"row {source} is edited; copy from another one.")
    forged = ws.clone()
    forged[:, list(layers)] = ws[:, source : source + 1]
    return forged
