"""Encrypt and decrypt again: the paper's own test of whether something was encrypted.

The paper's argument against other systems: where chains of passwords are lost, whoever
holds an image encrypts and decrypts it under a password of their own. A plain image
comes back and an anonymised one does not, so the attacker tells them apart, and may
deny service. Here codes are tested, in which nothing is lost in between: what does not
come back is the system's own doing. Nothing is painted, and no password is known.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from facersa.evaluation.distinguishers import placed
from facersa.evaluation.properties import ROUNDING, property_passwords
from facersa.evaluation.results import Key, head, rows
from facersa.evaluation.tables import build_system, system_names
from facersa.generator.base import Generator
from facersa.people import people

KINDS = "plain", "encrypted"


@torch.no_grad()
def encrypted_again(
    generator: Generator,
    *,
    n: int = 500,
    seed: int = 0,
    psi: float = 0.85,
    progress: bool = True,
) -> dict[str, Any]:
    """The test on every system of ``tables`` that decrypts.

    Args:
        generator: draws the people.
        n: people; the code of each is tested in clear and encrypted.
        seed: draws people and passwords.
        psi: truncation of the people.
        progress: show a bar.

    Returns:
        A result, see ``results``. "property" is the system. "error" of the pair "plain"
        or "encrypted" is how far the code is from what comes back, in distances of the
        code from the mean; rounding counts as 0. "auc" is the area under the ROC curve
        of telling the two by it: .5 is chance, 1 says that encrypted codes come back
        worse, 0 that they come back better.
    """
    codes = people(generator, "W", psi, n, seed)
    size = (codes - generator.w_avg).norm(dim=(1, 2))
    values: dict[Key, list[float]] = {}
    for name in tqdm(system_names(), desc="again", disable=not progress):
        system = build_system(name, generator, torch.Generator().manual_seed(seed))
        if getattr(system, "decrypt", None) is None:
            continue
        errors: dict[str, list[Tensor]] = defaultdict(list)
        for index, ws in enumerate(codes.split(1)):
            first = seed * 100_000 + index
            (e1, own, *_), _ = property_passwords(system.num_bits, first)
            tested = ws, system(ws, e1.code)
            for kind, code in zip(KINDS, tested, strict=True):
                back = system.decrypt(system(code, own.code), own.code)
                apart = (back - code).abs().max() > ROUNDING
                errors[kind].append((back - code).norm() / size[index] * apart)
        plain, encrypted = (torch.stack(errors[kind]) for kind in KINDS)
        values[name, "plain", "error", None] = plain.tolist()
        values[name, "encrypted", "error", None] = encrypted.tolist()
        values[name, "told apart", "auc", None] = placed(encrypted, plain).tolist()
    settings = {"n": n, "psi": psi}
    return head("again", settings=settings, seed=seed) | {"rows": rows(values)}
