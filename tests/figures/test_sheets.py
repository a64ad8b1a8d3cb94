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
    """A label that is too long goes on in the next line."""
    one = contact_sheet([BLACK, BLACK], ["one", ""], columns=2, side=120)
    sheet = contact_sheet([BLACK, BLACK], ["one " * 8, ""], columns=2, side=120)
    assert one.shape == (1, 3, 80 + 32 + 16, 2 * 128 + 8)
    assert sheet.shape[2] > one.shape[2] and sheet.shape[3] == one.shape[3]
    for band in (one[0, 0, 8 + 80 :], sheet[0, 0, 8 + 80 :]):
        assert band[:, 8:128].min() < -0.5 and band[:, 128:].min() == 1


def test_a_long_word_makes_all_letters_smaller() -> None:
    """And none is cut off: the last columns of the tile stay white."""
    sheet = contact_sheet([BLACK], ["deanonymisation"], columns=1, side=120, letters=40)
    band = sheet[0, 0, 8 + 80 :]
    assert band[:, 8:124].min() < -0.5 and band[:, 126:].min() == 1


@pytest.mark.parametrize("sign", "×ψκ²−′→½")
def test_the_signs_of_the_book_have_a_picture_of_their_own(sign: str) -> None:
    drawn, missing = (
        contact_sheet([BLACK], [text], columns=1) for text in (sign, "\uffff")
    )
    assert not torch.equal(drawn, missing)


@pytest.mark.parametrize("columns", [2, 4, 5])
def test_labels_can_be_read_on_a_phone(columns: int) -> None:
    sheet = contact_sheet([BLACK] * columns, ["H"] * columns, columns=columns, side=240)
    rows = (sheet[0, 0, 8 + 160 :] < 0).any(dim=1).sum()  # height of a capital letter
    assert rows * 358 / sheet.shape[-1] > 6  # CSS pixels, of letters of nine


def test_each_picture_has_a_label() -> None:
    with pytest.raises(ValueError, match="zip"):
        contact_sheet([BLACK, BLACK], ["one"])
