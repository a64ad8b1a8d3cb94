from __future__ import annotations

import pytest
import torch

from facersa.cipher.description import restore
from facersa.cipher.password import Password, total
from facersa.cipher.steady import SteadyCipher, complete_basis, kept_directions
from facersa.generator.base import Generator
from facersa.generator.statistics import WStatistics
from facersa.judges.look import load_look
from facersa.judges.networks import load_pose
from facersa.training.directions import skin

SHIPPED = WStatistics.load()


@pytest.fixture(scope="module")
def ws(generator: Generator) -> torch.Tensor:
    return generator.sample(range(12), 0.85)


def passwords(count: int) -> list[Password]:
    return [Password.random(seed=seed) for seed in range(count)]


def test_chains_come_back_in_any_order_and_as_one_sum(ws: torch.Tensor) -> None:
    cipher, chain = SteadyCipher(kappa=0.3), passwords(4)
    there = ws
    for password in chain:
        there = cipher(there, password.code)
    summed = cipher(ws, total(chain).code)
    torch.testing.assert_close(there, summed, rtol=0, atol=1e-4)
    back = there
    for password in (chain[2], chain[0], chain[3], chain[1]):
        back = cipher(back, password.inverse.code)
    torch.testing.assert_close(back, ws, rtol=0, atol=1e-4)


def test_edited_rows_turn_alike_and_others_stay(ws: torch.Tensor) -> None:
    cipher = SteadyCipher()
    edited = cipher(ws, passwords(1)[0].code)
    rows = list(cipher.layers)
    others = [row for row in range(16) if row not in rows]
    assert torch.equal(edited[:, others], ws[:, others])
    # The rows of these people are equal, and stay so.
    torch.testing.assert_close(edited[:, rows], edited[:, 3:4].expand(-1, 8, -1))
    assert ((edited - ws)[:, 3].norm(dim=-1) > 1).all()


def test_kept_directions_stay_and_lengths_too(ws: torch.Tensor) -> None:
    kept = kept_directions()
    assert kept.shape == (512, 6)
    torch.testing.assert_close(kept.T @ kept, torch.eye(6, dtype=kept.dtype))
    before = SHIPPED.whiten(ws)[:, 5]
    after = SHIPPED.whiten(SteadyCipher(kappa=0)(ws, passwords(1)[0].code))[:, 5]
    torch.testing.assert_close(after @ kept, before @ kept, rtol=0, atol=1e-4)
    torch.testing.assert_close(after.norm(dim=1), before.norm(dim=1), rtol=1e-5, atol=0)
    assert ((after - before).norm(dim=1) > 10).all()


def test_a_basis_begins_with_the_directions() -> None:
    directions = torch.linalg.qr(torch.randn(20, 3, dtype=torch.float64)).Q
    basis = complete_basis(directions)
    torch.testing.assert_close(basis.T @ basis, torch.eye(20, dtype=torch.float64))
    torch.testing.assert_close(basis[:, :3], directions)
    axes = torch.eye(20, dtype=torch.float64)
    assert torch.equal(complete_basis(axes[:, :3]), axes)


def test_another_generator_has_no_known_directions() -> None:
    other = WStatistics(SHIPPED.mean + 1, SHIPPED.eigenvalues, SHIPPED.eigenvectors)
    cipher, (password,) = SteadyCipher(other), passwords(1)
    ws = other.unwhiten(torch.randn(1, 16, 512, dtype=torch.float64)).float()
    edited = cipher(ws, password.code)
    moved = (other.whiten(edited) - other.whiten(ws))[0, 5] @ kept_directions()
    assert (moved.abs() > 0.01).all()
    back = cipher(edited, password.inverse.code)
    torch.testing.assert_close(back, ws, rtol=0, atol=1e-4)


@torch.no_grad()
def test_pose_and_look_stay_better_than_under_a_turn_of_everything(
    generator: Generator, ws: torch.Tensor
) -> None:
    pose, judge = load_pose(), load_look()
    steady = SteadyCipher()
    free = SteadyCipher()
    free.table = free.table.unflatten(1, (8, -1)).clone()
    free.table[..., :3] = free.table[..., 3:6]
    free.table = free.table.flatten(1)
    codes = torch.cat([password.code for password in passwords(len(ws))])
    plain = generator.preview(ws)
    changed: list[dict[str, float]] = []
    for cipher in (steady, free):
        picture = generator.preview(cipher(ws, codes))
        before, after = judge.look(plain), judge.look(picture)
        change = {
            "pose": pose.angles(picture) - pose.angles(plain),
            "gender": after.male - before.male,
            "age": after.age - before.age,
            "skin": skin(picture) - skin(plain),
        }
        changed.append({name: float(x.abs().mean()) for name, x in change.items()})
    for name, kept in changed[0].items():
        assert kept < 0.75 * changed[1][name], name


def test_a_file_of_before_kept_four_directions(ws: torch.Tensor) -> None:
    described = {"layers": [3, 4], "kappa": 0.15, "context": 12}
    old = restore({"cipher": "steady", "num_bits": 16} | described, 16)
    new = SteadyCipher(num_bits=16, layers=[3, 4])
    assert old.settings["kept"] == 4 and new.settings["kept"] == 6
    code = Password.random(num_bits=16, seed=0).code
    assert (old(ws, code) - new(ws, code)).abs().max() > 0.1
    with pytest.raises(ValueError, match="4 or 6"):
        SteadyCipher(kept=5)
