"""Sheets: where pictures and labels lie."""

from __future__ import annotations

import pytest
import torch

from facersa.figures.sheets import contact_sheet

BLACK = torch.full((1, 3, 40, 60), -1.0)


def test_rows_of_pictures_on_white() -> None:
    sheet = contact_sheet([BLACK] * 3, columns=2, side=None)
    assert sheet.shape == (1, 3, 2 * 44 + 4, 2 * 64 + 4)
    assert (sheet == -1).sum() == 3 * 3 * 40 * 60
    assert sheet[0, :, 4:44, 4:64].max() == -1 and sheet[0, :, 48:, 68:].min() == 1


def test_labels_stand_under_pictures_of_the_width_asked_for() -> None:
    """A label that is too long ends with its picture."""
    sheet = contact_sheet([BLACK, BLACK], ["one " * 40, ""], columns=2, side=120)
    assert sheet.shape == (1, 3, 80 + 32 + 16, 2 * 128 + 8)
    band = sheet[0, 0, 8 + 80 :]
    assert band[:, 8:128].min() < -0.5 and band[:, 128:].min() == 1


def test_each_picture_has_a_label() -> None:
    with pytest.raises(ValueError, match="zip"):
        contact_sheet([BLACK, BLACK], ["one"])
