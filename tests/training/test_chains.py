from __future__ import annotations

import pytest
import torch
from torch import Tensor

from facersa.cipher.base import LearnedCipher
from facersa.cipher.catalogue import build_learned
from facersa.training.chains import GROUPS, altered_codes, fresh_codes, named_codes


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def fresh(kind: str) -> LearnedCipher:
    torch.manual_seed(0)
    return build_learned(kind).requires_grad_(False)


@pytest.mark.parametrize("pairs", [2, 3, 4])
def test_chains_are_what_they_say(any_ws: Tensor, pairs: int) -> None:
    mapper = fresh("faithful")
    for seed in range(5):
        codes, e1 = named_codes(mapper, any_ws, GROUPS, pairs, seeded(seed))
        chain = [code for name, code in codes.items() if name.startswith("I^")]
        assert len(chain) == 2 * pairs + 1
        assert torch.equal(chain[0], any_ws) and torch.equal(chain[1], codes["Ie1"])
        torch.testing.assert_close(codes["Ie1"], mapper(any_ws, e1))
        torch.testing.assert_close(codes["Ie1d1"], mapper(codes["Ie1"], -e1))
        torch.testing.assert_close(chain[-1], mapper(chain[-2], -e1))
        assert any(codes["chained"] is code for code in chain[2 : pairs + 1])
        assert not torch.equal(codes["Ie2"], codes["Ie1"])
        assert not torch.equal(codes["Ie1d'"], codes["Ie1d1"])


@pytest.mark.parametrize("kind", ["ring", "steered"])
def test_the_way_back_of_an_exact_mapper_is_the_way_there(
    any_ws: Tensor, kind: str
) -> None:
    mapper = fresh(kind)
    codes, e1 = named_codes(mapper, any_ws, GROUPS, 3, seeded(0))
    assert codes["Ie1d1"] is codes["I"]
    for k in range(3):
        assert codes[f"I^{6 - k}"] is codes[f"I^{k}"]
    close = {"atol": 1e-5, "rtol": 0.0}  # single precision
    torch.testing.assert_close(mapper(codes["I^1"], -e1), codes["I"], **close)
    torch.testing.assert_close(codes["direct"], codes["chained"], **close)


def test_only_what_a_group_speaks_of_is_made(any_ws: Tensor) -> None:
    def names(*groups: str) -> set[str]:
        return set(named_codes(fresh("ring"), any_ws, groups, 2, seeded(0))[0])

    both = {"I", "Ie1"}
    assert names() == both
    assert names("single") == both | {"Ie2", "Ie1d'", "Ie1d1"}
    assert names("sequential") == both | {f"I^{k}" for k in range(5)}
    assert names("associated") == both | {"chained", "direct"}


@pytest.mark.parametrize(("kind", "number"), [("faithful", 11), ("steered", 6)])
def test_pictures_are_of_one_number(any_ws: Tensor, kind: str, number: int) -> None:
    """Whatever is drawn, so that one compiled network serves all steps."""
    groups = GROUPS if kind == "faithful" else GROUPS[:2]
    for seed in range(4):
        codes, _ = named_codes(fresh(kind), any_ws, groups, 3, seeded(seed))
        assert len({id(code) for code in codes.values()}) == number


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_share_of_the_other_passwords_differs_in_one_bit(share: float) -> None:
    (code,) = fresh_codes(1, 4000, 16, seeded(0))
    flipped = (altered_codes(code, seeded(1), share) != code).sum(1)
    assert flipped.min() == 1 and (flipped.max() == 1) == (share == 1)
    single = float((flipped == 1).float().mean())
    assert single == pytest.approx(share, abs=0.02)  # hardly ever one of any
