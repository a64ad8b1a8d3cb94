"""What a file says of its cipher, and the cipher built again from that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from facersa.errors import SealedError
from facersa.mapper import MAPPERS, Mapper, fingerprint, kind_of, load_mapper
from facersa.password import MAX_BITS
from facersa.rotation import RotationCipher, WStatistics


def params_of(cipher: RotationCipher | Mapper) -> dict[str, Any]:
    """What a file must say for ``cipher`` to be built again."""
    if not isinstance(cipher, RotationCipher):
        return {
            "cipher": "mapper",
            "mapper": kind_of(cipher),
            "weights": fingerprint(cipher),
            "num_bits": cipher.num_bits,
        }
    return {
        "cipher": "rotation",
        "layers": list(cipher.layers),
        "num_bits": cipher.num_bits,
        "kappa": cipher.kappa,
        "context": cipher.context,
    }


def cipher_of(
    params: Mapping[str, Any],
    statistics: WStatistics,
    num_ws: int,
    loaded: Mapper | None = None,
) -> RotationCipher | Mapper:
    """The cipher that ``params_of`` described, for codes of ``num_ws`` rows.

    Args:
        params: as read from a file, so anything may be in it.
        statistics: of w, for the rotation.
        num_ws: rows of a code.
        loaded: a trained mapper that need not be loaded again.

    Raises:
        SealedError: a cipher or weights that this version does not have.
    """
    try:
        given = dict(params)
        name = given.pop("cipher")
        if name == "mapper":
            return _stored_mapper(loaded, **given)
        if name != "rotation":
            raise ValueError(f"unknown cipher {name!r}")
        rows = [*given["layers"], given["context"]]
        if not all(type(r) is int and r < num_ws for r in rows):
            raise ValueError(f"rows {rows}")
        if not 1 <= given["num_bits"] <= MAX_BITS:
            raise ValueError(f"{given['num_bits']} bits")
        return RotationCipher(statistics, **given)
    except (KeyError, TypeError, ValueError) as error:
        raise SealedError(
            f"this file asks for a cipher this version does not know ({error}); use "
            "the version of facersa that made it, or a newer one."
        ) from error


def _stored_mapper(
    loaded: Mapper | None, *, mapper: str, weights: str, num_bits: int
) -> Mapper:
    if mapper not in MAPPERS:
        raise ValueError(f"unknown mapper {mapper!r}")
    if loaded is None or kind_of(loaded) != mapper:
        loaded = load_mapper(mapper)
    if (fingerprint(loaded), loaded.num_bits) != (weights, num_bits):
        raise ValueError(f"other weights of the {mapper} mapper")
    return loaded
