"""Tests of the losses: by hand, at their zeros, and their gradients."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from facersa.training.losses import (
    LossWeights,
    PasswordReader,
    View,
    all_terms,
    associated_loss,
    code_size,
    coordinate_outliers,
    identity_difference,
    identity_recovery,
    landmark_l2,
    parsing_divergence,
    password_hinge,
    password_reading,
    pixel_l2,
    quality,
    radius_excess,
    sequential_loss,
    single_loss,
    unnatural,
)
from facersa.training.losses import total as added

WEIGHTS = LossWeights(different=1.0, floor=0.0, hinge=1.0)


def view(seed: int) -> View:
    rng = torch.Generator().manual_seed(seed)
    identity = F.normalize(torch.randn(2, 512, generator=rng), dim=1)
    code = torch.randn(2, 4, 128, generator=rng)
    landmarks = torch.rand(2, 68, 2, generator=rng)
    picture = torch.rand(2, 3, 64, 64, generator=rng) * 2 - 1
    parts = torch.rand(2, 12, 8, 8, generator=rng).softmax(1)
    return View(code, identity, landmarks, picture, parts)


def total(figures: dict[str, Tensor]) -> float:
    return float(torch.stack(list(figures.values())).sum())


def lpips(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).abs().mean((1, 2, 3))


def test_identity_terms_by_hand() -> None:
    a = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    b = torch.tensor([[0.6, 0.8], [-1.0, 0.0]])
    assert identity_difference(a, b).item() == pytest.approx(0.3)
    assert identity_difference(a, b, floor=0.2).item() == pytest.approx(0.2)
    squared = identity_difference(a, b, power=2.0)
    assert squared.item() == pytest.approx(0.6**2 / 2)  # the more alike counts more
    assert identity_recovery(a, b).item() == pytest.approx(1 - (0.6 - 0.6) / 2)


def test_identity_difference_has_no_gradient_where_nothing_changed() -> None:
    """The trap that keeps a mapper at the identity."""
    raw = torch.randn(1, 8, requires_grad=True)
    unit = F.normalize(raw, dim=1)
    identity_difference(unit, unit.detach()).backward()
    assert raw.grad is not None and raw.grad.abs().max() < 1e-6


def test_simple_terms_by_hand() -> None:
    a, b = view(1), view(2)
    assert pixel_l2(a, b).item() == pytest.approx(
        float(((a.picture - b.picture) ** 2).mean())
    )
    assert code_size(a.code, b.code).item() == pytest.approx(
        float(((a.code - b.code) ** 2).mean())
    )
    shifted = a.landmarks + torch.tensor([0.03, 0.04])
    assert landmark_l2(a.landmarks, shifted).item() == pytest.approx(0.0025)


def test_outliers_are_coordinates_beyond_the_limit_and_the_person() -> None:
    code = torch.tensor([[[0.0, 1.0, -3.0, 0.5]]])
    edited = torch.tensor([[[-2.0, 4.0, -2.9, 1.0]]])
    assert coordinate_outliers(code, edited).item() == pytest.approx(4 / 4)
    assert coordinate_outliers(code, code).item() == 0
    assert coordinate_outliers(code, edited, limit=4.0).item() == 0


def test_radius_punishes_only_what_lies_farther_out() -> None:
    code = torch.ones(1, 4, 128)
    assert radius_excess(code, 0.9 * code).item() == 0
    assert radius_excess(code, -code).item() == pytest.approx(0, abs=1e-6)
    assert radius_excess(code, 1.5 * code).item() == pytest.approx(0.25, abs=1e-4)
    inner = 0.1 * code  # shorter than a typical row: may grow to a typical one
    assert radius_excess(inner, 0.85 * code).item() == pytest.approx(0, abs=1e-6)


def test_parsing_is_a_divergence() -> None:
    a, b = view(1).parts, view(2).parts
    assert a is not None and b is not None
    assert parsing_divergence(a, a).item() == pytest.approx(0, abs=1e-6)
    by_hand = (a * (a.log() - b.log())).sum(1).mean()
    assert parsing_divergence(a, b).item() == pytest.approx(float(by_hand), rel=1e-2)
    assert parsing_divergence(a, b) > 0


def test_a_critic_counts_where_there_is_one() -> None:
    logits = torch.tensor([0.0, 2.0])
    by_hand = (math.log(2) + math.log(1 + math.exp(-2))) / 2
    assert unnatural(logits).item() == pytest.approx(by_hand)
    plain, other = view(1), view(2)._replace(logits=logits)
    weights = LossWeights(natural=3.0)
    assert quality(plain, other, weights)["natural"].item() == pytest.approx(
        3 * by_hand
    )
    assert "natural" not in quality(other, plain, weights)


def test_a_part_of_a_view_has_all_it_has() -> None:
    more = {"perceptual": torch.rand(2, 5), "parsing": torch.rand(2, 3)}
    more |= {"texture": torch.rand(2, 5), "logits": torch.rand(2)}
    whole = view(1)._replace(**more)
    part = whole.part(1, 2)
    for name, value in whole._asdict().items():
        torch.testing.assert_close(getattr(part, name), value[1:])
    assert view(1).part(0, 1).texture is None


def test_hinge_and_reader() -> None:
    a = torch.zeros(1, 4, 8)
    assert password_hinge(a, a, 0.5).item() == pytest.approx(0.5, abs=1e-3)
    assert password_hinge(a, a + 1, 0.5).item() == 0
    code = torch.tensor([[0.5, -0.5]])
    loss = password_reading(torch.tensor([[2.0, -2.0]]), code).item()
    assert loss == pytest.approx(math.log(1 + math.exp(-2)), rel=1e-5)
    with pytest.raises(ValueError, match="expected passwords"):
        password_reading(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]))


@pytest.mark.parametrize("name", ["hinge", "radius", "pixel", "parts"])
def test_gradients_are_finite_where_nothing_changed(name: str) -> None:
    x = torch.ones(1, 4, 8, requires_grad=True)
    loss = {
        "hinge": lambda: password_hinge(x, x.detach(), 0.5),
        "radius": lambda: radius_excess(x.detach(), x),
        "pixel": lambda: code_size(x.detach(), x),
        "parts": lambda: parsing_divergence(x[None].detach() / 4, x[None] / 4),
    }[name]()
    loss.backward()
    assert x.grad is not None and torch.isfinite(x.grad).all()


def test_quality_is_zero_for_the_same_picture_and_names_its_terms() -> None:
    a = view(1)
    same = quality(a, a, WEIGHTS, lpips)
    assert set(same) == {"landmarks", "code", "radius", "outliers", "lpips", "parts"}
    assert total(same) == pytest.approx(0, abs=1e-2)
    unparsed = quality(a._replace(parts=None), a._replace(parts=None), WEIGHTS)
    assert set(unparsed) == {"landmarks", "code", "radius", "outliers"}


def single_views(**changed: View) -> dict[str, View]:
    names = ("I", "Ie1", "Ie2", "Ie1d'", "Ie1d1")
    return {name: view(i) for i, name in enumerate(names)} | changed


def test_single_loss_wants_five_different_faces_and_the_first_back() -> None:
    ideal = single_loss(single_views(Ie1d1=view(0)), WEIGHTS, lpips)
    assert ideal["recover_id"].item() == pytest.approx(0, abs=1e-5)
    assert ideal["recover_pixels"].item() == 0
    worse = single_loss(single_views(), WEIGHTS, lpips)
    assert worse["recover_id"] > 0.5 and worse["recover_pixels"] > 0.1
    unchanged = single_loss({k: view(0) for k in single_views()}, WEIGHTS, lpips)
    assert unchanged["different"].item() == pytest.approx(1, abs=1e-5)
    assert ideal["different"].item() < 0.1


@pytest.mark.parametrize("pair", [("I", "Ie1"), ("I", "Ie2"), ("I", "Ie1d'")])
def test_single_loss_sees_each_pair(pair: tuple[str, str]) -> None:
    apart = single_loss(single_views(), WEIGHTS)["different"]
    first, second = pair
    views = single_views()
    together = single_loss(views | {second: views[first]}, WEIGHTS)["different"]
    assert together > apart + 0.15


def test_sequential_loss_matches_the_chain_to_its_way_back() -> None:
    forward = [view(i) for i in range(4)]
    ideal = [*forward, *forward[-2::-1]]
    figures = sequential_loss(ideal, WEIGHTS, lpips)
    assert figures["recover_id"].item() == pytest.approx(0, abs=1e-5)
    broken = list(ideal)
    broken[-1] = view(9)
    worse = sequential_loss(broken, WEIGHTS, lpips)
    cosine = (broken[-1].identity * ideal[-1].identity).sum(1).mean()
    assert worse["recover_id"].item() == pytest.approx(float(1 - cosine) / 3, rel=1e-3)
    still = sequential_loss([view(0)] * 7, WEIGHTS, lpips)
    assert still["different"].item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("length", [3, 4, 11])
def test_sequential_loss_takes_two_to_four_pairs(length: int) -> None:
    with pytest.raises(ValueError, match="2 to 4"):
        sequential_loss([view(0)] * length, WEIGHTS)


def test_associated_loss_is_recovery_of_the_chain() -> None:
    same = associated_loss(view(1), view(1), WEIGHTS)
    assert total(same) == pytest.approx(0, abs=1e-5)
    assert total(associated_loss(view(1), view(2), WEIGHTS)) > 1


def test_reader_reads_one_row() -> None:
    assert PasswordReader(16)(torch.randn(2, 512)).shape == (2, 16)


def test_the_terms_of_a_step_are_those_of_its_groups() -> None:
    names = ["I", "Ie1", "Ie2", "Ie1d'", "Ie1d1", *(f"I^{k}" for k in range(5))]
    views = {name: view(k) for k, name in enumerate([*names, "chained", "direct"])}
    groups = {
        "single": single_loss(views, WEIGHTS, lpips),
        "sequential": sequential_loss([views[f"I^{k}"] for k in range(5)], WEIGHTS),
        "associated": associated_loss(views["chained"], views["direct"], WEIGHTS),
    }
    for name, expected in groups.items():
        with_lpips = lpips if name == "single" else None
        (terms,) = all_terms(views, {name}, WEIGHTS, with_lpips)
        assert terms == expected
    loss, figures = added(list(groups.values()))
    assert loss.item() == pytest.approx(sum(map(total, groups.values())), rel=1e-5)
    assert sum(figures.values()) == pytest.approx(loss.item(), rel=1e-5)
    assert figures["different"] == pytest.approx(
        (groups["single"]["different"] + groups["sequential"]["different"]).item()
    )
