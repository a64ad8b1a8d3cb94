"""Tests of bits in the pixels."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest
import torch
from PIL import Image

from facersa.errors import ImageError
from facersa.judges.metrics import psnr
from facersa.photo import images
from facersa.photo.images import from_uint8, jpeg_bytes, to_levels, to_uint8
from facersa.sealing.watermark import CAPACITY, SPREAD, _layout, embed, read

BITS = np.random.default_rng(0).integers(0, 2, CAPACITY, dtype=np.uint8)


@pytest.fixture(scope="module")
def marked(astronaut: torch.Tensor) -> torch.Tensor:
    return embed(astronaut, BITS)


def wrong(image: torch.Tensor) -> float:
    return float(((read(image) > 0) != BITS).mean())


def test_bits_come_back_exactly(marked: torch.Tensor) -> None:
    assert wrong(marked) == 0
    assert np.abs(read(marked)).min() > 0.5


def test_the_mark_is_faint_and_of_whole_levels(
    astronaut: torch.Tensor, marked: torch.Tensor
) -> None:
    assert 44 < psnr(marked, astronaut).item() < 48
    assert torch.equal(from_uint8(to_uint8(marked)), marked)
    assert marked.abs().max() <= 1


def test_a_photograph_of_grey_levels_is_marked_in_bands(
    astronaut: torch.Tensor, marked: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "BAND_PIXELS", 1)
    levels = embed(to_levels(astronaut), BITS)
    assert levels.dtype == torch.uint8
    difference = (levels.int() - to_levels(marked).int()).abs()
    assert difference.max() <= 1 and difference.float().mean() < 1e-4
    np.testing.assert_allclose(read(levels), read(marked), atol=0.02)


def test_jpeg_turns_few_bits(marked: torch.Tensor) -> None:
    shares = []
    for quality in (95, 75, 40):
        with Image.open(io.BytesIO(jpeg_bytes(marked, quality=quality))) as opened:
            shares.append(wrong(from_uint8(np.asarray(opened))))
    assert shares[0] == 0 and shares[1] < 0.01
    assert shares[1] < shares[2]


@pytest.mark.parametrize(
    ("size", "method"),
    [((512, 512), 3), ((512, 512), 1), ((700, 640), 3), ((1500, 1500), 2)],
)
def test_another_size_of_a_large_picture(
    astronaut: torch.Tensor, size: tuple[int, int], method: int
) -> None:
    large = torch.nn.functional.interpolate(
        astronaut, (1024, 1024), mode="bicubic", antialias=True
    ).clamp(-1, 1)
    picture = Image.fromarray(to_uint8(embed(large, BITS))[0])
    scaled = picture.resize(size, Image.Resampling(method))
    assert wrong(from_uint8(np.asarray(scaled))) < 0.005


def test_any_shape_will_do(astronaut: torch.Tensor) -> None:
    assert wrong(embed(astronaut[..., 60:460, :], BITS)) == 0


def test_an_unmarked_picture_reads_as_noise(astronaut: torch.Tensor) -> None:
    assert 0.45 < wrong(astronaut) < 0.55
    assert np.square(read(astronaut)).mean() < 0.55


def test_black_and_white_leave_room_for_half_a_wave_only() -> None:
    """Clipping costs bits, but not many."""
    for level in (-1.0, 1.0):
        assert wrong(embed(torch.full((1, 3, 600, 600), level), BITS)) < 0.2


def test_what_does_not_fit_is_refused(astronaut: torch.Tensor) -> None:
    with pytest.raises(ImageError, match="too small"):
        embed(astronaut[..., :200, :], BITS)
    with pytest.raises(ValueError, match="bits"):
        embed(astronaut, BITS[:-1])
    with pytest.raises(ValueError, match="image must have shape"):
        read(astronaut[0])


def test_the_places_never_change() -> None:
    """Pictures out there were marked in these places."""
    places, signs, dither = _layout()
    assert places.shape == signs.shape == (CAPACITY, SPREAD)
    assert len(np.unique(places)) == places.size
    digest = hashlib.sha256(places.astype("<i8").tobytes())
    digest.update((signs > 0).tobytes() + dither.astype("<f8").tobytes())
    assert digest.hexdigest()[:16] == "4111a38de6cd9013"
