from __future__ import annotations

import math
import random
from itertools import permutations
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from facersa.cipher.password import Password, total
from facersa.cipher.rotation import RotationCipher, half_columns
from facersa.errors import PasswordError
from facersa.generator.base import Generator
from facersa.generator.statistics import WStatistics

EDITED = (3, 4, 5, 6, 7, 8)
KEPT = (0, 1, 2, 9, 10, 11, 12, 13, 14, 15)


def synthetic_statistics(size: int = 512, seed: int = 0) -> WStatistics:
    """Random axes with the spread of the real w: 8 down to 0.004."""
    generator = torch.Generator().manual_seed(seed)
    square = torch.randn(size, size, generator=generator, dtype=torch.float64)
    axes = torch.linalg.qr(square)[0]
    values = torch.logspace(math.log10(8), math.log10(0.004), size)
    mean = torch.randn(size, generator=generator, dtype=torch.float64) * 0.3
    return WStatistics(mean, values, axes)


STATS = synthetic_statistics()
SMALL = synthetic_statistics(64)  # the same spread: quick, and as hard
CIPHERS, SMALL_CIPHERS = (
    {bits: RotationCipher(stats, num_bits=bits, kappa=0.3) for bits in (8, 16, 128)}
    for stats in (STATS, SMALL)
)


def people(
    count: int = 2, seed: int = 0, spread: float = 0.5, stats: WStatistics = STATS
) -> torch.Tensor:
    """Codes as inversion gives them: a person's row plus differences by row."""
    generator = torch.Generator().manual_seed(seed)
    size = len(stats.mean)
    z = torch.randn(count, 1, size, generator=generator)
    z = z + spread * torch.randn(count, 16, size, generator=generator)
    return stats.unwhiten(z).float()


@st.composite
def chains(draw: st.DrawFn) -> tuple[RotationCipher, list[Password]]:
    """A cipher and 1 to 8 passwords; a password may come twice."""
    bits = draw(st.sampled_from([8, 16, 128]))
    count = draw(st.integers(1, 8))
    number = st.integers(0, 2**bits - 1)
    words = draw(st.lists(number, min_size=count, max_size=count))
    return SMALL_CIPHERS[bits], [Password.from_bits(f"{w:0{bits}b}") for w in words]


def run(cipher: RotationCipher, ws: torch.Tensor, chain: list[Password]) -> list:
    """Every step's float32 result, the start included."""
    steps = [ws]
    for password in chain:
        steps.append(cipher(steps[-1], password.code))
    return steps


@settings(max_examples=100, deadline=None)
@given(chains(), st.integers(0, 99))
def test_chains_come_back_in_any_order(
    drawn: tuple[RotationCipher, list[Password]], seed: int
) -> None:
    """Properties (c), (f), (g), (h), at every prefix, to 1e-4 in w."""
    cipher, passwords = drawn
    ws = people(1, seed, stats=SMALL)
    locked = run(cipher, ws, passwords)
    for length, step in enumerate(locked[1:], start=1):
        at_once = cipher(ws, total(passwords[:length]).code)  # (h)
        assert (step - at_once).abs().max() < 1e-4
    shuffled = list(passwords)
    random.Random(seed).shuffle(shuffled)
    assert (run(cipher, ws, shuffled)[-1] - locked[-1]).abs().max() < 1e-4  # (f)
    inverses = [password.inverse for password in shuffled]
    opened = run(cipher, locked[-1], inverses)  # (c), (g): other order than locked
    assert (opened[-1] - ws).abs().max() < 1e-4
    for length, step in enumerate(opened):
        left = shuffled[length:]
        expected = cipher(ws, total(left).code) if left else ws
        assert (step - expected).abs().max() < 1e-4


def test_eight_passwords_at_full_size() -> None:
    cipher, ws = CIPHERS[128], people(2, spread=1.5)
    chain = [Password.random(128, seed=seed) for seed in range(8)]
    locked = run(cipher, ws, chain)[-1]
    assert (locked - cipher(ws, total(chain).code)).abs().max() < 2e-5
    opened = run(cipher, locked, [password.inverse for password in chain])[-1]
    assert (opened - ws).abs().max() < 2e-5
    assert (locked - ws)[:, EDITED].abs().max() > 1


def test_every_order_of_mixed_locks_and_keys() -> None:
    cipher, ws = CIPHERS[128], people(1)
    a, b = Password.random(128, seed=1), Password.random(128, seed=2)
    results = [
        run(cipher, ws, list(order))[-1]
        for order in permutations([a, b, a.inverse, b.inverse])
    ]
    assert all((result - ws).abs().max() < 1e-4 for result in results)


