"""The paper's cipher: a password converter and a modulation mapper (section 3.2).

A password code becomes a vector, the vector modulates a small network that
looks at the code of a face, and what comes out is added to the identity rows:

    w' = w + strength * M(w, p)                             on ``layers`` only

One network serves both directions: e encrypts and d = -e decrypts. Nothing in
this form makes d undo e; the losses have to teach it. ``ModulationMapper`` is
the published network with each of its quirks a named option.

``SteeredMapper`` is ours. It keeps the form but looks only at rows that it does
not edit. They are the same before and after, so M(w, p) is a shift that depends
on the person and the password and on nothing the cipher changes: shifts commute,
and where M is linear in p they add up. Properties (c), (f), (g) and (h) then hold
exactly, with no training; what remains to be learned is which shift.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facersa.errors import AssetError, PasswordError
from facersa.generator import shipped_weights
from facersa.ops import check_shape, pixel_norm
from facersa.rotation import WStatistics

W_DIM = 512
SLOPE = 0.01  # of every LeakyReLU, as published


@dataclass(frozen=True)
class MapperConfig:
    """What rebuilds a ``ModulationMapper``; ``published()`` is the paper's.

    Attributes:
        num_bits: length N of a password code.
        layers: edited rows, 0-based: the paper's "layers 6-9".
        modules: modulation modules, one after the other.
        strength: factor on M.
        norm: the pixel norm runs over "features" (as in StyleGAN) or over
            "rows" (as published).
        last_activation: whether a LeakyReLU follows the last module. Then nearly
            all changes are positive, and -p cannot undo p.
        one_plus: modulate by 1 + gamma(p) instead of gamma(p).
        odd: use (M(w, p) - M(w, -p)) / 2, so that M(w, 0) = 0 and, for one w,
            -p is exactly the opposite of p.
    """

    num_bits: int = 16
    layers: tuple[int, ...] = (5, 6, 7, 8)
    modules: int = 3
    strength: float = 0.1
    norm: str = "features"
    last_activation: bool = False
    one_plus: bool = False
    odd: bool = True

    @classmethod
    def published(cls) -> MapperConfig:
        """As the authors' inference code fixes it."""
        return cls(norm="rows", last_activation=True, odd=False)


@dataclass(frozen=True)
class SteeredConfig:
    """What rebuilds a ``SteeredMapper``.

    Attributes:
        num_bits: length N of a password code.
        layers: edited rows, 0-based.
        context: rows that steer; none of them is edited.
        axes: leading principal axes of w that are read and written, per row.
        width: of the hidden layer.
        strength: factor on M. All properties that are exact stay so, whatever it is;
            it trades likeness for how far the face moves.
    """

    num_bits: int = 16
    layers: tuple[int, ...] = (5, 6, 7, 8)
    context: tuple[int, ...] = (4, 9)
    axes: int = 32
    width: int = 192
    strength: float = 1.0


def check_layers(layers: tuple[int, ...], context: tuple[int, ...] = ()) -> None:
    """Raise ``ValueError`` unless the rows differ and no context row is edited."""
    rows = [*layers, *context]
    if not layers or min(rows) < 0 or len(set(rows)) != len(rows):
        raise ValueError(
            f"layers {layers} and context {context} must be different rows from 0 "
            "up, and at least one layer; choose others."
        )


def check_code(code: Tensor, ws: Tensor, num_bits: int) -> Tensor:
    """The (B, N) code for ``ws`` (B, rows, 512), one for all being repeated.

    Raises:
        PasswordError: another length or number of codes.
    """
    if code.ndim != 2 or code.shape[1] != num_bits or len(code) not in (1, len(ws)):
        raise PasswordError(
            f"expected codes of shape (1 or {len(ws)}, {num_bits}), got "
            f"{tuple(code.shape)}; make them with num_bits={num_bits}."
        )
    return code.to(ws).expand(len(ws), -1)


def check_ws(ws: Tensor, rows: tuple[int, ...]) -> None:
    """Raise ``ValueError`` unless ``ws`` (B, rows, 512) has all of ``rows``."""
    check_shape(ws, None, None, W_DIM, name="ws")
    if ws.shape[1] <= max(rows):
        raise ValueError(
            f"ws must have more than {max(rows)} rows, got {ws.shape[1]}; pass the "
            "W+ code."
        )


