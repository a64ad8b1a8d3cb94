"""Every cipher by name: how it is built, loaded, and described in a file.

``CATALOGUE`` is the one list that the command line, the file format, training,
evaluation and the notebooks read. To add a cipher, write its file, add an entry here
and a test. ``description`` says what files say of a cipher.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import nn

from facersa.assets.registry import shipped_weights
from facersa.cipher.base import W_DIM, Cipher, LearnedCipher, Settings
from facersa.cipher.modulation import AssembledMapper, MapperConfig, ModulationMapper
from facersa.cipher.password import MAX_BITS
from facersa.cipher.ring import RingConfig, RingMapper
from facersa.cipher.rotation import RotationCipher
from facersa.cipher.steady import SteadyCipher
from facersa.cipher.steered import SteeredConfig, SteeredMapper
from facersa.errors import AssetError, FaceRSAError, PasswordError
from facersa.files import read_file
from facersa.generator.statistics import WStatistics

Build = Callable[[Settings, WStatistics | None], Cipher]


@dataclass(frozen=True)
class Entry:
    """One cipher of the catalogue.

    Attributes:
        file_id: its number in pixel marks, 0 to 31; never given to another cipher.
        build: from settings and statistics of w (None: the shipped ones); a learned
            cipher gets random weights.
        learned: whether it has weights, which ship as ``weights/mapper_NAME``.
        public: settings that a file carries. A cipher with weights needs none: its
            fingerprint covers them.
        before: those of them that older files leave out, and what they meant.
    """

    file_id: int
    build: Build
    learned: bool = False
    public: tuple[str, ...] = ()
    before: Settings = field(default_factory=dict)


def _learned(config: Any, cipher: Any, *, needs_statistics: bool = True) -> Build:
    def build(settings: Settings, statistics: WStatistics | None) -> Cipher:
        tuples = {
            k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()
        }
        made = config(**tuples)
        return cipher(made, statistics) if needs_statistics else cipher(made)

    return build


CATALOGUE: dict[str, Entry] = {
    "rotation": Entry(
        0,
        lambda settings, statistics: RotationCipher(statistics, **settings),
        public=("layers", "kappa", "context"),
    ),
    "steady": Entry(
        4,
        lambda settings, statistics: SteadyCipher(statistics, **settings),
        public=("layers", "kappa", "context", "kept"),
        before={"kept": 4},
    ),
    "ring": Entry(3, _learned(RingConfig, RingMapper), learned=True),
    "steered": Entry(1, _learned(SteeredConfig, SteeredMapper), learned=True),
    "faithful": Entry(
        2,
        _learned(MapperConfig, ModulationMapper, needs_statistics=False),
        learned=True,
    ),
    "assembled": Entry(
        5,
        _learned(MapperConfig, AssembledMapper, needs_statistics=False),
        learned=True,
    ),
}
DEFAULT = "steady"  # what encrypts where no cipher is named
LEARNED = tuple(name for name, entry in CATALOGUE.items() if entry.learned)


def entry_of(name: str) -> Entry:
    """The entry called ``name``.

    Raises:
        FaceRSAError: there is none.
    """
    if name not in CATALOGUE:
        raise FaceRSAError(
            f"the cipher is one of {[*CATALOGUE]}, got {name!r}; choose one of these."
        )
    return CATALOGUE[name]


def build_cipher(
    name: str, settings: Settings | None = None, statistics: WStatistics | None = None
) -> Cipher:
    """A cipher with ``settings`` where they differ from its defaults.

    A learned one has random weights: ``load_cipher`` loads trained ones.

    Raises:
        FaceRSAError: an unknown name, or settings that make no sense.
    """
    entry = entry_of(name)
    num_bits = (settings or {}).get("num_bits", 1)
    if not (isinstance(num_bits, int) and 1 <= num_bits <= MAX_BITS):
        raise PasswordError(
            f"expected 1 to {MAX_BITS} bits, got {num_bits}; choose 128 or so."
        )
    try:
        return entry.build(settings or {}, statistics)
    except (TypeError, ValueError) as error:
        if isinstance(error, FaceRSAError):
            raise
        raise FaceRSAError(f"the {name} cipher cannot be built: {error}") from error


def load_cipher(
    name: str = DEFAULT,
    weights: str | Path | None = None,
    *,
    num_bits: int | None = None,
    layers: Sequence[int] | None = None,
    kappa: float | None = None,
    statistics: WStatistics | None = None,
    device: str | torch.device = "cpu",
) -> Cipher:
    """A cipher by name, ready to use: ``cipher(ws, password.code)``.

    Args:
        name: one of ``CATALOGUE``: "steady", "rotation", "ring", "steered", "faithful"
            or "assembled".
        weights: a ``.safetensors`` file that ``facersa train mapper`` wrote, with its
            ``.json`` card beside it; by default the weights that ship.
        num_bits: length of the codes; 128 by default, 16 for learned ciphers.
        layers: rows that an exact cipher edits, 0-based; 3 to 8 by default, 3 to 10
            for the steady one.
        kappa: an exact cipher's push away from the person.
        statistics: of the generator's w; those of the shipped generator by default.
        device: where the cipher works.

    Raises:
        FaceRSAError: an unknown name, or settings that the cipher does not have.
        PasswordError: a number of bits that it does not have.
        AssetError: the weights are missing, damaged or another cipher's.
    """
    entry = entry_of(name)
    settings: dict[str, Any] = {}
    if layers is not None:
        settings["layers"] = list(layers)
    if kappa is not None:
        settings["kappa"] = kappa
    if unknown := sorted(set(settings) - set(entry.public)):
        raise FaceRSAError(
            f"the {name} cipher has no setting {' or '.join(unknown)}; leave it out."
        )
    if not entry.learned:
        if weights is not None:
            raise FaceRSAError(
                f"the {name} cipher has no weights to load from a file; name a learned "
                "one, or leave the file out."
            )
        if num_bits is not None:
            settings["num_bits"] = num_bits
        cipher: Cipher = build_cipher(name, settings, statistics)
        return cipher.to(device) if isinstance(cipher, nn.Module) else cipher
    cipher = load_learned(name, weights, statistics=statistics, device=device)
    if num_bits not in (None, cipher.num_bits):
        raise PasswordError(
            f"the {name} cipher takes codes of {cipher.num_bits} bits, got {num_bits}; "
            "use those, or the steady cipher."
        )
    return cipher


def build_learned(
    name: str, settings: Settings | None = None, statistics: WStatistics | None = None
) -> LearnedCipher:
    """A learned cipher with random weights, to be trained; else as ``build_cipher``."""
    cipher = build_cipher(name, settings, statistics)
    if not isinstance(cipher, LearnedCipher):
        raise FaceRSAError(f"the {name} cipher has no weights; use one of {LEARNED}.")
    return cipher


def load_learned(
    name: str,
    weights: str | Path | None = None,
    *,
    statistics: WStatistics | None = None,
    device: str | torch.device = "cpu",
) -> LearnedCipher:
    """A learned cipher with its weights, frozen; arguments as for ``load_cipher``.

    Raises:
        AssetError: the weights are missing, damaged or another cipher's.
    """
    card = model_card(name, weights)
    stats = WStatistics.load() if statistics is None else statistics
    try:
        if weights is None:
            tensors = shipped_weights(f"mapper_{name}.safetensors")
        else:
            tensors = load(read_file(weights))
        settings = dict(card["settings"]["mapper"])
        with torch.device("meta"):  # no memory beside that of the file
            cipher = build_learned(name, settings, stats)
        tensors = {k: value.float() for k, value in tensors.items()}
        cipher.load_state_dict(tensors, assign=True)
        rows = max(*cipher.layers, *cipher.context, 0) + 1
        cipher(torch.zeros(1, rows, W_DIM), torch.zeros(1, cipher.num_bits))
    except (
        *(OSError, SafetensorError, LookupError, TypeError, ValueError),
        *(ArithmeticError, RuntimeError),
    ) as error:
        reason = str(error).strip().partition("\n")[0]
        raise AssetError(
            f"{weights or 'the shipped file'} does not hold weights of the {name} "
            f"cipher ({reason}); pass the file and card that training wrote."
        ) from error
    return cipher.to(device).eval().requires_grad_(False)


def model_card(name: str, weights: str | Path | None = None) -> dict[str, Any]:
    """The card of trained weights: recipe, settings, figures.

    Args:
        name: a learned cipher.
        weights: their file; the shipped weights by default.

    Raises:
        AssetError: it is missing or damaged.
    """
    try:
        if weights is None:
            shipped = resources.files("facersa") / "weights" / f"mapper_{name}.json"
            return json.loads(shipped.read_text())
        return json.loads(read_file(Path(weights).with_suffix(".json")))
    except (OSError, ValueError, RecursionError) as error:
        raise AssetError(
            f"cannot read the card of the {name} cipher's weights ({error}); train "
            f"them with: facersa train mapper --cipher {name}"
        ) from error