def test_equals_the_slow_formula() -> None:
    """A loop over faces, rows and planes, straight from the definition."""
    stats = synthetic_statistics(8, seed=3)
    cipher = RotationCipher(stats, layers=(1, 3), num_bits=4, kappa=0.4, context=0)
    ws = torch.randn(2, 4, 8, dtype=torch.float64)
    code = torch.tensor([[0.5, -0.5, 0.5, 0.5], [1.0, 0.0, -1.5, 2.0]])
    expected = ws.clone()
    for face in range(2):
        z = stats.whiten(ws[face])
        centre = -0.4 * z[0]
        for row in (1, 3):
            columns = half_columns(4, row, 4).astype("float64") * 2 * math.pi / 2**32
            angle = 2 * code[face].double() @ torch.from_numpy(columns)
            turned = z[row].clone()
            for k in range(4):
                x, y = z[row, 2 * k : 2 * k + 2] - centre[2 * k : 2 * k + 2]
                cos, sin = math.cos(angle[k]), math.sin(angle[k])
                turned[2 * k] = centre[2 * k] + cos * x - sin * y
                turned[2 * k + 1] = centre[2 * k + 1] + sin * x + cos * y
            expected[face, row] = stats.unwhiten(turned)
    assert torch.allclose(cipher(ws, code), expected, atol=1e-9)


def test_nothing_but_the_edited_rows_changes() -> None:
    ws, e = people(3), Password.random(128, seed=5)
    out = CIPHERS[128](ws, e.code)
    assert torch.equal(out[:, KEPT], ws[:, KEPT])
    assert (out[:, EDITED] - ws[:, EDITED]).abs().amax(-1).min() > 0.1
    assert out.dtype == torch.float32 and out.shape == ws.shape
    assert CIPHERS[128](ws.double(), e.code).dtype == torch.float64


def test_zero_code_changes_no_bit() -> None:
    ws, e = people(2), Password.random(128, seed=5)
    assert torch.equal(CIPHERS[128](ws, (e + e.inverse).code), ws)


def test_radii_about_the_centre_are_kept() -> None:
    ws, e = people(2), Password.random(128, seed=6)
    radii = []
    for codes in (ws, CIPHERS[128](ws, e.code)):
        z = STATS.whiten(codes)
        from_centre = (z + 0.3 * z[:, 12:13])[:, EDITED]
        radii.append(from_centre.unflatten(-1, (-1, 2)).norm(dim=-1))
    assert (radii[0] - radii[1]).abs().max() < 1e-4


def test_result_of_a_plain_rotation_is_a_typical_code() -> None:
    cipher = RotationCipher(STATS, kappa=0.0)
    z = torch.randn(40, 16, 512, generator=torch.Generator().manual_seed(1))
    out = STATS.whiten(cipher(STATS.unwhiten(z).float(), Password.random(128).code))
    edited = out[:, EDITED]
    assert edited.mean().abs() < 0.01 and (edited.std() - 1).abs() < 0.01


def test_kappa_pushes_away_from_the_context() -> None:
    ws, code = people(8, spread=0.0), Password.random(128, seed=8).code
    means = []
    for kappa in (0.0, 0.3):
        z = STATS.whiten(RotationCipher(STATS, kappa=kappa)(ws, code))
        cosine = torch.cosine_similarity(z[:, EDITED], z[:, 12:13], dim=-1)
        means.append(cosine.mean().item())
    assert abs(means[0]) < 0.05 and means[1] < -0.15