class PasswordConverter(nn.Module):
    """Password code (B, N) to a vector (B, 512): two linear layers."""

    def __init__(self, num_bits: int = 16) -> None:
        super().__init__()
        self.first = nn.Linear(num_bits, W_DIM)
        self.second = nn.Linear(W_DIM, W_DIM)

    def forward(self, code: Tensor) -> Tensor:
        """Convert ``code``."""
        hidden = F.leaky_relu(self.first(code), SLOPE)
        return F.leaky_relu(self.second(hidden), SLOPE)


def _from_password() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(W_DIM, W_DIM),
        nn.LayerNorm(W_DIM),
        nn.LeakyReLU(SLOPE),
        nn.Linear(W_DIM, W_DIM),
    )


class Modulation(nn.Module):
    """x (B, rows, 512) and password vector v (B, 512) to (B, rows, 512).

        y = LayerNorm(linear(x)) * gamma(v) + beta(v)

    The norm runs over the whole [rows, 512] block and learns nothing; all rows
    share gamma and beta. ``one_plus`` multiplies by 1 + gamma(v) instead.
    """

    def __init__(self, *, one_plus: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(W_DIM, W_DIM)
        self.gamma, self.beta = _from_password(), _from_password()
        self.one_plus = one_plus

    def forward(self, x: Tensor, v: Tensor) -> Tensor:
        """Modulate ``x`` by ``v``."""
        x = self.linear(x)
        x = F.layer_norm(x, x.shape[1:])
        gamma = self.gamma(v)[:, None]
        return x * (1 + gamma if self.one_plus else gamma) + self.beta(v)[:, None]


class ModulationMapper(nn.Module):
    """The paper's mapper: ``mapper(ws, code) -> ws``, e to encrypt, -e to decrypt.

    Args:
        config: the published network's options.
    """

    def __init__(self, config: MapperConfig | None = None) -> None:
        super().__init__()
        config = MapperConfig() if config is None else config
        check_layers(config.layers)
        if config.norm not in ("features", "rows"):
            raise ValueError(f'norm must be "features" or "rows", got {config.norm!r}.')
        self.config = config
        self.layers, self.num_bits = config.layers, config.num_bits
        self.converter = PasswordConverter(config.num_bits)
        self.modules_ = nn.ModuleList(
            Modulation(one_plus=config.one_plus) for _ in range(config.modules)
        )

    def change(self, ws: Tensor, code: Tensor) -> Tensor:
        """M(w, p): (B, rows of ``ws``, 512) and (B, N) to (B, edited rows, 512)."""
        rows = ws[:, list(self.layers)]
        x = pixel_norm(rows, dim=-1 if self.config.norm == "features" else -2)
        if not self.config.odd:
            return self._network(x, code)
        both = self._network(torch.cat([x, x]), torch.cat([code, -code]))
        forward, backward = both.chunk(2)
        return (forward - backward) / 2

    def _network(self, x: Tensor, code: Tensor) -> Tensor:
        v = self.converter(code)
        last = len(self.modules_) - 1
        for index, module in enumerate(self.modules_):
            x = module(x, v)
            if index < last or self.config.last_activation:
                x = F.leaky_relu(x, SLOPE)
        return x

    def forward(self, ws: Tensor, code: Tensor) -> Tensor:
        """Edit ``layers`` of ``ws`` (B, rows, 512); the others come back as they are.

        Args:
            ws: codes of the faces.
            code: (B, N) or (1, N) password codes, or sums of such.

        Raises:
            PasswordError: codes of another length or number.
            ValueError: ``ws`` of another shape.
        """
        check_ws(ws, self.layers)
        change = self.change(ws, check_code(code, ws, self.num_bits))
        return add_rows(ws, self.layers, self.config.strength * change)


class SteeredMapper(nn.Module):
    """A shift that is linear in the password and steered by unedited rows.

        M(w, p) = strength * sum_i p_i B_i(context rows of w)

    B is a small network, in whitened principal coordinates of w. Exact by
    construction: M(w, 0) = 0, M(w', p) = M(w, p) for every w' the cipher makes
    of w, and M(w, p + q) = M(w, p) + M(w, q).

    Args:
        config: sizes and rows.
        statistics: of w; those in the package where none are given.
    """

    mean: Tensor
    read: Tensor
    write: Tensor

    def __init__(
        self,
        config: SteeredConfig | None = None,
        statistics: WStatistics | None = None,
    ) -> None:
        super().__init__()
        config = SteeredConfig() if config is None else config
        check_layers(config.layers, config.context)
        self.config = config
        self.layers, self.num_bits = config.layers, config.num_bits
        stats = WStatistics.load() if statistics is None else statistics
        axes = stats.eigenvectors[:, : config.axes]
        root = stats.eigenvalues[: config.axes].sqrt()
        for name, value in {
            "mean": stats.mean,
            "read": axes / root,
            "write": (axes * root).T.contiguous(),
        }.items():
            self.register_buffer(name, value.float(), persistent=False)
        self.trunk = nn.Sequential(
            nn.Linear(len(config.context) * config.axes, config.width),
            nn.LeakyReLU(SLOPE),
            nn.Linear(config.width, config.width),
            nn.LeakyReLU(SLOPE),
        )
        shifts = config.num_bits * len(config.layers) * config.axes
        self.shifts = nn.Linear(config.width, shifts)
        # To begin with, a random shift that all rows share, about as long as that
        # from one person to another: rows that agree make the better faces.
        start = torch.randn(config.num_bits, 1, config.axes)
        start = (start * 2.4 / config.num_bits**0.5).expand(-1, len(config.layers), -1)
        with torch.no_grad():
            self.shifts.bias.copy_(start.flatten())

    def directions(self, ws: Tensor) -> Tensor:
        """B: what one unit of each password entry adds, (B, N, edited rows, axes)."""
        context = (ws[:, list(self.config.context)] - self.mean) @ self.read
        # Divided, so that a step of Adam moves both parts of B about as far.
        hidden = self.trunk(context.flatten(1)) / self.config.width**0.5
        shifts = self.shifts(hidden)
        return shifts.view(len(ws), self.num_bits, len(self.layers), -1)

    def change(self, ws: Tensor, code: Tensor) -> Tensor:
        """M(w, p), its strength included: (B, edited rows, 512)."""
        moved = torch.einsum("bn,bnra->bra", code, self.directions(ws))
        return self.config.strength * moved @ self.write

    def mean_shift(self, ws: Tensor, code: Tensor) -> Tensor:
        """Edit ``ws`` by the shift that is the same for everybody, (B, rows, 512).

        What a mapper that reads the edited rows can hope to copy exactly.
        """
        directions = self.shifts.bias.view(self.num_bits, len(self.layers), -1)
        moved = torch.einsum("bn,nra->bra", code, directions)
        return add_rows(ws, self.layers, self.config.strength * moved @ self.write)

    def forward(self, ws: Tensor, code: Tensor) -> Tensor:
        """As ``ModulationMapper.forward``, with the same errors."""
        check_ws(ws, (*self.layers, *self.config.context))
        change = self.change(ws, check_code(code, ws, self.num_bits))
        return add_rows(ws, self.layers, change)


class PasswordReader(nn.Module):
    """Training aid: guess the password (B, N) from the first edited row (B, 512)."""

    def __init__(self, num_bits: int = 16) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Linear(W_DIM, 64),
            nn.LeakyReLU(SLOPE),
            nn.Linear(64, num_bits),
            nn.LeakyReLU(SLOPE),
            nn.Linear(num_bits, num_bits),
        )

    def forward(self, row: Tensor) -> Tensor:
        """Logits: positive where the bit is +1/2."""
        return self.network(row)


