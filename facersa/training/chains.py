"""The codes that the losses of one training step speak of, by name; and passwords.

``I`` is a person, ``Ie1`` and ``Ie2`` are encrypted with two passwords, ``Ie1d1`` is
decrypted again, ``Ie1d'`` decrypted with a wrong password, ``I^k`` the k-th of a chain.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, get_args

import torch
from torch import Tensor

from facersa.cipher.base import LearnedCipher

Group = Literal["single", "sequential", "associated"]  # of losses
GROUPS: tuple[Group, ...] = get_args(Group)


def named_codes(
    mapper: LearnedCipher,
    ws: Tensor,
    groups: Collection[Group],
    pairs: int,
    rng: torch.Generator,
    one_bit: float = 0.5,
) -> tuple[dict[str, Tensor], Tensor]:
    """The codes that random passwords give, for some of the three groups of losses.

    Where the mapper is exact, decryption returns the very tensors of before.

    Args:
        mapper: the cipher.
        ws: people (B, rows, 512).
        groups: of ``GROUPS``.
        pairs: number m of passwords in a chain; it has 2m + 1 codes.
        rng: of the passwords, and of the links that one sum replaces.
        one_bit: share of the wrong and second passwords that differ in one bit.

    Returns:
        Codes (B, rows, 512) by name, and e1, (B, N). "I" and "Ie1" are always there;
        "single" adds "Ie2", "Ie1d'" and "Ie1d1", "sequential" "I^0" to "I^2m", and
        "associated" "chained" and "direct".
    """
    exact = mapper.exact
    e = fresh_codes(pairs, len(ws), mapper.num_bits, rng).to(ws)
    wrong, other = (altered_codes(e[0], rng, one_bit) for _ in range(2))
    first, last = sorted(torch.randperm(pairs + 1, generator=rng)[:2].tolist())
    if last - first < 2:
        first, last = 0, pairs
    once = mapper(ws, e[0])
    codes = {"I": ws, "Ie1": once}
    if "single" in groups:
        codes["Ie2"] = mapper(ws, other)
        codes["Ie1d'"] = mapper(once, -wrong)
        codes["Ie1d1"] = ws if exact else mapper(once, -e[0])
    if not {"sequential", "associated"} & set(groups):
        return codes, e[0]
    there = [ws, once]
    for password in e[1:]:
        there.append(mapper(there[-1], password))
    if "sequential" in groups:
        chain = list(there)
        for k in reversed(range(pairs)):
            chain.append(there[k] if exact else mapper(chain[-1], -e[k]))
        codes |= {f"I^{k}": code for k, code in enumerate(chain)}
    if "associated" in groups:
        codes["chained"] = there[last]
        codes["direct"] = mapper(there[first], e[first:last].sum(0))
    return codes, e[0]


MOST = 4  # passwords of a sum, by default


def fresh_codes(number: int, count: int, bits: int, rng: torch.Generator) -> Tensor:
    """Random password codes (number, count, bits) of -1/2 and 1/2."""
    return torch.randint(2, (number, count, bits), generator=rng) - 0.5


def summed_codes(count: int, bits: int, rng: torch.Generator) -> Tensor:
    """Codes (count, bits): half are passwords, half sums of none to four."""
    drawn = fresh_codes(MOST, count, bits, rng)
    number = torch.randint(MOST + 1, (count, 1), generator=rng)
    single = torch.rand(count, 1, generator=rng) < 0.5
    return sum_of_first(drawn, torch.where(single, 1, number))


def sum_of_first(codes: Tensor, number: Tensor) -> Tensor:
    """Codes (k, B, N) to the sum of the first ``number`` (B, 1) of each."""
    order = torch.arange(len(codes), device=codes.device)[:, None, None]
    return (codes * (order < number)).sum(0)


def altered_codes(code: Tensor, rng: torch.Generator, one_bit: float = 0.5) -> Tensor:
    """Other codes (B, N): a share ``one_bit`` with one bit flipped, else with any."""
    chance = torch.rand(code.shape, generator=rng)
    one = chance == chance.amin(1, keepdim=True)
    many = (chance < 0.5) | one
    single = torch.rand(len(code), 1, generator=rng) < one_bit
    return torch.where(torch.where(single, one, many).to(code.device), -code, code)
