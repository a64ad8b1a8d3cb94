"""Write down weights with which the paper's network does what a ring does.

What a ring does to a row is a sum of products, four for each plane:

    step = sum over planes of (cos a - 1) (x, y) + sin a (-y, x)

x and y are read from the face, the angle a from the password. Multiplying a number from
the face by one from the password is what a modulation module does. So the first module
reads x and y, the converter and the gamma of the second draw the curves, the second
multiplies, and the third writes the step. Every weight is known.

Three things that the network does on the way need a remedy. A leaky unit bends a
number, but not the difference of it and its negative. A layer norm removes the mean and
the size of its input: a large constant, orthogonal to the signal, preserves the size.
And a pixel norm removes the length of a row, for good, so there must be none.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facersa.cipher.base import SLOPE, W_DIM
from facersa.cipher.modulation import MapperConfig, Modulation, ModulationMapper
from facersa.cipher.ring import RingMapper
from facersa.training.chains import summed_codes

CONSTANT = 20.0  # in the first two modules
CONSTANT_GAMMA = 100.0  # in the gamma that draws the curves
CONSTANT_STEP = 1000.0  # in the third module
SAMPLES = 256  # people and passwords that set the scales
PLANES = 20  # of a ring at most: 12 units fold each curve, which is 5 half turns
HALF_TURNS = 8  # that the first fold leaves; half of them are whole turns
SPARE = 64  # units at least of gamma that hold the constant
FORM = MapperConfig(odd=False, norm="none")  # three modules


@torch.no_grad()
def become_ring(
    mapper: ModulationMapper, ring: RingMapper, people: Tensor, rng: torch.Generator
) -> None:
    """Set the weights of ``mapper`` so that it does nearly what ``ring`` does.

    Its angles end at 56 half turns for 16 planes, at 40 for 20: sums of some hundred
    passwords. The ring has no such limit.

    Args:
        mapper: of the form ``FORM``, with the ring's rows and bits, of any strength.
        ring: its planes, centre and angles are copied.
        people: codes (n, rows, 512) that set the scales.
        rng: of the people and passwords.

    Raises:
        ValueError: the mapper has another form; the ring has too many planes to draw
            their curves well, or too few axes for a constant orthogonal to them.
    """
    size = ring.centre.numel()
    form = replace(
        FORM,
        num_bits=ring.num_bits,
        layers=ring.layers,
        strength=mapper.config.strength,
    )
    planes, axes = size // 2, ring.config.axes
    if mapper.config != form or planes > PLANES or axes < 2 * size:
        raise ValueError(
            f"{mapper.config} cannot become a ring of {planes} planes in {axes} axes: "
            'it takes three modules, odd=False, norm="none", all else as by default, '
            f"the ring's rows and bits, at most {PLANES} planes and four axes for each."
        )
    picked = torch.randint(len(people), (SAMPLES,), generator=rng)
    ws = people[picked.to(people.device)]
    before, code = (summed_codes(SAMPLES, ring.num_bits, rng).to(ws) for _ in range(2))
    ws = ring(ws, before)
    rows = ws[:, list(ring.layers)]
    scale = float(ring.coordinates(rows).square().mean().sqrt())
    _bend(mapper, ring, code)
    readout = _read(mapper, ring, rows, scale)
    _multiply(mapper, readout, rows, code)
    _write(mapper, ring, scale)
    # The mean error can be subtracted.
    error = (mapper(ws, code) - ring(ws, code))[:, list(ring.layers)].mean((0, 1))
    _last(_modules(mapper)[2].beta).bias.sub_(error / mapper.config.strength)


def _bend(mapper: ModulationMapper, ring: RingMapper, codes: Tensor) -> None:
    """Converter and second gamma: cos a - 1 and sin a of each plane, each twice over.

    The converter's first layer folds an angle at every ``HALF_TURNS``-th half turn. Its
    second folds the result at each one, shifted by whole turns to where the folds are,
    up to half of ``HALF_TURNS`` on either side. The cosine does not change by that. The
    result lies between 0 and pi, where gamma bends it to the arc of a cosine. The sine
    of an angle is the cosine of pi / 2 less. ``codes`` give the scale that gamma's
    layer norm divides by.
    """
    first, second = mapper.converter.first, mapper.converter.second
    into, _, _, out = _modules(mapper)[1].gamma
    assert isinstance(into, nn.Linear) and isinstance(out, nn.Linear)
    planes = ring.angles.shape[1]
    knots = W_DIM // (2 * planes)  # of each curve
    bends = (W_DIM - SPARE) // (2 * planes)
    folds, fold, start = zigzag(knots)
    arc = torch.linspace(0, math.pi, 1000, dtype=torch.float64)
    places = math.pi * torch.arange(bends, dtype=torch.float64) / bends
    curve, level = pieces(arc, places, arc.cos())
    middle = HALF_TURNS * (start - math.pi / 2)  # of the second zigzag
    for layer in (first, second, into, out):
        layer.weight.zero_()
        layer.bias.zero_()
    for k in range(2 * planes):
        shift = 0.0 if k < planes else 0.5
        units = slice(k * knots, (k + 1) * knots)
        bent = slice(k * bends, (k + 1) * bends)
        first.weight[units] = (ring.angles[:, k % planes] / HALF_TURNS).to(first.weight)
        first.bias[units] = (-folds - math.pi * shift / HALF_TURNS).to(first.bias)
        second.weight[units, units] = (HALF_TURNS * fold).to(second.weight)
        second.bias[units] = (middle - folds).to(second.bias)
        into.weight[bent, units] = fold.to(into.weight)
        into.bias[bent] = (start - places).to(into.bias)
        out.weight[2 * k : 2 * k + 2, bent] = curve.to(out.weight)
        out.bias[2 * k : 2 * k + 2] = level - (1.0 if k < planes else 0.0)
    used = 2 * planes * bends
    rest = W_DIM - used  # they hold the constant, and make the mean zero
    into.weight[used:] = -into.weight[:used].sum(0) / rest
    into.bias[used:] = _across(into.bias[used:], CONSTANT_GAMMA)
    into.bias[used:] -= into.bias[:used].sum() / rest
    out.weight *= into(mapper.converter(codes)).std(dim=1, correction=0).mean()


def zigzag(knots: int) -> tuple[Tensor, Tensor, float]:
    """A line folded at each multiple of pi: arccos(cos a), from leaky units.

    It holds for (knots - 1) // 2 half turns on either side of zero. The weights are
    rounded to half precision here, all alike: that stretches the line a little and
    shifts no fold against another.

    Args:
        knots: number of units, at least 3.

    Returns:
        Places where the units bend, their weights, (knots,) each, float64, and a bias.
    """
    inner = (knots - 1) // 2 * 2  # an even number of folds, so that their leaks cancel
    folds = math.pi * (torch.arange(knots, dtype=torch.float64) - inner // 2)
    sign = 1.0 - 2.0 * (torch.arange(knots) % 2)
    weights = (sign * 2 / (1 - SLOPE)).half().double()
    # The first does not bend within reach: it is the line that the others fold.
    weights[0] = 1.0
    weights[inner + 1 :] = 0.0
    if inner // 2 % 2:
        weights = -weights
    at_zero = F.leaky_relu(-folds, SLOPE) @ weights
    return folds, weights, -float(at_zero)


def pieces(x: Tensor, knots: Tensor, target: Tensor) -> tuple[Tensor, float]:
    """Draw a curve from leaky units, by least squares.

    Args:
        x: places (n,).
        knots: places where the units bend, (k,).
        target: the curve at x, (n,).

    Returns:
        Weights of the units (k,), and a bias.
    """
    units = F.leaky_relu(x[:, None] - knots, SLOPE)
    basis = torch.cat([units, torch.ones_like(x)[:, None]], dim=1)
    solution = torch.linalg.lstsq(basis, target).solution
    return solution[:-1], float(solution[-1])


def _read(
    mapper: ModulationMapper, ring: RingMapper, rows: Tensor, scale: float
) -> Tensor:
    """First module: x and y, over ``scale``, and their negatives.

    Returns:
        The matrix (coordinates, 512) that reads x and y from them.
    """
    first, size = _modules(mapper)[0], ring.centre.numel()
    planes = ring.directions.double()
    matrix = ring.read @ planes.T @ torch.linalg.inv(planes @ planes.T) / scale
    centre = ring.config.strength * ring.centre.double().flatten()
    offset = -ring.mean @ matrix - centre / scale
    weight, bias = first.linear.weight, first.linear.bias
    weight.zero_()
    weight[: 2 * size] = torch.cat([matrix, -matrix], dim=1).T.to(weight)
    bias[: 2 * size] = torch.cat([offset, -offset]).to(bias)
    bias[2 * size :] = _across(bias[2 * size :])
    _hold(first.gamma, 1.0)
    _hold(first.beta, 0.0)
    spread = first.linear(rows).std(dim=(1, 2), correction=0).mean()
    return F.pad(_unbent(size, spread), (0, W_DIM - 2 * size))


def _multiply(
    mapper: ModulationMapper, readout: Tensor, rows: Tensor, code: Tensor
) -> None:
    """Second module: (x, y) by cos - 1, (-y, x) by sin, and both negated."""
    first, second, _ = _modules(mapper)
    half, used = 2 * len(readout), 4 * len(readout)

    def both(value: Tensor) -> Tensor:
        """Of (x, y) of each plane, ((x, y), (-y, x)) and the negatives."""
        pairs = value.unflatten(0, (-1, 2))
        across = torch.stack([-pairs[:, 1], pairs[:, 0]], dim=1)
        value = torch.cat([value, across.flatten(0, 1)])
        return torch.cat([value, -value])

    linear, gamma = second.linear, _last(second.gamma)
    linear.weight.zero_()
    linear.weight[:used] = both(readout)
    linear.bias[:used] = 0
    linear.bias[used:] = _across(linear.bias[used:])
    hidden = linear(F.leaky_relu(first(rows, mapper.converter(code)), SLOPE))
    spread = hidden.std(dim=(1, 2), correction=0).mean()  # the norm divides by it
    for value in (gamma.weight, gamma.bias):
        value[half:used] = value[:half]
        value[:used] *= spread
    gamma.bias[used:] = 1
    _hold(second.beta, 0.0)


def _write(mapper: ModulationMapper, ring: RingMapper, scale: float) -> None:
    """Third module: the sum of the products, as a step along the ring's planes."""
    third = _modules(mapper)[2]
    to = third.linear.weight
    step = (ring.directions.double() @ ring.write).to(to) / mapper.config.strength
    step = step * scale
    # Channels are weighed so that the norm finds the mean of every step to be zero.
    ones = step.new_ones(W_DIM, 1)
    level = (ones - step.T @ torch.linalg.lstsq(step.T, ones).solution)[:, 0]
    level = torch.where(level.abs() < 0.1, level.sign() * 0.1, level)
    products = torch.cat([step, step, -step, -step]).T / (1 + SLOPE)
    to.zero_()
    to[:, : products.shape[1]] = level[:, None] * products
    # The constant lies along axes of w that vary much, where its errors show least, and
    # across every step: a norm takes away what lies along the constant.
    across = torch.cat([level**2 * step, level[None]]).double()
    basis, _ = torch.linalg.qr(ring.write @ across.T)
    constant = (ring.write[0] - basis[0] @ basis.T @ ring.write).to(to)
    size = step.square().sum(0).mean().sqrt()
    constant = constant * (CONSTANT_STEP * size / constant.square().mean().sqrt())
    third.linear.bias.copy_(level * constant)
    _hold(third.gamma, (level * constant).std(correction=0) / level)
    _hold(third.beta, -constant)


def _modules(mapper: ModulationMapper) -> list[Modulation]:
    return [module for module in mapper.modules_ if isinstance(module, Modulation)]


def _last(part: nn.Sequential) -> nn.Linear:
    last = part[-1]
    assert isinstance(last, nn.Linear)
    return last


def _across(place: Tensor, value: float = CONSTANT) -> Tensor:
    """A constant of no mean, to fill ``place`` (an even number of channels)."""
    return value * place.new_tensor([-1.0, 1.0]).repeat(len(place) // 2)


def _unbent(size: int, gain: Tensor) -> Tensor:
    """Weights (size, 2 size): ``gain`` times what leaky units bent, unbent."""
    one = torch.eye(size).to(gain) * gain / (1 + SLOPE)
    return torch.cat([one, -one], dim=1)


def _hold(part: nn.Sequential, value: Tensor | float) -> None:
    """Let a gamma or beta be ``value``, whatever the password."""
    _last(part).weight.zero_()
    _last(part).bias.copy_(torch.as_tensor(value).expand(W_DIM))
