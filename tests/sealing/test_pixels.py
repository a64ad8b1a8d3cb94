"""Tests of the code in the pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from reedsolo import RSCodec

from facersa.cipher import password as password_module
from facersa.cipher.password import Password
from facersa.errors import SealedError
from facersa.generator.statistics import WStatistics
from facersa.judges.metrics import psnr
from facersa.photo.images import decode_image, jpeg_bytes, png_bytes, resize
from facersa.photo.square import Aligned
from facersa.sealing.compact import CompactCode
from facersa.sealing.pixels import (
    BLOCK_BYTES,
    CODE_BITS,
    DATA_BYTES,
    NONCE,
    PARITY,
    VERSION,
    _corrected,
    _message,
    _pack_settings,
    _unpack_settings,
    find,
    write,
)
from facersa.sealing.sealed import Sealed, conceal
from facersa.sealing.watermark import CAPACITY

STATS, TABLE = WStatistics.load(), CompactCode.load()
E, SALT = Password.random(128, seed=0), bytes(range(16))
ROTATION: dict[str, Any] = {
    "cipher": "rotation",
    "layers": [3, 4, 5, 6, 7, 8],
    "num_bits": 128,
    "kappa": 0.15,
    "context": 12,
}
RING = {"cipher": "ring", "num_bits": 16, "weights": "0123456789abcdef"}
SQUARE = {"quad": [[100, 50], [80, 250], [280, 270], [300, 70]]}
PLACE: dict[str, Any] = SQUARE | {"photo_size": [512, 512]}


@pytest.fixture(autouse=True)
def quick_argon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(password_module, "ARGON2_MEMORY_KIB", 64)


def person() -> torch.Tensor:
    z = torch.randn(1, 1, 512, generator=torch.Generator().manual_seed(0))
    return STATS.unwhiten(0.85 * z.expand(1, 16, 512)).float()


def hidden(**change: Any) -> Sealed:
    values: dict[str, Any] = {
        "salt": SALT,
        "params": ROTATION,
        "geometry": PLACE,
        "prior": TABLE,
        "nonce": NONCE,
    }
    return conceal(person(), E, **(values | change))


@pytest.fixture(scope="module")
def marked(astronaut: torch.Tensor) -> torch.Tensor:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(password_module, "ARGON2_MEMORY_KIB", 64)
        image = write(astronaut, hidden())
        assert image is not None
        return image


def test_what_is_written_is_found(marked: torch.Tensor) -> None:
    found, want = find(marked), hidden()
    assert found.params == ROTATION and found.salt == SALT
    np.testing.assert_allclose(found.geometry["quad"], SQUARE["quad"], atol=1e-3)
    rounded = TABLE.quantise(person(), STATS)
    assert torch.equal(found.code(E), rounded)
    assert torch.equal(found.code(E.inverse), want.code(E))


def test_a_wrong_password_is_not_noticed(marked: torch.Tensor) -> None:
    wrong = find(marked).code(Password.random(128, seed=1))
    z, right = (STATS.whiten(x).flatten() for x in (wrong, person()))
    assert torch.cosine_similarity(z, right, dim=0).abs() < 0.2
    assert 0.5 < z.square().mean() < 1.2  # as far out as people are


@pytest.mark.parametrize("params", [ROTATION, RING])
@pytest.mark.parametrize("geometry", [{}, PLACE])
def test_settings_come_back(params: dict[str, Any], geometry: dict[str, Any]) -> None:
    body = _pack_settings(VERSION, params, SALT, geometry)
    found, salt, place = _unpack_settings(body, (512, 512))
    assert (found, salt) == (params, SALT)
    assert bool(place) == bool(geometry)


@pytest.mark.parametrize(
    ("flag", "value", "bit"),
    [("others", [SQUARE["quad"]], 0x40), ("detail", True, 0x20)],
)
def test_neighbours_and_kept_detail_are_told_of_by_one_bit_each(
    flag: str, value: Any, bit: int
) -> None:
    near = PLACE | {flag: value}
    plain, flagged = (_pack_settings(VERSION, ROTATION, SALT, g) for g in (PLACE, near))
    assert [a ^ b for a, b in zip(plain, flagged, strict=True) if a != b] == [bit]
    assert flag not in _unpack_settings(plain, (512, 512))[2]
    found, _, place = _unpack_settings(flagged, (512, 512))
    assert found == ROTATION and place[flag] is True
    assert set(place) == {"quad", "photo_size", flag}


def test_the_place_follows_the_size_of_the_picture() -> None:
    body = _pack_settings(VERSION, ROTATION, SALT, PLACE)
    place = _unpack_settings(body, (1024, 1024))[2]
    np.testing.assert_allclose(
        place["quad"], 2 * np.array(SQUARE["quad"]), rtol=0, atol=1e-3
    )
    Aligned.from_dict(place, torch.zeros(1, 3, 8, 8))  # a square, so accepted


def test_turned_bits_are_corrected_up_to_a_limit() -> None:
    rng = np.random.default_rng(0)
    message = _message(hidden())
    coded = RSCodec(PARITY, nsize=BLOCK_BYTES).encode(message)
    bits = np.unpackbits(np.frombuffer(coded, np.uint8))
    reading = np.zeros(CAPACITY)
    reading[: len(bits)] = (bits - 0.5) * 2 * rng.uniform(0.5, 1, len(bits))
    assert _corrected(reading) == message and len(message) == DATA_BYTES
    few = reading * np.where(rng.random(CAPACITY) < 0.012, -1, 1)
    assert _corrected(few) == message
    doubtful = np.where(rng.random(CAPACITY) < 0.024, -0.01 * reading, reading)
    assert _corrected(doubtful) == message  # too many to find, but known to be doubtful
    many = reading * np.where(rng.random(CAPACITY) < 0.1, -1, 1)
    assert _corrected(many) is None


def test_plain_pictures_hold_no_code(astronaut: torch.Tensor) -> None:
    with pytest.raises(SealedError, match="no code can be read"):
        find(astronaut)


def test_a_checksum_finds_what_was_corrected_wrongly() -> None:
    message = bytearray(_message(hidden()))
    message[300] ^= 1
    coded = RSCodec(PARITY, nsize=BLOCK_BYTES).encode(bytes(message))
    reading = np.zeros(CAPACITY)
    reading[: 8 * len(coded)] = np.unpackbits(np.frombuffer(coded, np.uint8)) - 0.5
    assert _corrected(reading) is None


def test_other_versions_and_ciphers_ask_for_an_upgrade(
    marked: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in (0, 1):
        message = bytearray(_message(hidden()))
        message[place] = 9
        monkeypatch.setattr(
            "facersa.sealing.pixels._corrected", lambda _, m=message: bytes(m)
        )
        with pytest.raises(SealedError, match="upgrade"):
            find(marked)


def test_the_mark_is_as_faint_as_the_picture_allows(
    astronaut: torch.Tensor, marked: torch.Tensor
) -> None:
    large = resize(astronaut, 1024)
    mark = write(large, hidden())
    assert mark is not None
    assert psnr(mark, large).item() > psnr(marked, astronaut).item() + 1
    for changed in (jpeg_bytes(mark, quality=75), png_bytes(resize(mark, 512))):
        assert find(decode_image(changed)).payload == hidden().payload
    pressed = decode_image(jpeg_bytes(marked, quality=75))
    assert find(pressed).payload == hidden().payload


def test_pictures_too_small_or_thin_to_read_are_not_looked_at() -> None:
    with pytest.raises(SealedError, match="no code can be read"):
        find(torch.zeros(1, 3, 3_000_000, 1, dtype=torch.uint8))  # six gigabytes, once


def test_small_pictures_hold_none(astronaut: torch.Tensor) -> None:
    assert write(astronaut[..., :200, :200], hidden()) is None


def test_only_compact_codes_fit(astronaut: torch.Tensor) -> None:
    assert TABLE.num_bits == CODE_BITS
    with pytest.raises(ValueError, match="compact"):
        write(astronaut, hidden(prior=None))
    with pytest.raises(ValueError, match="compact"):
        write(astronaut, hidden(nonce=bytes(12)))