def add_rows(ws: Tensor, layers: tuple[int, ...], change: Tensor) -> Tensor:
    """``ws`` (B, rows, D) with ``change`` (B, len(layers), D) added to ``layers``."""
    index = torch.tensor(layers, device=ws.device)
    return ws.index_add(1, index, change.to(ws.dtype))


Mapper = ModulationMapper | SteeredMapper
MAPPERS = ("faithful", "steered")


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
    return SteeredMapper(SteeredConfig(**given))


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


def load_mapper(kind: str = "steered", device: str | torch.device = "cpu") -> Mapper:
    """A trained mapper that ships with the package, frozen.

    Raises:
        AssetError: it is missing.
    """
    card = mapper_card(kind)
    mapper = build_mapper(kind, card["settings"]["mapper"])
    tensors = shipped_weights(f"mapper_{kind}.safetensors")
    mapper.load_state_dict({name: value.float() for name, value in tensors.items()})
    return mapper.to(device).eval().requires_grad_(False)


def load_teacher(device: str | torch.device = "cpu") -> SteeredMapper:
    """The shipped steered mapper, for others to imitate.

    Raises:
        AssetError: it is missing.
    """
    mapper = load_mapper("steered", device)
    assert isinstance(mapper, SteeredMapper)
    return mapper


def fingerprint(mapper: Mapper) -> str:
    """16 hex digits that tell one mapper, options and weights, from another."""
    digest = hashlib.sha256(repr(mapper.config).encode())
    for name, tensor in mapper.state_dict().items():
        digest.update(name.encode() + tensor.half().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
