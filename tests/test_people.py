"""Tests of the ranges of seeds, and of who is drawn from them."""

from __future__ import annotations

import inspect
from itertools import combinations
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from facersa.cipher.rotation import RotationCipher
from facersa.errors import FaceRSAError
from facersa.generator.base import Generator
from facersa.generator.parts import FIRST_SEED, fit_parser
from facersa.people import (
    CALIBRATED,
    EVALUATED,
    FITTED,
    MEASURED,
    RANGES,
    TRAINED,
    draw_noise,
    draw_people,
    evaluated_seeds,
    people,
    sample_stratum,
    training_codes,
    training_people,
    training_seeds,
    varied_codes,
)


def test_no_seed_has_two_purposes() -> None:
    for first, second in combinations(RANGES, 2):
        assert not range(max(first[0], second[0]), min(first[-1], second[-1]) + 1)


def test_the_seeds_of_seed_0_are_those_of_the_shipped_weights() -> None:
    """And of the committed results."""
    assert evaluated_seeds(0, 64) == range(10_000, 10_128)
    assert training_seeds(0, 12_000) == range(1_000_000, 1_012_000)
    assert CALIBRATED.start == 7_000_000
    assert {910_000, 911_000 + 23} <= set(FITTED)
    count = inspect.signature(fit_parser).parameters["people"].default
    assert FIRST_SEED in TRAINED and FIRST_SEED + count - 1 in TRAINED


@pytest.mark.parametrize("pool", [4, 1000, 20_000])
def test_trainings_with_other_seeds_draw_other_people(pool: int) -> None:
    one, two, last = (training_seeds(seed, pool) for seed in (0, 1, 24))
    assert one.stop <= two.start and two.stop <= last.start <= TRAINED[-1]
    assert len(one) == len(two) == pool


@pytest.mark.parametrize(
    "draw",
    [
        lambda: training_seeds(300, 20_000),
        lambda: training_seeds(-1, 10),
        lambda: training_seeds(0, 0),
        lambda: evaluated_seeds(0, 450_000),
        lambda: evaluated_seeds(7000, 64),
        lambda: people(made_up_generator(), "row-mixed", 0.7, 64, seed=7000),
        lambda: draw_people(made_up_generator(), 64, 0.7, 7000),
        lambda: draw_noise(made_up_generator(), 1, 0.7, 900_000),
        lambda: sample_stratum(
            made_up_generator(), "W", 1.0, 2, first_seed=TRAINED.start
        ),
        lambda: sample_stratum(
            made_up_generator(), "row-mixed", 1.0, 2, first_seed=MEASURED.stop - 3
        ),
        lambda: varied_codes(made_up_generator(), 1, EVALUATED.start),
        lambda: training_codes(made_up_generator(), 1, FITTED.start),
        lambda: varied_codes(made_up_generator(), 1, TRAINED.stop),
    ],
)
def test_nobody_is_drawn_outside_a_range(draw: Any) -> None:
    with pytest.raises(FaceRSAError, match="cannot draw .* seeds here lie in [0-9]"):
        draw()


def made_up_generator() -> Any:
    """Codes that name their seed, so that rows tell whose they are."""

    def sample(seeds: range, psi: float) -> Tensor:
        numbers = torch.tensor([float(s - CALIBRATED.start) for s in seeds])
        return psi * numbers[:, None, None].expand(-1, 16, 4)

    return SimpleNamespace(sample=sample, num_ws=16)


def test_row_mixed_people_share_nobody() -> None:
    codes = sample_stratum(made_up_generator(), "row-mixed", 1.0, 40)
    cuts = set()
    for index, code in enumerate(codes):
        owners = code[:, 0].tolist()
        cut = owners.count(float(index))
        assert owners == [index] * cut + [index + 40] * (16 - cut)
        cuts.add(cut)
    assert cuts <= set(range(1, 16)) and len(cuts) > 8
    pure = sample_stratum(made_up_generator(), "W", 1.0, 40)
    assert (pure == torch.arange(40.0)[:, None, None]).all()
    with pytest.raises(ValueError, match="stratum"):
        sample_stratum(made_up_generator(), "Z", 1.0, 40)


def test_people_of_each_kind(generator: Generator) -> None:
    plain, mixed, hidden = (
        people(generator, kind, 0.7, 2) for kind in ("W", "row-mixed", "encrypted")
    )
    assert len(torch.unique(plain[0], dim=0)) == 1
    assert len(torch.unique(mixed[0], dim=0)) == 2
    same = (hidden == plain).all(-1)
    edited = list(RotationCipher().layers)
    assert not same[:, edited].any() and int(same.sum()) == 2 * (16 - len(edited))


def test_people_and_donors_are_different_every_time(generator: Generator) -> None:
    drawn = [*draw_people(generator, 3, 0.7, 0), *draw_people(generator, 3, 0.7, 1)]
    rows = torch.cat(drawn)[:, 0]
    assert len(torch.unique(rows, dim=0)) == 12
    again = draw_people(generator, 3, 0.7, 1)
    assert torch.equal(again[0], drawn[2]) and torch.equal(again[1], drawn[3])
    first = generator.sample([EVALUATED.start], 0.7)
    torch.testing.assert_close(drawn[0][:1], first)


@pytest.mark.parametrize(("people", "seed"), [(0, 0), (4, -1), (1000, 1000)])
def test_people_outside_the_range_are_refused(
    people: int, seed: int, generator: Generator
) -> None:
    with pytest.raises(FaceRSAError, match="cannot draw"):
        draw_people(generator, people, 0.7, seed)


def test_noise_has_the_spread_of_people_and_rows_of_its_own(
    generator: Generator,
) -> None:
    noise = draw_noise(generator, 40, 0.85)
    people, _ = draw_people(generator, 200, 0.85)
    assert noise.shape == (40, 16, 512)
    assert (noise[:, 0] - noise[:, 1]).abs().max() > 0.5
    spread = (noise - generator.w_avg).norm(dim=-1).mean()
    natural = (people[:, 0] - generator.w_avg).norm(dim=-1).mean()
    assert spread == pytest.approx(float(natural), rel=0.1)
    assert torch.equal(draw_noise(generator, 40, 0.85), noise)


def test_a_training_draws_from_its_own_seeds(generator: Generator) -> None:
    drawn = training_people(generator, 2, seed=3)
    first = training_seeds(3, 2).start
    assert torch.equal(drawn, varied_codes(generator, 2, first))
    assert first >= TRAINED.start
