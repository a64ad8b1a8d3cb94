"""What files and reports say of a cipher, and how that builds it again.

``FORMAT.md`` describes what ``describe`` and ``fingerprint`` put in files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import nn

from facersa.cipher.base import Cipher
from facersa.cipher.catalogue import CATALOGUE, build_cipher, entry_of, load_cipher
from facersa.errors import SealedError
from facersa.generator.statistics import WStatistics

# What version 1 of the file format called the weights that ship, and what they are now.
VERSION_1 = {
    "7a5b723d6d564926": "a23abff9a14c77af",  # ring
    "703f0141b1325c2d": "252f52b322358b1e",  # steered
    "af9d2da29c5b9609": "0559ba7aead2a90f",  # faithful, now assembled
}
# Name and weights in files of versions 1 and 2, and what they are called now.
RENAMED = {("faithful", "0559ba7aead2a90f"): ("assembled", "cc29c6324ff62824")}

# Weights that shipped once and no longer do, and until when.
FORMER = {"a012957ce2630aea": "30 November 2026"}  # faithful


def fingerprint(cipher: Cipher) -> str:
    """16 hex digits that tell one cipher, settings and weights, from another.

    SHA-256, field by field: the name; each setting, sorted; each tensor, sorted by
    name, with its shape and its values as files hold them.
    """
    digest = hashlib.sha256(f"facersa cipher 2\n{cipher.name}\n".encode())
    for key, value in sorted(cipher.settings.items()):
        digest.update(f"{key}={json.dumps(value)}\n".encode())
    state = cipher.state_dict() if isinstance(cipher, nn.Module) else {}
    for key, tensor in sorted(state.items()):
        kind = "<f2" if tensor.ndim > 1 else "<f4"  # matrices are stored in halves
        values = tensor.detach().float().cpu().numpy().astype(np.dtype(kind))
        digest.update(f"{key} {kind} {list(values.shape)}\n".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()[:16]


def label(cipher: Cipher) -> str:
    """One line for reports: name, rows, settings or fingerprint."""
    entry = entry_of(cipher.name)
    parts = [cipher.name, f"rows {list(cipher.layers)}"]
    parts += [f"{k} {cipher.settings[k]}" for k in entry.public if k != "layers"]
    if entry.learned:
        parts.append(f"weights {fingerprint(cipher)}")
    return ", ".join(parts)


def describe(cipher: Cipher) -> dict[str, Any]:
    """What a file says of ``cipher``, so that ``restore`` can build it again."""
    entry = entry_of(cipher.name)
    public = {key: cipher.settings[key] for key in entry.public}
    described = {"cipher": cipher.name, "num_bits": cipher.num_bits} | public
    return described | ({"weights": fingerprint(cipher)} if entry.learned else {})


def upgrade(described: Mapping[str, Any]) -> dict[str, Any]:
    """What version 1 of the file format said of a cipher, as ``describe`` says it."""
    new = dict(described)
    if new.get("cipher") == "mapper":
        new["cipher"] = new.pop("mapper", None)
    if isinstance(weights := new.get("weights"), str):
        new["weights"] = VERSION_1.get(weights, weights)
    return new


def restore(
    described: Mapping[str, Any],
    num_ws: int,
    *,
    loaded: Cipher | None = None,
    statistics: WStatistics | None = None,
) -> Cipher:
    """The cipher that ``describe`` described.

    Args:
        described: as read from a file, so anything may be in it.
        num_ws: rows of W+.
        loaded: tried before the shipped weights, if it is the cipher in question.
        statistics: of w; the shipped ones by default.

    Raises:
        SealedError: a cipher or weights that are not at hand.
    """
    try:
        given = dict(described)
        name = given.pop("cipher")
        weights = given.pop("weights", None)
        name, weights = RENAMED.get((name, weights), (name, weights))
        entry = CATALOGUE[name]
        given = {**entry.before, **given}
        rows = [*given.get("layers", []), given.get("context", 0)]
        if not all(type(row) is int and 0 <= row < num_ws for row in rows):
            raise ValueError(f"rows {rows}")
        if set(given) != {"num_bits", *entry.public} or (
            isinstance(weights, str) != entry.learned
        ):
            raise ValueError(f"fields {sorted(given)}")
        if not entry.learned:
            return build_cipher(name, given, statistics)
    except (KeyError, TypeError, ValueError) as error:
        raise SealedError(
            f"this file asks for a cipher that this version does not know ({error}); "
            "use the version of facersa that made it, or a newer one."
        ) from error
    wanted = weights, given["num_bits"]
    for at_hand in (loaded, None):
        if at_hand is None:
            at_hand = load_cipher(name, statistics=statistics)
        if at_hand.name == name and (fingerprint(at_hand), at_hand.num_bits) == wanted:
            return at_hand
    if weights in FORMER:
        raise SealedError(
            f"this file was encrypted with weights of the {name} cipher ({weights}) "
            f"that facersa had until {FORMER[weights]}; decrypt it with a version of "
            "that time, or pass the file of that version with --weights."
        )
    raise SealedError(
        f"this file was encrypted with other weights of the {name} cipher ({weights}); "
        "pass the file that holds them with --weights."
    )
