from __future__ import annotations

import hashlib
import json
import struct
import zlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from facersa.cipher import password as password_module
from facersa.cipher.password import Password, total
from facersa.errors import PasswordError, SealedError
from facersa.generator.statistics import WStatistics
from facersa.photo.images import png_bytes, read_png_chunks
from facersa.sealing.chunk import CHUNK, pack, seal, unpack, unseal, unseal_all
from facersa.sealing.compact import CompactCode
from facersa.sealing.prior import NormalPrior
from facersa.sealing.sealed import (
    HEAD,
    MAX_DETAIL,
    VERSION,
    Sealed,
    conceal,
    lay_open,
)

STATS = WStatistics.load()
SALT = bytes(range(16))
E = Password.random(128, seed=0)
PARAMS = {"cipher": "rotation", "layers": [3, 4, 5], "num_bits": 128, "kappa": 0.15}
GEOMETRY = {"quad": [0.5, 1.25, 2.0, 3.0, 4.0, 5.0, 6.0, 7.125]}
IMAGE = torch.rand(1, 3, 12, 20, generator=torch.Generator().manual_seed(0)) * 2 - 1
PLAIN = png_bytes(IMAGE)


@pytest.fixture(autouse=True)
def quick_argon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(password_module, "ARGON2_MEMORY_KIB", 64)


def person(seed: int = 0) -> torch.Tensor:
    """A code (1, 16, 512): one person's row, and differences between rows."""
    generator = torch.Generator().manual_seed(seed)
    z = 0.85 * torch.randn(1, 1, 512, generator=generator)
    z = z + 0.5 * torch.randn(1, 16, 512, generator=generator)
    return STATS.unwhiten(z).float()


def made(mode: str, **change: Any) -> Sealed:
    values: dict[str, Any] = {"salt": SALT, "params": PARAMS, "geometry": GEOMETRY}
    if mode == "open":
        return lay_open(person(), **(values | change))
    values |= {"password": E, "mode": mode}
    return conceal(person(), **(values | change))


def sealed_file(mode: str, **change: Any) -> bytes:
    return seal(IMAGE, made(mode, **change))


def packed(mode: str = "ambiguous", **change: Any) -> bytes:
    nonce = {} if mode == "open" else {"nonce": bytes(12)}
    return pack(made(mode, **(nonce | change)))


def resealed(body: bytes) -> bytes:
    """A chunk whose digest was put right again."""
    return body[:-32] + hashlib.sha256(body[:-32]).digest()


def forged(body: bytes, **change: Any) -> bytes:
    """The same body with other notes in its header, and a digest that fits."""
    head = list(HEAD.unpack_from(body))
    start = HEAD.size + 28
    notes = json.loads(body[start : start + head[4]]) | change
    text = json.dumps(notes).encode()
    rest = body[start + head[4] : -32]
    new = HEAD.pack(*head[:4], len(text)) + body[HEAD.size : start] + text + rest
    return new + hashlib.sha256(new).digest()


def test_open_round_trip_is_exact() -> None:
    found = unseal(sealed_file("open"))
    assert (found.mode, found.salt) == ("open", SALT)
    assert (found.params, found.geometry) == (PARAMS, GEOMETRY)
    assert torch.equal(found.code(), person())
    assert torch.equal(found.code(Password.random(128)), person())


def test_ambiguous_round_trip_gives_the_rounded_code() -> None:
    found = unseal(sealed_file("ambiguous"))
    assert (found.mode, found.salt) == ("ambiguous", SALT)
    assert (found.params, found.geometry) == (PARAMS, GEOMETRY)
    rounded = NormalPrior().quantise(person(), STATS)
    assert torch.equal(found.code(E), rounded)
    assert (STATS.whiten(rounded) - STATS.whiten(person())).abs().max() < 0.05
    again = sealed_file("ambiguous")
    assert again != sealed_file("ambiguous")  # a fresh nonce
    assert torch.equal(unseal(again).code(E), rounded)


