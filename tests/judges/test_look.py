from __future__ import annotations

import pytest
import torch

from facersa.generator.base import Generator
from facersa.judges.look import LookJudge, load_look
from facersa.photo.images import resize


@pytest.fixture(scope="module")
def judge() -> LookJudge:
    return load_look()


@torch.no_grad()
def test_generated_people_look_of_both_sorts_and_of_ages_that_people_have(
    generator: Generator, judge: LookJudge
) -> None:
    pictures = generator.preview(generator.sample(range(16), 0.7))
    seen = judge.look(pictures)
    assert seen.male.shape == seen.age.shape == (16,)
    assert 3 <= int((seen.male > 0).sum()) <= 13
    assert ((seen.age > 0) & (seen.age < 90)).all()


@torch.no_grad()
def test_size_and_mirror_hardly_matter(generator: Generator, judge: LookJudge) -> None:
    pictures = generator.preview(generator.sample(range(4), 0.7))
    seen = judge.look(pictures)
    for other in (pictures.flip(3), resize(pictures, 512)):
        again = judge.look(other)
        assert torch.equal(again.male > 0, seen.male > 0)
        assert (again.age - seen.age).abs().max() < 10


def test_it_is_frozen_and_lets_gradients_through(judge: LookJudge) -> None:
    picture = torch.zeros(1, 3, 128, 128, requires_grad=True)
    judge.look(picture).male.sum().backward()
    assert picture.grad is not None and picture.grad.abs().max() > 0
    assert not any(p.requires_grad for p in judge.parameters())
