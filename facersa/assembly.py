"""Assemble the paper's network from parts that know a ring, before it copies one whole.

What a ring does to a row is a sum of products, four for each plane:

    step = sum over planes of (cos a - 1) (x, y) + sin a (-y, x)

x and y are read from the face, the angle a from the password. To multiply what comes
from a face by what comes from a password is just what a modulation module does. So the
first module learns to read x and y, in minutes; the converter and the gamma of the
second begin with cosines and sines drawn from straight pieces, and learn to draw them
better; and what joins them is known.

Two things that the network does on the way are made up for. A leaky unit bends a
number, but not the difference of it and its negative. And a layer norm forgets the mean
and the size of what it is given: a loud constant keeps the size, if it lies across
the signal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from facersa.edits import SLOPE, W_DIM
from facersa.imitation import summed_codes
from facersa.mapper import MapperConfig, Modulation, ModulationMapper
from facersa.ops import pixel_norm
from facersa.ring import RingMapper
from facersa.training import schedule

SPARE = 64  # channels of the second module that hold a constant
LOUD = 8.0, 20.0  # constants of the second and third module, in sizes of the signal
BENT = 20_000  # passwords to which the converter is fitted before it descends
REACH = 5.0  # of its knots, in standard deviations of a password's angle
FACES_LR, PASSWORDS_LR = 3e-3, 1e-3


def begin_as_ring(
    mapper: ModulationMapper,
    ring: RingMapper,
    people: Tensor,
    rng: torch.Generator,
    steps: int,
    batch: int = 256,
    *,
    progress: bool = True,
) -> None:
    """Set the weights of ``mapper`` so that it does nearly what ``ring`` does.

    Args:
        mapper: three modules, ``odd=False``, all else as by default.
        ring: whose planes, centre and angles are learned.
        people: (n, 16, 512) codes; some are drawn at each step.
        rng: of people and passwords.
        steps: of each of the two parts.
        batch: people a step; twice as many passwords.
        progress: show bars.

    Raises:
        ValueError: the mapper has another form, or the ring has too many planes.
    """
    form = MapperConfig(
        num_bits=ring.num_bits,
        layers=ring.layers,
        strength=mapper.config.strength,
        odd=False,
    )
    size = ring.centre.numel()
    if mapper.config != form or 4 * size > W_DIM - SPARE:
        raise ValueError(
            f"{mapper.config} cannot begin as a ring of {size // 2} planes: it takes "
            f"three modules, odd=False, all else as by default, the ring's rows and "
            f"bits, and at most {(W_DIM - SPARE) // 8} planes."
        )
    first, second, third = _modules(mapper)

    @torch.no_grad()
    def draw() -> tuple[Tensor, Tensor]:
        """Rows of people, plain and encrypted, and where they lie in the planes."""
        picked = torch.randint(len(people), (batch,), generator=rng)
        code = summed_codes(batch, ring.num_bits, rng).to(people)
        rows = ring(people[picked.to(people.device)], code)[:, list(ring.layers)]
        return pixel_norm(rows, dim=-1), ring.coordinates(rows).to(people)

    def read(x: Tensor) -> Tensor:
        x = first.linear(x)
        return F.leaky_relu(F.layer_norm(x, x.shape[1:]), SLOPE)

    readout = nn.Linear(W_DIM, size).to(people)
    scale = float(draw()[1].square().mean().sqrt())

    def reading_error() -> Tensor:
        x, t = draw()
        return (readout(read(x)) - t / scale).square().mean()

    def turning_error() -> Tensor:
        code = summed_codes(2 * batch, ring.num_bits, rng).to(people)
        angle = (code @ ring.angles).repeat_interleave(2, dim=1)
        wanted = torch.cat([angle.cos() - 1, angle.sin()], dim=1)
        found = second.gamma(mapper.converter(code))[:, : 2 * size]
        return (found - wanted).square().mean()

    _bend(mapper, ring, summed_codes(BENT, ring.num_bits, rng).to(people))
    faces = [first.linear, readout]
    _fit("read faces", faces, reading_error, steps, FACES_LR, progress)
    passwords = [mapper.converter, second.gamma]
    _fit("read passwords", passwords, turning_error, steps, PASSWORDS_LR, progress)
    with torch.no_grad():
        _hold(first.gamma, 1.0)
        _hold(first.beta, 0.0)
        _multiply(mapper, readout, draw()[0])
        _write(mapper, ring, scale)
        # What is wrong in the mean can be taken off.
        ws = people[:batch]
        code = summed_codes(len(ws), ring.num_bits, rng).to(ws)
        rows = ring(ws, code)[:, list(ring.layers)]
        gap = (mapper(ws, code)[:, list(ring.layers)] - rows).mean((0, 1))
        _last(third.beta).bias.sub_(gap / mapper.config.strength)


@torch.no_grad()
def _bend(mapper: ModulationMapper, ring: RingMapper, codes: Tensor) -> None:
    """Cosines and sines, drawn from straight pieces.

    The first layer of the converter bends at knots along the angle of each plane, the
    second reads the curves from them as least squares have it, over ``codes``, and
    their negatives. The gamma of the second module hands them on, each twice. The more
    planes, the fewer knots has each, and the coarser is this start.
    """
    converter, angles = mapper.converter, ring.angles.to(codes)
    planes = angles.shape[1]
    knots = W_DIM // planes
    reach = REACH * angles.norm(dim=0) / 2
    places = torch.linspace(-1, 1, knots).to(codes) * reach[:, None]
    sides = codes.new_tensor([-1.0, 1.0]).repeat(knots // 2 + 1)[:knots]
    used = planes * knots
    along = angles.T[:, None] * sides[:, None]
    converter.first.weight[:used] = along.reshape(used, -1)
    converter.first.bias[:used] = (-places * sides).flatten()
    hidden = F.leaky_relu(converter.first(codes), SLOPE)
    turned = codes @ angles
    wanted = torch.cat([turned.cos() - 1, turned.sin()], dim=1)
    x = torch.cat([hidden, hidden.new_ones(len(hidden), 1)], dim=1).double()
    ridge = 1e-4 * len(x) * torch.eye(x.shape[1]).to(x)
    read = torch.linalg.solve(x.T @ x + ridge, x.T @ wanted.double()).T.to(codes)
    size = len(read)
    converter.second.weight[: 2 * size] = torch.cat([read, -read])[:, :-1]
    converter.second.bias[: 2 * size] = torch.cat([read, -read])[:, -1]

    into, _, _, out = _modules(mapper)[1].gamma
    assert isinstance(into, nn.Linear) and isinstance(out, nn.Linear)
    curve = torch.eye(size).to(codes) / (1 + SLOPE)
    straight = torch.cat([curve, -curve], dim=1)  # what a leaky unit bent, unbent
    into.weight.zero_()
    into.weight[: 2 * size, : 2 * size] = torch.cat([straight, -straight])
    into.bias.zero_()
    constant = into.bias[2 * size :]
    constant.copy_(LOUD[0] * codes.new_tensor([-1.0, 1.0]).repeat(len(constant) // 2))
    loud = into(converter(codes)).std(dim=1, correction=0).mean()
    out.weight[: 2 * size] = 0
    out.weight[: 2 * size, : 2 * size] = loud * straight.repeat_interleave(2, dim=0)
    out.bias[: 2 * size] = 0


def _modules(mapper: ModulationMapper) -> list[Modulation]:
    return [module for module in mapper.modules_ if isinstance(module, Modulation)]


def _last(part: nn.Sequential) -> nn.Linear:
    last = part[-1]
    assert isinstance(last, nn.Linear)
    return last


def _fit(
    name: str,
    modules: Sequence[nn.Module],
    error: Callable[[], Tensor],
    steps: int,
    lr: float,
    progress: bool,
) -> None:
    """Minimise ``error()`` over the weights of ``modules``."""
    parameters = [p for module in modules for p in module.parameters()]
    optimizer = torch.optim.Adam(parameters, betas=(0.9, 0.99))
    bar = tqdm(range(steps), desc=name, unit="step", disable=not progress)
    for step in bar:
        for group in optimizer.param_groups:
            group["lr"] = lr * schedule(step / steps)
        loss = error()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        bar.set_postfix_str(f"error {loss.item():.4f}", refresh=False)


def _hold(part: nn.Sequential, value: Tensor | float) -> None:
    """Let a gamma or beta be nearly ``value``, whatever the password."""
    _last(part).weight.mul_(0.01)
    _last(part).bias.copy_(torch.as_tensor(value).expand(W_DIM))


def _multiply(mapper: ModulationMapper, readout: nn.Linear, x: Tensor) -> None:
    """Second module: (x, y) by cos - 1, (-y, x) by sin, and the same of both negated.

    ``x`` are normed rows of people, to see how loud the signal is.
    """
    first, second, _ = _modules(mapper)
    half, used = 2 * len(readout.weight), 4 * len(readout.weight)
    turn = x.new_tensor([-1.0, 1.0])

    def both(value: Tensor) -> Tensor:
        """Of (x, y) of each plane, ((x, y), (-y, x)) and the negatives."""
        pairs = value.unflatten(0, (-1, 2))
        across = pairs.flip(1) * turn.view(2, *[1] * (value.dim() - 1))
        value = torch.cat([value, across.flatten(0, 1)])
        return torch.cat([value, -value])

    linear, gamma = second.linear, _last(second.gamma)
    linear.weight[:used] = both(readout.weight)
    linear.bias[:used] = both(readout.bias)
    linear.weight[-SPARE:] = 0
    linear.bias[-SPARE:] = LOUD[0] * turn.repeat(SPARE // 2)
    v = mapper.converter(x.new_zeros(len(x), mapper.num_bits))
    hidden = linear(F.leaky_relu(first(x, v), SLOPE))
    loud = hidden.std(dim=(1, 2)).mean()  # the norm divides by it
    for value in (gamma.weight, gamma.bias):
        value[half:used] = value[:half]
        value[:used] *= loud
    gamma.weight[used:] *= 0.01
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
    constant = constant * (LOUD[1] * size / constant.square().mean().sqrt())
    third.linear.bias.copy_(level * constant)
    _hold(third.gamma, (level * constant).std(correction=0) / level)
    _hold(third.beta, -constant)
