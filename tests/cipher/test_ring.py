"""Tests of the ring mapper, with random weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from facersa.cipher.password import Password
from facersa.cipher.ring import RingConfig, RingMapper


@pytest.fixture
def ring() -> RingMapper:
    torch.manual_seed(0)
    return RingMapper()


def code(seed: int) -> Tensor:
    return Password.random(16, seed=seed).code


def test_chains_stay_on_their_circles(ring: RingMapper, any_ws: Tensor) -> None:
    """However many passwords: no distance to a centre changes, and some is moved."""

    def radii(ws: Tensor) -> Tensor:
        t = ring.coordinates(ws[:, 5:9])
        assert t.shape == (*ws[:, 5:9].shape[:2], 32)
        return t.unflatten(-1, (-1, 2)).norm(dim=-1)

    with torch.no_grad():
        out = any_ws
        for seed in range(12):
            out = ring(out, code(seed))
            torch.testing.assert_close(radii(out), radii(any_ws), rtol=1e-4, atol=1e-4)
        assert (out - any_ws).norm() > 1


def test_all_edited_rows_are_treated_alike(ring: RingMapper, any_ws: Tensor) -> None:
    same = any_ws[:, :1].expand(-1, 16, -1)
    change = ring.change(same, code(1))
    torch.testing.assert_close(change, change[:, :1].expand(-1, 4, -1))


def test_one_flipped_bit_turns_the_planes_by_its_angles(ring: RingMapper) -> None:
    mean = ring.mean.float().expand(1, 16, -1)
    password = Password.random(16, seed=1)
    with torch.no_grad():
        once, flipped = (
            ring.change(mean, p.code)[:, 0] @ ring.read
            for p in (password, password.flip(3))
        )
        inverse = torch.linalg.pinv(ring.directions.double())
        apart = ((once - flipped) @ inverse).unflatten(-1, (-1, 2)).norm(dim=-1)[0]
        radius = ring.centre.norm(dim=1)
        chord = 2 * radius * (ring.angles[3] / 2).sin().abs()
    torch.testing.assert_close(apart.float(), chord, rtol=1e-3, atol=1e-4)


def test_strength_moves_the_centre(any_ws: Tensor) -> None:
    torch.manual_seed(0)
    near, far = RingMapper(RingConfig(strength=0.0)), RingMapper()
    near.load_state_dict(far.state_dict())
    mean = near.mean.float().expand(1, 16, -1)
    assert near.change(mean, code(1)).abs().max() < 1e-6
    assert far.change(mean, code(1)).abs().max() > 0.1


def test_it_can_start_in_given_directions(ring: RingMapper) -> None:
    given = torch.eye(32, 128)
    ring.start_along(given, torch.Generator().manual_seed(0))
    assert ring.directions[:, 32:].abs().max() == 0
    square = ring.directions @ ring.directions.T
    torch.testing.assert_close(square, torch.eye(32), atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="directions must have shape"):
        ring.start_along(given[:4], torch.Generator())


def test_too_many_planes_are_refused() -> None:
    with pytest.raises(ValueError, match="use fewer planes"):
        RingMapper(RingConfig(planes=65))
