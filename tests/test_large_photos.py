"""Whole photographs: no copy of one as floats, and a bound on what commands take."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from large_photos import cost, save_large_photo
from torch import Tensor
from torch.overrides import TorchFunctionMode

from facersa.photo import images
from facersa.photo.background import match_background
from facersa.photo.images import decode_photo, is_grey, png_bytes
from facersa.photo.paste import paste
from facersa.photo.square import crop, rescale
from facersa.sealing.watermark import CAPACITY, embed, read

HEIGHT, WIDTH = 1800, 3000
QUAD = np.array([[100.0, 100], [100, 1500], [1500, 1500], [1500, 100]])


class Largest(TorchFunctionMode):
    """Notes the bytes of the largest tensor of floats that is computed."""

    size = 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.is_floating_point():
            self.size = max(self.size, result.nbytes)
        return result


@pytest.fixture(scope="module")
def photo() -> Tensor:
    """(1, 3, HEIGHT, WIDTH) uint8, grey, so that no search ends early."""
    levels = np.random.default_rng(0).integers(60, 200, (HEIGHT, WIDTH, 1))
    return torch.from_numpy(levels.astype(np.uint8).repeat(3, 2)).permute(2, 0, 1)[None]


def ones() -> Tensor:
    return torch.ones(1, 3, 64, 64)


WAYS: dict[str, Callable[[Tensor], object]] = {
    "is_grey": is_grey,
    "rescale": lambda photo: rescale(photo, 0.1),
    "crop": lambda photo: crop(photo, QUAD, 128),
    "crop beyond": lambda photo: crop(photo, QUAD - 300, 128),
    "paste": lambda photo: paste(photo, -ones(), crop(photo, QUAD, 8), replaces=ones()),
    "match_background": lambda photo: match_background(
        ones(), torch.ones(1, 1, 8, 8), photo, crop(photo, QUAD, 8)
    ),
    "embed": lambda photo: embed(photo, np.zeros(CAPACITY)),
    "read": read,
    "decode and encode": lambda photo: decode_photo(png_bytes(photo)),
}


@pytest.mark.parametrize("way", WAYS)
def test_no_copy_of_a_whole_photograph_is_of_floats(
    way: str, photo: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a copy is four times as large as the photograph. One of uint8 is fine."""
    monkeypatch.setattr(images, "BAND_PIXELS", 2**16)
    WAYS[way](photo[..., :600, :600])  # what is loaded once is loaded now
    tracemalloc.start()
    try:
        with Largest() as largest:
            WAYS[way](photo)
        arrays = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert largest.size < photo.nbytes
    assert arrays < 2.5 * photo.nbytes


def test_what_a_command_takes_is_not_what_its_parent_took() -> None:
    taken = np.ones(2**27)  # one GiB
    assert cost("--version").peak < 0.5
    assert taken.nbytes == 2**30


@pytest.mark.slow
def test_commands_on_24_megapixels_stay_within_three_gib(
    tmp_path: Path,
) -> None:
    """The networks alone take about 2."""
    photo, sealed, back = (tmp_path / name for name in ("a.jpg", "b.png", "c.png"))
    save_large_photo(photo, 6000, 4000)
    assert cost("encrypt", photo, "-o", sealed, "--steps", 0).peak < 3
    assert cost("decrypt", sealed, "-o", back).peak < 3
    assert cost("decrypt", sealed, "-o", back, "--from-pixels").peak < 3
