"""Tests of the shared tensor operations."""

from __future__ import annotations

import pytest
import torch

from facersa.ops import (
    check_shape,
    haar_analysis,
    haar_synthesis,
    mixed,
    pixel_centres,
    pixel_norm,
)


@pytest.mark.parametrize("able", [(), ("avx512_bf16",), ("amx_bf16",)])
def test_products_are_in_bfloat16_where_the_processor_has_it(
    able: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elsewhere they would take many times as long."""
    monkeypatch.setattr(
        torch.cpu, "get_capabilities", lambda: dict.fromkeys(able, True)
    )
    with mixed(torch.device("cpu")):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (torch.bfloat16 if able else torch.float32)


def test_haar_puts_each_band_where_the_published_corners_say() -> None:
    ll, lh, hl, hh = 8.0, 4.0, 2.0, 1.0
    bands = torch.tensor([ll, lh, hl, hh]).reshape(1, 4, 1, 1)
    expected = [
        [(ll + lh + hl + hh) / 2, (ll + lh - hl - hh) / 2],
        [(ll - lh + hl - hh) / 2, (ll - lh - hl + hh) / 2],
    ]
    assert haar_synthesis(bands)[0, 0].tolist() == expected


def test_haar_reads_channels_group_by_group() -> None:
    bands = torch.zeros(1, 8, 1, 1)
    bands[0, 5] = 2.0  # LL LL | LH HL HH of map 0 | LH HL HH of map 1
    image = haar_synthesis(bands)
    assert image[0, 0].abs().sum() == 0
    assert image[0, 1].tolist() == [[1.0, 1.0], [-1.0, -1.0]]


def test_haar_analysis_undoes_synthesis_and_keeps_energy() -> None:
    bands = torch.randn(2, 12, 5, 3)
    image = haar_synthesis(bands)
    assert image.shape == (2, 3, 10, 6)
    torch.testing.assert_close(haar_analysis(image), bands)
    torch.testing.assert_close(image.square().sum(), bands.square().sum())


def test_haar_refuses_odd_shapes() -> None:
    with pytest.raises(ValueError, match="4 \\* C"):
        haar_synthesis(torch.zeros(1, 6, 2, 2))
    with pytest.raises(ValueError, match="even"):
        haar_analysis(torch.zeros(1, 3, 5, 4))


def test_pixel_norm_has_unit_mean_square_and_a_gradient_at_zero() -> None:
    x = torch.randn(4, 512) * 7
    torch.testing.assert_close(pixel_norm(x).square().mean(1), torch.ones(4))
    zero = torch.zeros(1, 8, requires_grad=True)
    pixel_norm(zero).sum().backward()
    assert zero.grad is not None and zero.grad.isfinite().all()


def test_check_shape_names_what_came() -> None:
    check_shape(torch.zeros(2, 3), None, 3)
    with pytest.raises(
        ValueError, match=r"ws must have shape \(\*, 16\), got \(2, 3\)"
    ):
        check_shape(torch.zeros(2, 3), None, 16, name="ws")


def test_pixel_centres_are_x_and_y() -> None:
    centres = pixel_centres(2, 3, torch.zeros(0, dtype=torch.float64))
    assert centres.dtype == torch.float64 and centres.shape == (2, 3, 2)
    for row in range(2):
        for column in range(3):
            assert centres[row, column].tolist() == [column + 0.5, row + 0.5]