def test_either_of_a_pair_opens_it_and_sums_commute() -> None:
    a, b, c = (Password.random(128, seed=seed) for seed in (1, 2, 3))
    found = unseal(sealed_file("ambiguous", password=total([a, b, c])))
    rounded = NormalPrior().quantise(person(), STATS)
    for password in (
        total([c, a, b]),
        total([b.inverse, a.inverse, c.inverse]),
        total([b, c, a]).inverse,
    ):
        assert torch.equal(found.code(password), rounded)
    for password in (total([a, b]), total([a, b, c.inverse]), a):
        assert not torch.allclose(found.code(password), rounded, atol=0.5)


def test_it_knows_which_of_the_pair_sealed_it() -> None:
    coins = set()
    for sealing in (E, E.inverse):
        found = unseal(sealed_file("ambiguous", password=sealing))
        for password in (E, E.inverse):
            ws, used = found.person(password)
            assert used == sealing and torch.equal(ws, found.code(password))
        for seed in range(1, 6):
            wrong = Password.random(128, seed=seed)
            _, used = found.person(wrong)
            assert used in (wrong, wrong.inverse)
            coins.add(used == wrong)
    assert coins == {True, False}


def test_a_wrong_password_gives_another_person(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No error, and codes spread like the prior's."""
    monkeypatch.setattr(
        "facersa.sealing.sealed.secrets.token_bytes", bytes
    )  # the same dice
    found, right = unseal(sealed_file("ambiguous")), STATS.whiten(person())[0]
    wrong = [E.flip(0), E.flip(64), E.flip(127)]
    wrong += [Password.random(128, seed=seed) for seed in range(1, 10)]
    codes = torch.cat([found.code(password) for password in wrong])
    assert codes.isfinite().all() and codes.dtype == torch.float32
    z = STATS.whiten(codes)
    spread = (sum(scale**2 for scale in NormalPrior().scales) / 16) ** 0.5
    assert z.mean().abs() < 0.03 and abs(z.std() / spread - 1) < 0.04
    assert (z.abs() > 4).double().mean() < 4e-3
    x = NormalPrior().standardise(codes, STATS).flatten().sort().values
    share = (torch.arange(len(x)) + 0.5) / len(x)
    assert (torch.special.ndtr(x) - share).abs().max() < 0.008  # Kolmogorov-Smirnov
    cosine = torch.cosine_similarity(z.flatten(1), right.flatten()[None], dim=-1)
    assert cosine.abs().max() < 0.2


def test_a_plain_picture_has_no_code() -> None:
    with pytest.raises(SealedError, match="use the original file"):
        unseal(PLAIN)


def test_the_picture_is_a_plain_picture() -> None:
    chunks, plain = read_png_chunks(sealed_file("ambiguous")), read_png_chunks(PLAIN)
    assert [chunk for chunk in chunks if chunk[0] != CHUNK] == plain
    assert len(chunks) == len(plain) + 1
    assert {kind for kind, _ in plain} == {b"IHDR", b"IDAT", b"IEND"}


def test_the_code_is_not_in_an_ambiguous_file_in_clear() -> None:
    plain = NormalPrior().encode(person()[0], STATS).astype(">u2").tobytes()
    hidden = unpack(packed()).payload
    assert len(hidden) == len(plain) + 1 == 16 * 512 * 2 + 1
    differing = np.frombuffer(hidden[:-1], np.uint8) ^ np.frombuffer(plain, np.uint8)
    assert abs(np.unpackbits(differing).mean() - 0.5) < 0.01
    assert packed(nonce=bytes(11) + b"\1")[-1000:-32] != packed()[-1000:-32]


def test_a_sealed_code_opens_for_its_pair_only() -> None:
    found = unseal(sealed_file("sealed"))
    assert (found.mode, len(found.payload)) == ("sealed", 16 * 512 * 2 + 1 + 16)
    rounded = NormalPrior().quantise(person(), STATS)
    for password in (E, E.inverse):
        ws, used = found.person(password)
        assert torch.equal(ws, rounded) and used == E
    for wrong in (E.flip(0), E.flip(127), Password.random(128, seed=1)):
        with pytest.raises(PasswordError, match="password is wrong"):
            found.code(wrong)


DETAIL = bytes(range(256))


@pytest.mark.parametrize("mode", ["ambiguous", "sealed"])
def test_detail_comes_back_under_the_password_alone(mode: str) -> None:
    found = unseal(sealed_file(mode, detail=DETAIL))
    assert found.mode == mode and DETAIL not in pack(found)
    for password in (E, E.inverse):
        ws, used, detail = found.reveal(password)
        assert (detail, used) == (DETAIL, E)
        assert torch.equal(found.person(password)[0], ws)
    assert pack(found)[0] == VERSION and packed(mode)[0] == VERSION - 1
    assert unseal(sealed_file(mode)).reveal(E).detail == b""
    if mode == "ambiguous":
        ws, _, detail = found.reveal(E.flip(3))
        assert detail == b"" and ws.isfinite().all()


def test_changed_or_exchanged_detail_is_left_out_and_the_code_stays() -> None:
    one, other = (
        made("ambiguous", detail=DETAIL, salt=bytes([k]) * 16) for k in (1, 2)
    )
    changed = bytes([one.detail[0] ^ 1]) + one.detail[1:]
    elsewhere = one.geometry | {"oval": [1] * 6}
    for bad in (
        replace(one, detail=changed),
        replace(one, detail=other.detail),
        replace(one, geometry=elsewhere),
    ):
        revealed = unpack(pack(bad)).reveal(E)
        assert revealed.detail == b"" and torch.equal(revealed.ws, one.reveal(E).ws)
    beside = one.geometry | {"others": [[[0, 0], [0, 1], [1, 1], [1, 0]]]}
    assert unpack(pack(replace(one, geometry=beside))).reveal(E).detail == DETAIL


def test_detail_of_a_senseless_length_is_refused() -> None:
    with pytest.raises(ValueError, match="bytes of detail"):
        made("ambiguous", detail=bytes(MAX_DETAIL))
    body = packed(detail=DETAIL)
    for old, new in (
        (b'"detail":272', b'"detail":271'),
        (b'"detail":272', b'"detail":1e2'),
        (b'"detail":272', b'"detall":272'),
    ):
        assert old in body
        with pytest.raises(SealedError, match="makes no sense"):
            unpack(resealed(body.replace(old, new)))
    opened = bytearray(packed("open"))
    opened[0] = VERSION
    with pytest.raises(SealedError, match="makes no sense"):
        unpack(resealed(bytes(opened)))


def test_a_forged_sealed_code_is_refused_and_an_ambiguous_one_is_not() -> None:
    """Who knows what is hidden can write something else, where no tag forbids it."""
    prior, victim = NormalPrior(), person(1)
    known = prior.to_bytes(person()[0], E.is_canonical, STATS)
    wanted = prior.to_bytes(victim[0], E.is_canonical, STATS)
    change = bytes(a ^ b for a, b in zip(known, wanted, strict=True))

    def swapped(sealed: Sealed) -> Sealed:
        rest = sealed.payload[len(change) :]
        mixed = bytes(a ^ b for a, b in zip(sealed.payload, change, strict=False))
        return replace(sealed, payload=mixed + rest)

    brought = unpack(pack(swapped(made("ambiguous")))).code(E)
    assert torch.equal(brought, prior.quantise(victim, STATS))
    with pytest.raises(PasswordError, match="was changed"):
        unpack(pack(swapped(made("sealed")))).code(E)


@pytest.mark.parametrize(
    "change",
    [
        {"params": PARAMS | {"kappa": 0.2}},
        {"geometry": GEOMETRY | {"photo_size": [9, 9]}},
        {"salt": bytes(16)},
        {"nonce": bytes(11) + b"\1"},
        {"shape": (512, 16)},
        {"scheme": 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_tag_covers_all_but_the_neighbours(change: dict[str, Any]) -> None:
    sealed = made("sealed")
    with pytest.raises(PasswordError, match="was changed"):
        replace(sealed, **change).code(E)
    beside = replace(sealed, geometry=GEOMETRY | {"others": [[0.0, 1.0]]})
    assert torch.equal(beside.code(E), sealed.code(E))


def test_a_typed_password_counts_in_full_where_its_code_is_short() -> None:
    """Two texts with one code of 4 bits: only the right text opens the file."""
    texts = [f"text {number}" for number in range(40)]
    typed = [Password.from_text(text, salt=SALT, num_bits=4) for text in texts]
    right, *others = (p for p in typed if p.half_units == typed[0].half_units)
    params = PARAMS | {"num_bits": 4}
    found = made("sealed", password=right, params=params)
    assert len(others) > 0 and found.code(right.inverse).isfinite().all()
    for wrong in (*others, Password(right.half_units)):
        with pytest.raises(PasswordError):
            found.code(wrong)


@pytest.mark.parametrize("mode", ["ambiguous", "sealed", "open"])
def test_one_damaged_byte_is_noticed(mode: str) -> None:
    body = packed(mode)
    places = set(range(400)) | set(range(400, len(body), 97)) | {len(body) - 1}
    for place in places:
        damaged = bytearray(body)
        damaged[place] ^= 1 << place % 8
        with pytest.raises(SealedError):
            unpack(bytes(damaged))


def test_damaged_and_cut_files() -> None:
    data = sealed_file("ambiguous")
    for place in range(0, len(data), 211):
        damaged = bytearray(data)
        damaged[place] ^= 4
        with pytest.raises(SealedError):
            unseal(bytes(damaged))
    for length in (0, 5, 40, 1000, len(data) - 5):
        with pytest.raises(SealedError):
            unseal(data[:length])
    body = packed()
    for length in (*range(60), 200, len(body) - 33, len(body) - 1):
        with pytest.raises(SealedError, match="damaged"):
            unpack(body[:length])
    with pytest.raises(SealedError, match="two codes under one salt"):
        unseal(png_bytes(IMAGE, [(CHUNK, body), (CHUNK, body)]))


def test_several_codes_have_a_chunk_each() -> None:
    first, second = made("ambiguous"), made("open", salt=bytes(16))
    data = seal(IMAGE, first, second)
    found = unseal_all(data)
    assert [one.salt for one in found] == [SALT, bytes(16)]
    assert [one.mode for one in found] == ["ambiguous", "open"]
    with pytest.raises(SealedError, match="2 encrypted faces"):
        unseal(data)
    assert unseal_all(seal(IMAGE, first))[0] == unseal(seal(IMAGE, first))
    with pytest.raises(SealedError, match="65 codes, and at most 64"):
        unseal_all(seal(IMAGE, *[first] * 65))


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(junk: bytes) -> None:
    with pytest.raises(SealedError):
        unpack(b"\x01" + junk + hashlib.sha256(b"\x01" + junk).digest())
    with pytest.raises(SealedError):
        unseal(junk)


@pytest.mark.parametrize(
    "change",
    [
        {"params": 3},
        {"geometry": None},
        {"prior": {"scales": [1.0]}},
        {"prior": {"scales": [10**400] * 16}},
        {"prior": {"scales": "abc"}},
        {"prior": {"tail_scale": float("nan")}},
        {"prior": {"unknown": 1}},
        {"prior": []},
        {"params": PARAMS | {"num_bits": 128.0}},
        {"params": PARAMS | {"kappa": 10**400}},
        {"params": PARAMS | {"kappa": float("inf")}},
        {"params": PARAMS | {"kappa": -(10**13)}},
        {"params": [1]},
        {"geometry": {"quad": [[10**400, 0]] * 4}},
        {"geometry": {"others": [[0.0]] * 65}},
        {"geometry": {"others": 3}},
    ],
)
def test_a_forged_header_is_refused(change: dict) -> None:
    assert unpack(forged(packed())).params == PARAMS
    with pytest.raises(SealedError, match="header"):
        unpack(forged(packed(), **change))


def test_deep_and_huge_forgeries_are_refused() -> None:
    deep = b"[" * 60_000
    body = HEAD.pack(1, 2, 16, 512, len(deep)) + bytes(28) + deep
    with pytest.raises(SealedError, match="header"):
        unpack(body + hashlib.sha256(body).digest())
    huge = struct.pack(">BBHHI", 1, 1, 65535, 65535, 2) + bytes(28) + b"{}"
    with pytest.raises(SealedError, match="header"):
        unpack(huge + hashlib.sha256(huge).digest())


def test_an_open_payload_that_is_no_code() -> None:
    found = unpack(packed("open"))
    for payload in (
        b"",
        b"not zlib",
        found.payload[:-50],
        zlib.compress(bytes(10)),
        zlib.compress(bytes(10**7)),
        zlib.compress(np.full(16 * 512, np.nan, "<f4").tobytes()),
    ):
        fields = vars(found) | {"payload": payload}
        with pytest.raises(SealedError, match="damaged"):
            Sealed(**fields).code()


def test_a_newer_format_says_to_upgrade() -> None:
    body = b"\x05" + packed()[1:-32]
    with pytest.raises(SealedError, match="upgrade"):
        unpack(body + hashlib.sha256(body).digest())


def test_other_files_say_what_to_do() -> None:
    with pytest.raises(SealedError, match="no FaceRSA code.*original"):
        unseal(png_bytes(IMAGE, [(b"tEXt", b"Comment\0hello")]))
    with pytest.raises(SealedError, match="not a PNG"):
        unseal(b"\xff\xd8\xff\xe0 a JPEG")


def test_password_errors() -> None:
    found = unseal(sealed_file("ambiguous"))
    with pytest.raises(PasswordError, match="needs a password"):
        found.code()
    with pytest.raises(PasswordError, match="128 bits, got 16"):
        found.code(Password.random(16))
    with pytest.raises(PasswordError, match="cancel"):
        sealed_file("ambiguous", password=E + E.inverse)
    opened = unseal(sealed_file("open"))
    with pytest.raises(SealedError, match="file is open"):
        opened.person(E)


def test_other_statistics_are_noticed() -> None:
    other = WStatistics(STATS.mean + 1, STATS.eigenvalues, STATS.eigenvectors)
    found = unseal(sealed_file("ambiguous", statistics=other))
    with pytest.raises(SealedError, match="statistics"):
        found.code(E)
    assert found.code(E, statistics=other).isfinite().all()


def test_a_fitted_prior_travels_with_the_file() -> None:
    prior = NormalPrior(scales=(5.0,) + (1.0,) * 15)
    found = unseal(sealed_file("ambiguous", prior=prior))
    assert found.prior == prior
    assert torch.equal(found.code(E), prior.quantise(person(), STATS))


def test_seal_errors() -> None:
    for mode in ("open", "ambiguous"):
        with pytest.raises(ValueError, match="16"):
            sealed_file(mode, salt=b"short")
        with pytest.raises(ValueError):
            sealed_file(mode, params={"kappa": float("nan")})
    with pytest.raises(ValueError, match="12"):
        sealed_file("ambiguous", nonce=b"short")
    with pytest.raises(ValueError, match="not finite"):
        lay_open(person() / 0, salt=SALT, params={}, geometry={})


def test_a_compact_code_travels_by_the_name_of_its_table() -> None:
    table = CompactCode.load()
    body = packed(prior=table)
    found = unpack(body)
    assert isinstance(found.prior, CompactCode)
    assert torch.equal(found.code(E), table.quantise(person(), STATS))
    with pytest.raises(SealedError, match="damaged"):
        unpack(forged(body, prior={"compact": "0" * 16}))


def test_nothing_printed_shows_the_code() -> None:
    shown = repr(unpack(packed("open")))
    assert "payload" not in shown and "nonce" not in shown


def test_known_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The format is for ever: these bytes must decode to these numbers."""
    monkeypatch.undo()  # the real cost of argon2id
    plain = WStatistics(torch.zeros(512), torch.ones(512), torch.eye(512))
    prior = NormalPrior(scales=(3.0,) + (0.5,) * 15)
    body = packed(prior=prior, statistics=plain, nonce=bytes(range(12)))
    head, start = b"\x03\x02\x00\x10\x02\x00", HEAD.size + 28
    assert body[:6] == head and body[HEAD.size : start] == SALT + bytes(range(12))
    assert body[start:].startswith(b'{"geometry":{"quad":[0.5,1.25,2.0,')
    assert body[-32:] == hashlib.sha256(body[:-32]).digest()
    zeros = Sealed(
        **(vars(unpack(body)) | {"payload": bytes(16 * 512 * 2 + 1), "scheme": 1})
    )
    code = zeros.code(E, statistics=plain)
    expected = torch.tensor(KNOWN)
    assert torch.allclose(code[0, ::5, 100], expected, atol=1e-5)


# Also computed apart from this package, with ChaCha20 written out by hand.
KNOWN = [-0.114439, -0.107312, -0.164016, -1.055466]
