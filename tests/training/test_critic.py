"""Tests of the critic: what it reads, who learns from it, and that it learns."""

from __future__ import annotations

import math

import pytest
import torch

from facersa.generator.base import Generator
from facersa.judges.networks import load_identity
from facersa.training.critic import TEXTURE, Critic, Texture


@pytest.fixture
def critic() -> Critic:
    critic = Critic()
    torch.nn.init.normal_(critic.linear.weight)
    return critic


def test_each_side_of_the_game_moves_only_itself(critic: Critic) -> None:
    textures = torch.randn(3, TEXTURE, requires_grad=True)
    logits = critic(textures, learns=False)
    torch.testing.assert_close(logits, critic(textures))
    logits.sum().backward()
    assert critic.linear.weight.grad is None and critic.linear.bias.grad is None
    assert textures.grad is not None and textures.grad.abs().max() > 0
    textures.grad = None
    critic.loss(textures, textures + 1, r1=0.0).backward()
    assert textures.grad is None
    assert critic.linear.weight.grad is not None


def test_the_loss_by_hand() -> None:
    critic = Critic()  # all logits are 0
    plain, encrypted = torch.randn(2, TEXTURE), torch.randn(5, TEXTURE)
    assert critic.loss(plain, encrypted, r1=1.0).item() == pytest.approx(
        2 * math.log(2)
    )
    with torch.no_grad():
        critic.linear.bias.fill_(2.0)
        critic.linear.weight[0, 7] = 3.0
    zeros = torch.zeros(2, TEXTURE)
    wrong, right = math.log(1 + math.exp(2)), math.log(1 + math.exp(-2))
    expected = wrong + right + 0.5 / 2 * 9
    assert critic.loss(zeros, zeros, r1=0.5).item() == pytest.approx(expected)


def test_it_learns_to_classify_textures() -> None:
    plain = 5 + 2 * torch.randn(200, TEXTURE)
    encrypted = plain + 2 * (torch.arange(TEXTURE) < 20)
    critic = Critic()
    critic.standardise(torch.cat([plain, encrypted]))
    assert critic.spread.mean().item() == pytest.approx(2.0, rel=0.1)
    optimizer = torch.optim.Adam(critic.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        critic.loss(plain[:100], encrypted[:100], r1=0.1).backward()
        optimizer.step()
    right = (critic(plain[100:]) > 0).float(), (critic(encrypted[100:]) < 0).float()
    assert torch.cat(right).mean() > 0.9


def test_it_reads_the_identity_network(generator: Generator) -> None:
    """Means and spreads of its maps, and the same identity as the judge's."""
    judge = load_identity()
    network = Texture(judge)
    with torch.no_grad():
        picture = generator.preview(generator.sample([3], 0.7))
        identity, texture = network(picture)
        *maps, _ = network.network(judge.levels(judge.crop(picture)))
    torch.testing.assert_close(identity, judge.embed(picture))
    sizes = [(1, 128, 56, 56), (1, 64, 28, 28), (1, 128, 14, 14)]
    assert [tuple(tap.shape) for tap in maps] == sizes
    places = [tap[0].flatten(1).numpy() for tap in maps]
    by_hand = [x for p in places for x in (*p.mean(1), *p.std(1, ddof=1))]
    assert texture.shape == (1, TEXTURE)
    torch.testing.assert_close(texture[0], torch.tensor(by_hand))