@pytest.mark.parametrize("bits", [8, 16, 128])
def test_one_wrong_bit_is_as_wrong_as_a_stranger(bits: int) -> None:
    cipher = RotationCipher(STATS, num_bits=bits, kappa=0.0)
    ws, e = people(4), Password.random(bits, seed=9)
    locked = cipher(ws, e.code)
    for index in (0, bits // 2, bits - 1):
        opened = cipher(locked, e.flip(index).inverse.code)
        a, b = STATS.whiten(opened)[:, EDITED], STATS.whiten(ws)[:, EDITED]
        assert torch.cosine_similarity(a, b, dim=-1).abs().max() < 0.25


def test_the_angle_table_is_public_and_fixed() -> None:
    assert half_columns(128, 3, 256)[0, :3].tolist() == [
        439370405,
        2545836401,
        991985604,
    ]
    table = half_columns(128, 3, 256) / 2**32
    assert abs(table.mean() - 0.5) < 0.01 and abs(table.std() - 12**-0.5) < 0.01
    assert (table != half_columns(128, 4, 256) / 2**32).mean() > 0.999


def test_batch_equals_loop_and_one_code_serves_all() -> None:
    ws, cipher = people(3), CIPHERS[16]
    codes = torch.cat([Password.random(16, seed=s).code for s in range(3)])
    together = cipher(ws, codes)
    for index in range(3):
        alone = cipher(ws[index : index + 1], codes[index : index + 1])
        assert (together[index] - alone[0]).abs().max() < 1e-6
    shared = cipher(ws, codes[:1])
    assert torch.allclose(shared, cipher(ws, codes[:1].expand(3, -1)), atol=1e-6)


def test_more_than_sixteen_rows_and_other_layers() -> None:
    cipher = RotationCipher(STATS, layers=[8, 5, 7, 6], num_bits=16)
    assert cipher.layers == (5, 6, 7, 8)
    ws = torch.cat([people(1), people(1, seed=1)[:, :2]], dim=1)
    out = cipher(ws, Password.random(16, seed=0).code)
    changed = (out != ws).any(-1)[0].nonzero().flatten().tolist()
    assert changed == [5, 6, 7, 8]


def test_gradient_reaches_the_code_of_the_face() -> None:
    ws = people(1).requires_grad_()
    CIPHERS[16](ws, Password.random(16, seed=0).code).square().sum().backward()
    assert ws.grad is not None and ws.grad.isfinite().all() and (ws.grad != 0).all()


def test_casting_the_module_keeps_it_exact() -> None:
    ws, code = people(1), Password.random(16, seed=0).code
    cipher = RotationCipher(STATS, num_bits=16)
    before = cipher(ws, code)
    assert torch.equal(cipher.half()(ws, code), before)


def test_statistics() -> None:
    ws = people(2)
    assert torch.allclose(STATS.unwhiten(STATS.whiten(ws)).float(), ws, atol=1e-5)
    small = synthetic_statistics(6, seed=2)
    z = torch.randn(50_000, 6, generator=torch.Generator().manual_seed(0))
    samples = iter(small.unwhiten(z).float())
    found = WStatistics.estimate(
        lambda count: torch.stack([next(samples) for _ in range(count)]), 50_000
    )
    assert torch.allclose(found.mean, small.mean, atol=0.05)
    assert torch.allclose(found.eigenvalues, small.eigenvalues, rtol=0.05)
    white = torch.cov(small.whiten(small.unwhiten(z)).T)
    assert torch.allclose(white, torch.eye(6).double(), atol=0.05)
    assert len(small.fingerprint()) == 16
    assert small.fingerprint() != found.fingerprint()


def test_the_shipped_statistics_are_those_of_the_generator(
    generator: Generator, tmp_path: Path
) -> None:
    shipped = WStatistics.load()
    found = WStatistics.measure(generator, samples=2**14, seed=5)
    assert (found.mean - shipped.mean).norm() < 0.02 * shipped.eigenvalues.sum().sqrt()
    assert abs(found.eigenvalues.sum() / shipped.eigenvalues.sum() - 1) < 0.02
    whitened = torch.cov(shipped.whiten(generator.map(torch.randn(2**13, 512))).T)
    assert (whitened.diagonal() - 1).abs().max() < 0.15
    assert (whitened - torch.diag(whitened.diagonal())).abs().mean() < 0.02
    found.save(tmp_path / "statistics.safetensors")
    kept = load_file(tmp_path / "statistics.safetensors")
    assert torch.equal(kept["mean"], found.mean.float())


def test_errors() -> None:
    cipher, ws = CIPHERS[16], people(2)
    code = Password.random(16, seed=0).code
    with pytest.raises(ValueError, match="ws must have shape"):
        cipher(ws[0], code)
    with pytest.raises(ValueError, match="ws must have shape"):
        cipher(ws[..., :100], code)
    with pytest.raises(ValueError, match="more than 12 rows"):
        cipher(ws[:, :12], code)
    with pytest.raises(ValueError, match="one code or one for each of 2"):
        cipher(ws, code.expand(3, -1))
    with pytest.raises(PasswordError, match="num_bits=16"):
        cipher(ws, Password.random(8).code)
    with pytest.raises(PasswordError, match="num_bits=16"):
        cipher(ws, code[0])
    with pytest.raises(PasswordError, match="multiples of 1/2"):
        cipher(ws, code * 0.7)
    with pytest.raises(PasswordError, match="too many"):
        cipher(ws, code * 2.0**20)
    for layers in ([], [3, 3], [-1, 2]):
        with pytest.raises(ValueError, match="layers"):
            RotationCipher(STATS, layers=layers)
    with pytest.raises(ValueError, match="context"):
        RotationCipher(STATS, layers=[12])
    for kappa in (math.nan, math.inf, -0.1, 2.1, 1e300, 10**400):
        with pytest.raises(ValueError, match="kappa must be from 0 to 2, got"):
            RotationCipher(STATS, kappa=kappa)
    with pytest.raises(ValueError, match="eigenvalues"):
        WStatistics(torch.zeros(2), torch.tensor([1.0, 0.0]), torch.eye(2))
