"""A pool of edited codes and what the judges say of their pictures.

Painting a code and judging its picture takes most of the time of a painted training
step. A network can learn to predict that judgement from the code (``distilled``), and
this file makes the examples that it learns from: people of ``varied_codes`` whose rows
were changed in many ways, from a slight shift to another person's rows.

The pool is a folder of shards. A shard depends on the settings and its number only, so
a run that was stopped goes on where it was, and a larger pool extends a smaller one.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save
from torch import Tensor, nn
from tqdm import tqdm

from facersa.cipher.base import LearnedCipher
from facersa.cipher.description import fingerprint
from facersa.errors import CheckpointError
from facersa.files import write_atomic
from facersa.generator.mobile_stylegan import MobileStyleGAN
from facersa.generator.openvino import traced
from facersa.generator.parts import BLOCKS, GeneratorParser
from facersa.generator.statistics import WStatistics
from facersa.judges.networks import IdentityJudge, Landmarks
from facersa.people import training_seeds, varied_codes
from facersa.training.edits import Edits

FIELDS = ("identity", "landmarks", "picture", "perceptual", "parts")
PICTURE_SIDE, PARTS_SIDE, SKETCH = 32, 8, 512
PERCEPTUAL_SIDE = 128  # of the picture that the LPIPS network sees
SETTINGS = "pool.json"


@dataclass(frozen=True)
class PoolConfig:
    """What a pool holds.

    Attributes:
        people: in all; a multiple of ``shard``.
        edits: of each person, beside the person as they are.
        shard: people in one file.
        layers: rows that are edited.
        seed: of the people and the edits.
        first: number of people of that seed who come before.
    """

    people: int = 2048
    edits: int = 8
    shard: int = 32
    layers: tuple[int, ...] = (5, 6, 7, 8)
    seed: int = 0
    first: int = 0


class Judged(nn.Module):
    """Codes to what the losses read of their pictures; without gradients.

    identity (B, 512), a unit vector; landmarks (B, 68, 2), in sides; picture
    (B, 3, 32, 32), means of the preview; perceptual (B, 512): the squared distance of
    two is about the LPIPS distance of the previews at side 128, since random signs
    preserve distances; parts (B, K, 8, 8), mean shares.

    Args:
        generator: frozen.
        identity: training judge.
        landmarks: training judge.
        parser: of the generator's features.
        lpips: a network of ``load_lpips``.
    """

    signs: Tensor

    def __init__(
        self,
        generator: MobileStyleGAN,
        identity: IdentityJudge,
        landmarks: Landmarks,
        parser: GeneratorParser,
        lpips: nn.Module,
    ) -> None:
        super().__init__()
        self.generator, self.parser, self.lpips = generator, parser, lpips
        self.identity, self.landmarks = identity, landmarks
        side = torch.zeros(1, 3, PERCEPTUAL_SIDE, PERCEPTUAL_SIDE)
        length = self._levels(side.to(generator.w_avg)).shape[1]
        rng = torch.Generator().manual_seed(0)
        signs = torch.randint(2, (-(-length // SKETCH) * SKETCH,), generator=rng)
        self.register_buffer("signs", (2.0 * signs - 1).to(generator.w_avg))
        self.eval().requires_grad_(False)

    def _levels(self, picture: Tensor) -> Tensor:
        """(B, F): LPIPS is the squared distance of two such vectors."""
        trunk: Any = self.lpips
        levels = trunk.net(trunk.scaling_layer(picture))
        flat = []
        for level, line in zip(levels, trunk.lins, strict=True):
            weight = line.model[-1].weight.clamp_min(0) / level[0, 0].numel()
            unit = level / (level.square().sum(1, keepdim=True).sqrt() + 1e-10)
            flat.append((unit * weight.sqrt()).flatten(1))
        return torch.cat(flat, 1)

    def forward(self, ws: Tensor) -> tuple[Tensor, ...]:
        """Of codes (B, 16, 512), in the order of ``FIELDS``."""
        picture, features = self.generator.preview_and_features(ws, BLOCKS)
        levels = self._levels(F.avg_pool2d(picture, 2))
        levels = F.pad(levels, (0, len(self.signs) - levels.shape[1])) * self.signs
        parts = F.avg_pool2d(self.parser(features), 64 // PARTS_SIDE)
        return (
            self.identity.embed(picture),
            self.landmarks.landmarks(picture),
            F.avg_pool2d(picture, 256 // PICTURE_SIDE),
            levels.unflatten(1, (-1, SKETCH)).sum(1),
            parts,
        )


def compiled(judged: Judged) -> Callable[[Tensor], list[Tensor]]:
    """``judged`` for one code (1, 16, 512) at a time, fast.

    On a CPU by OpenVINO, in bfloat16 where the processor has it: the identity then
    differs by a cosine of 6e-4, and takes 60 % of the time.
    """
    device = judged.generator.w_avg.device
    if device.type != "cpu":

        def paint(ws: Tensor) -> list[Tensor]:
            with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
                return [x.float().cpu() for x in judged(ws.to(device))]

        return paint
    import openvino as ov

    with torch.no_grad():
        network = traced(judged, judged.generator)
    hints = {"INFERENCE_PRECISION_HINT": "bf16", "PERFORMANCE_HINT": "LATENCY"}
    run = ov.Core().compile_model(network, "CPU", hints)

    def infer(ws: Tensor) -> list[Tensor]:
        answer = run([ws.contiguous().numpy()])
        return [torch.from_numpy(answer[k].copy()) for k in range(len(FIELDS))]

    return infer


def make_pool(
    judged: Judged,
    config: PoolConfig,
    folder: Path,
    *,
    mapper: LearnedCipher | None = None,
    progress: bool = True,
    until: int | None = None,
) -> None:
    """Paint and judge the shards that ``folder`` does not hold yet.

    Args:
        judged: paints and judges.
        config: of the pool.
        folder: of its shards.
        mapper: as ``Edits`` takes it.
        progress: show a bar.
        until: stop after this number of shards.

    Raises:
        CheckpointError: the folder holds a pool of other settings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    settings = json.loads(json.dumps(asdict(config) | {"people": None}))
    settings["mapper"] = None if mapper is None else fingerprint(mapper)
    path = folder / SETTINGS
    if path.exists() and json.loads(path.read_bytes()) != settings:
        raise CheckpointError(
            f"{folder} holds a pool of other settings; use another folder."
        )
    write_atomic(path, json.dumps(settings).encode())
    paint = compiled(judged)
    statistics = WStatistics.of(judged.generator)
    numbers = range(config.people // config.shard)[:until]
    for number in tqdm(numbers, desc="pool", unit="shard", disable=not progress):
        if not (shard := shard_path(folder, number)).exists():
            tensors = _shard(judged, paint, statistics, config, number, mapper)
            write_atomic(shard, save(tensors))


def shard_path(folder: Path, number: int) -> Path:
    """The file of shard ``number``."""
    return folder / f"pool-{number:05d}.safetensors"


def _shard(
    judged: Judged,
    paint: Callable[[Tensor], list[Tensor]],
    statistics: WStatistics,
    config: PoolConfig,
    number: int,
    mapper: LearnedCipher | None,
) -> dict[str, Tensor]:
    first = training_seeds(config.seed, 40_000).start + config.first
    first += number * config.shard
    people = varied_codes(judged.generator, config.shard, first).cpu()
    rng = torch.Generator().manual_seed(first)
    edits = Edits(config.layers, statistics, rng, mapper)
    layers = list(config.layers)
    rows, answers = [], []
    for index, ws in enumerate(people):
        edited = [ws[layers]]
        for _ in range(config.edits):
            step = 1 + int(torch.randint(len(people) - 1, (), generator=rng))
            other = people[(index + step) % len(people)][layers]
            edited.append(edits(ws[layers], other))
        for one in edited:
            code = ws[None].clone()
            code[0, layers] = one
            answers.append(paint(code))
        rows.append(torch.stack(edited))
    fields = [torch.cat(field) for field in zip(*answers, strict=True)]
    shape = len(people), 1 + config.edits
    tensors = {
        name: field.unflatten(0, shape).half().contiguous()
        for name, field in zip(FIELDS, fields, strict=True)
    }
    tensors |= {"ws": people.half(), "rows": torch.stack(rows).half()}
    return tensors


def load_pool(folder: Path, people: int | None = None) -> dict[str, Tensor]:
    """The shards of ``folder``, together: the fields of ``Judged`` and the codes.

    Args:
        folder: as ``make_pool`` filled it.
        people: no more shards than hold so many.

    Returns:
        "ws" (P, 16, 512) are the people, "rows" (P, 1 + edits, rows, 512) their rows,
        first as they are, and each of ``FIELDS`` has (P, 1 + edits, ...), in halves.

    Raises:
        CheckpointError: there is none.
    """
    paths = sorted(folder.glob("pool-*.safetensors"))
    shards: list[dict[str, Tensor]] = []
    for path in paths:
        if people is None or sum(len(s["ws"]) for s in shards) < people:
            shards.append(load_file(path))
    if not shards:
        raise CheckpointError(f"{folder} holds no pool; make one first.")
    return {n: torch.cat([s[n] for s in shards])[:people] for n in shards[0]}
