"""Ciphers by name and settings, and by what a file says of the one that made it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from facersa.errors import FaceRSAError, PasswordError, SealedError
from facersa.mapper import MAPPERS, Mapper, fingerprint, kind_of, load_mapper
from facersa.password import DEFAULT_BITS, MAX_BITS
from facersa.rotation import RotationCipher, WStatistics


class Ciphers:
    """One cipher with its settings, for codes of any length it knows.

    Args:
        name: "rotation" (exact, any number of bits), or a trained mapper:
            "steered", "ring" or "faithful" (the paper's), of 16 bits.
        num_ws: rows of W+.
        layers: rows that the rotation edits, 0-based; None for its default.
        kappa: the rotation's push away from the person; None for its default.

    Raises:
        FaceRSAError: settings that make no sense, or missing weights.
    """

    def __init__(
        self,
        name: str,
        num_ws: int,
        *,
        layers: Sequence[int] | None = None,
        kappa: float | None = None,
    ) -> None:
        self.num_ws = num_ws
        self.statistics = WStatistics.load()
        self._mapper: Mapper | None = None
        self._options: dict[str, Any] = {}
        if layers is not None:
            self._options["layers"] = tuple(layers)
        if kappa is not None:
            self._options["kappa"] = kappa
        if name in MAPPERS:
            if self._options:
                raise FaceRSAError(
                    "layers and kappa belong to the rotation cipher; a trained "
                    "mapper has its own, so leave them out."
                )
            self._mapper = load_mapper(name)
        elif name != "rotation":
            raise FaceRSAError(
                f"the cipher is one of {('rotation', *MAPPERS)}, got {name!r}."
            )
        self.of()  # so that senseless settings are named now, not after the work

    @property
    def default_bits(self) -> int:
        """Length of codes made from typed passwords, unless told otherwise."""
        return DEFAULT_BITS if self._mapper is None else self._mapper.num_bits

    def of(self, num_bits: int | None = None) -> RotationCipher | Mapper:
        """The cipher for codes of ``num_bits``, or of the default length.

        Raises:
            PasswordError: a number of bits that makes no sense, or that a trained
                mapper does not have.
            FaceRSAError: rows or a kappa that make no sense.
        """
        num_bits = self.default_bits if num_bits is None else num_bits
        if self._mapper is not None:
            if num_bits != self._mapper.num_bits:
                raise PasswordError(
                    f"the trained mapper takes codes of {self._mapper.num_bits} bits, "
                    f"got {num_bits}; use those, or the rotation cipher."
                )
            return self._mapper
        if not 1 <= num_bits <= MAX_BITS:
            raise PasswordError(f"expected 1 to {MAX_BITS} bits, got {num_bits}.")
        try:
            cipher = RotationCipher(self.statistics, num_bits=num_bits, **self._options)
        except ValueError as error:
            raise FaceRSAError(str(error)) from error
        if cipher.layers[-1] >= self.num_ws:
            raise FaceRSAError(
                f"rows go from 0 to {self.num_ws - 1}, got {cipher.layers}."
            )
        return cipher

    def again(self, params: Mapping[str, Any]) -> RotationCipher | Mapper:
        """The cipher that ``params_of`` described, whatever this one is.

        Args:
            params: as read from a file, so anything may be in it.

        Raises:
            SealedError: a cipher or weights that this version does not have.
        """
        try:
            given = dict(params)
            name = given.pop("cipher")
            if name == "mapper":
                return _stored_mapper(self._mapper, **given)
            if name != "rotation":
                raise ValueError(f"unknown cipher {name!r}")
            rows = [*given["layers"], given["context"]]
            if not all(type(r) is int and r < self.num_ws for r in rows):
                raise ValueError(f"rows {rows}")
            if not 1 <= given["num_bits"] <= MAX_BITS:
                raise ValueError(f"{given['num_bits']} bits")
            return RotationCipher(self.statistics, **given)
        except (KeyError, TypeError, ValueError) as error:
            raise SealedError(
                f"this file asks for a cipher this version does not know ({error}); "
                "use the version of facersa that made it, or a newer one."
            ) from error


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
