"""What an edited code gives away when it travels in clear, as in the paper's setting.

``facersa`` writes such codes only with ``--chunk open``. Whoever holds one holds rows
that were not edited, and rows of one person are alike. So there are two attacks beside
copying a row (``attacks.copy_row``), both without a picture and without a judge:

- *a known pair*: a code and what the cipher made of it, under a raw code that serves
  other people too. What turned or shifted the one is undone on the others.
- *all passwords*: a code of 16 bits has 65,536 values. The right one makes the edited
  rows like the others again, or like those of another code of the person.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from facersa.cipher.base import Cipher
from facersa.cipher.description import label
from facersa.cipher.password import Password
from facersa.cipher.ring import RingMapper
from facersa.cipher.rotation import RotationCipher
from facersa.cipher.steered import SteeredMapper
from facersa.errors import FaceRSAError
from facersa.evaluation.results import Key, head, rows
from facersa.generator.base import Generator
from facersa.people import people

MOST_BITS = 20  # of a password that is searched for among all
BATCH = 512  # passwords tried at once
OFFSET = 0.15  # of each row towards somebody else's, as codes of photographs have
REFERENCES = "no reference", "a reference"
Undo = Callable[[Tensor], Tensor]
Misfit = Callable[[Tensor], Tensor]


def known_pair(cipher: Cipher, plain: Tensor, edited: Tensor) -> Undo:
    """What undoes a raw code on anybody's code, from one person's code and its edit.

    Of a turn the angles are read off, of a shift its coefficients are solved for, and
    of any other cipher with a short code all passwords are tried on the pair.

    Args:
        cipher: public, as its weights are.
        plain: (1, rows, D).
        edited: what the cipher made of it, (1, rows, D).

    Returns:
        Takes edited codes (B, rows, D) under the same raw code to the plain ones.

    Raises:
        FaceRSAError: another cipher with a long code.
    """
    if isinstance(cipher, RotationCipher):
        turned = _angles(cipher.coordinates(plain), cipher.coordinates(edited))
        return lambda ws: cipher.turn(ws, -turned)
    if isinstance(cipher, RingMapper):
        before, after = (
            cipher.coordinates(ws[:, list(cipher.layers)]).unflatten(-1, (-1, 2))
            for ws in (plain, edited)
        )
        step = _angles(before.transpose(1, 2), after.transpose(1, 2), together=True)
        index = list(cipher.layers)

        def turn_back(ws: Tensor) -> Tensor:
            back = cipher.turn(ws, -step)
            return ws.index_add(1, torch.tensor(index), back.to(ws.dtype))

        return turn_back
    if isinstance(cipher, SteeredMapper):
        change = (edited - plain)[:, list(cipher.layers)] @ cipher.read
        effect = cipher.config.strength * cipher.directions(plain)[0].flatten(1)
        solved = torch.linalg.lstsq(effect.T, change.reshape(-1, 1)).solution
        code = (2 * solved.T).round() / 2
        return lambda ws: cipher(ws, -code)
    target = edited[:, list(cipher.layers)]

    def misfit(tried: Tensor) -> Tensor:
        return (tried[:, list(cipher.layers)] - target).square().mean((1, 2))

    found = searched(cipher, plain, misfit, decrypt=False).argmin()
    code = code_of(found[None], cipher.num_bits)
    return lambda ws: cipher(ws, -code)


def _angles(before: Tensor, after: Tensor, together: bool = False) -> Tensor:
    """Angles from points (..., 2) to others; ``together``: one for all of axis -2."""
    a, b = (torch.view_as_complex(x.double().contiguous()) for x in (before, after))
    product = a.conj() * b
    return (product.sum(-1) if together else product).angle()


def every_code(num_bits: int) -> Iterator[Tensor]:
    """All fresh codes of ``num_bits`` in batches (B, num_bits), by their number.

    Raises:
        FaceRSAError: too many to try.
    """
    if num_bits > MOST_BITS:
        raise FaceRSAError(
            f"2^{num_bits} passwords are too many to try; use at most {MOST_BITS} bits."
        )
    for numbers in torch.arange(2**num_bits).split(BATCH):
        yield code_of(numbers, num_bits)


def code_of(numbers: Tensor, num_bits: int) -> Tensor:
    """Numbers (B,) to codes (B, num_bits): bit k of a number is entry k."""
    return (numbers[:, None] >> torch.arange(num_bits) & 1).float() - 0.5


def number_of(code: Tensor) -> int:
    """The number of a fresh code (1, N)."""
    return int((code[0] > 0).long() @ 2 ** torch.arange(code.shape[1]))


@torch.no_grad()
def searched(
    cipher: Cipher, ws: Tensor, misfit: Misfit, *, decrypt: bool = True
) -> Tensor:
    """Try all passwords on one code.

    Args:
        cipher: of at most ``MOST_BITS`` bits.
        ws: (1, rows, D).
        misfit: of codes (B, rows, D), values (B, ...): the least is taken for right.
        decrypt: by the inverse of each password; otherwise encrypt by it.

    Returns:
        The misfit (2^N, ...) of each password, by its number.
    """
    sign = -1 if decrypt else 1
    codes = every_code(cipher.num_bits)
    found = [misfit(cipher(ws.expand(len(c), -1, -1), sign * c)) for c in codes]
    return torch.cat(found)


def rank(misfits: Tensor, right: int) -> float:
    """The place of the right password among all, 1 the first; ties count half."""
    mine = misfits[right]
    ties = (misfits == mine).sum() - 1
    return float(1 + (misfits < mine).sum() + ties / 2)


def unlike_rows(cipher: Cipher) -> Misfit:
    """How far the edited rows of codes are from the mean of the others, (B,)."""
    edited = list(cipher.layers)

    def misfit(ws: Tensor) -> Tensor:
        free = [row for row in range(ws.shape[1]) if row not in edited]
        apart = ws[:, edited] - ws[:, free].mean(1, keepdim=True)
        return apart.square().mean((1, 2))

    return misfit


def unlike_reference(cipher: Cipher, reference: Tensor) -> Misfit:
    """How far the edited rows of codes are from those of another code (1, rows, D)."""
    edited = list(cipher.layers)
    return lambda ws: (ws - reference)[:, edited].square().mean((1, 2))


def attack_codes(
    ciphers: Sequence[Cipher],
    generator: Generator,
    *,
    n: int = 4,
    seed: int = 0,
    psi: float = 0.85,
    progress: bool = True,
) -> dict[str, Any]:
    """Both attacks on the codes of generated people.

    Args:
        ciphers: all passwords are tried on those of at most ``MOST_BITS`` bits.
        generator: draws the people.
        n: people, at least 2.
        seed: draws people and passwords.
        psi: truncation of the people.
        progress: show a bar.

    Returns:
        A result, see ``results``. "property" is the cipher and its bits. Pair "known
        pair", metric "error": how far the code that the attack gives for the next
        person is from the right one, where 1 is as far as the encrypted code.
        Pairs with and without a reference: the "rank" of the right password among all,
        and whether it is "first", for codes in W and for such with
        offsets, as codes of photographs have ("no reference, W" and so on). The
        reference is another code of the person, with other offsets.

    Raises:
        FaceRSAError: fewer than 2 people.
    """
    if n < 2:
        raise FaceRSAError(f"a pair and a victim are 2 people, got {n}; add some.")
    in_w = people(generator, "W", psi, n, seed)
    other = people(generator, "W", psi, 2 * n * generator.num_ws, seed + 1)[:, 0]
    noise = (other - generator.w_avg).view(2, n, generator.num_ws, -1)
    kinds = {"W": in_w, "offsets": in_w + OFFSET * noise[0]}
    reference = in_w + OFFSET * noise[1]
    values: dict[Key, list[float]] = defaultdict(list)
    for cipher in ciphers:
        name = f"{cipher.name}, {cipher.num_bits} bits"
        for index in tqdm(range(n), desc=name, disable=not progress):
            password = Password.random(cipher.num_bits, seed=1000 * seed + index)
            one, next_one = (slice(k % n, k % n + 1) for k in (index, index + 1))
            edited = cipher(in_w, password.code)
            undo = known_pair(cipher, in_w[one], edited[one])
            left = (undo(edited[next_one]) - in_w[next_one]).norm()
            error = float(left / (edited - in_w)[next_one].norm())
            values[name, "known pair", "error", None].append(error)
            if cipher.num_bits > MOST_BITS:
                continue
            right = number_of(password.code)
            alike = unlike_rows(cipher), unlike_reference(cipher, reference[one])

            def misfits(ws: Tensor, parts: Sequence[Misfit] = alike) -> Tensor:
                return torch.stack([misfit(ws) for misfit in parts], 1)

            for kind, codes in kinds.items():
                target = cipher(codes[one], password.code)
                found = searched(cipher, target, misfits)
                for what, each in zip(REFERENCES, found.T, strict=True):
                    place, pair = rank(each, right), f"{what}, {kind}"
                    values[name, pair, "rank", None].append(place)
                    values[name, pair, "first", None].append(float(place == 1))
    settings = {"n": n, "psi": psi, "offset": OFFSET}
    named = [label(cipher) for cipher in ciphers]
    start = head("codes", ciphers=named, settings=settings, seed=seed)
    return start | {"rows": rows(values)}
