"""Ciphers by name and settings, and by what a file says of the one that made it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import torch

from facersa.assets.registry import shipped_weights
from facersa.cipher.modulation import MapperConfig, ModulationMapper
from facersa.cipher.password import DEFAULT_BITS, MAX_BITS
from facersa.cipher.ring import RingConfig, RingMapper
from facersa.cipher.rotation import RotationCipher
from facersa.cipher.steered import SteeredConfig, SteeredMapper
from facersa.errors import AssetError, FaceRSAError, PasswordError, SealedError
from facersa.generator.statistics import WStatistics


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


ExactMapper = SteeredMapper | RingMapper  # d undoes e, sums are chains: by construction

Mapper = ModulationMapper | ExactMapper

MAPPERS = ("ring", "steered", "faithful")


def build_mapper(kind: str, config: Mapping[str, Any] | None = None) -> Mapper:
    """A new mapper with random weights; ``config`` as its card stores it.

    Raises:
        ValueError: ``kind`` is not one of ``MAPPERS``.
    """
    if kind not in MAPPERS:
        raise ValueError(f"mapper must be one of {MAPPERS}, got {kind!r}.")
    given: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in (config or {}).items()
    }
    if kind == "faithful":
        return ModulationMapper(MapperConfig(**given))
    if kind == "ring":
        return RingMapper(RingConfig(**given))
    return SteeredMapper(SteeredConfig(**given))


def kind_of(mapper: Mapper) -> str:
    """Which of ``MAPPERS`` it is."""
    kinds = {ModulationMapper: "faithful", SteeredMapper: "steered", RingMapper: "ring"}
    return kinds[type(mapper)]


def mapper_card(kind: str) -> dict[str, Any]:
    """The model card of a shipped mapper: recipe, data, seeds, figures."""
    try:
        text = (
            resources.files("facersa") / "weights" / f"mapper_{kind}.json"
        ).read_text()
        return json.loads(text)
    except (OSError, ValueError) as error:
        raise AssetError(
            f"there are no trained weights of the {kind} mapper ({error}); train them "
            f"with: facersa train mapper --mapper {kind}"
        ) from error


def load_mapper(kind: str = "ring", device: str | torch.device = "cpu") -> Mapper:
    """A trained mapper that ships with the package, frozen.

    Raises:
        AssetError: it is missing.
    """
    card = mapper_card(kind)
    mapper = build_mapper(kind, card["settings"]["mapper"])
    tensors = shipped_weights(f"mapper_{kind}.safetensors")
    mapper.load_state_dict({name: value.float() for name, value in tensors.items()})
    return mapper.to(device).eval().requires_grad_(False)


def load_teacher(kind: str = "ring", device: str | torch.device = "cpu") -> ExactMapper:
    """A shipped mapper that is exact, "ring" or "steered", for others to imitate.

    Raises:
        AssetError: it is missing.
    """
    mapper = load_mapper(kind, device)
    assert isinstance(mapper, ExactMapper)
    return mapper


def fingerprint(mapper: Mapper) -> str:
    """16 hex digits that tell one mapper, options and weights, from another."""
    digest = hashlib.sha256(repr(mapper.config).encode())
    for name, tensor in mapper.state_dict().items():
        halves = tensor.half()  # as files hold them, but for biases that are finer
        exact = tensor.ndim > 1 or torch.equal(halves.float(), tensor.float())
        held = (halves if exact else tensor).cpu().numpy().tobytes()
        digest.update(name.encode() + held)
    return digest.hexdigest()[:16]
