"""Pictures fast on a CPU: the generator compiled by OpenVINO.

The results of ``Generator.synthesize`` and ``Generator.preview`` in float32, several
times as fast as plain PyTorch on a CPU, without gradients. On CUDA the PyTorch modules
run as they are, and OpenVINO is not needed.
"""

from __future__ import annotations

import hashlib
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from facersa.assets.registry import cache_folder, work_folder
from facersa.errors import AssetError
from facersa.generator.base import Generator
from facersa.generator.mobile_stylegan import MobileStyleGAN

if TYPE_CHECKING:
    import openvino as ov

FULL, PREVIEW = "full", "preview"
TRACE_VERSION = 1  # of ``synthesize``: raise it when that computes something else


class _Method(nn.Module):
    """A method of a module as a module of its own, which can be traced."""

    def __init__(self, generator: Generator, method: Callable[[Tensor], Tensor]):
        super().__init__()
        self.generator, self.method = generator, method

    def forward(self, ws: Tensor) -> Tensor:
        return self.method(ws)


class Renderer:
    """Pictures of codes, at full size or as previews, without gradients.

    Threads may share one: each of the two networks paints for one at a time.

    Args:
        generator: paints; on a CPU OpenVINO does it, elsewhere PyTorch.
    """

    def __init__(self, generator: Generator) -> None:
        self.generator = generator
        self._paint = {FULL: generator.synthesize, PREVIEW: generator.preview}
        self._compiled: dict[str, Any] = {}
        self._turn = {kind: threading.Lock() for kind in (FULL, PREVIEW)}

    def full(self, ws: Tensor) -> Tensor:
        """W+ (B, num_ws, w_dim) to (B, 3, R, R), about in [-1, 1]."""
        return torch.cat(list(self.stream(ws)))

    def preview(self, ws: Tensor) -> Tensor:
        """W+ (B, num_ws, w_dim) to pictures of side 256, about in [-1, 1]."""
        return torch.cat(list(self.stream(ws, PREVIEW)))

    @torch.no_grad()
    def stream(self, ws: Tensor, kind: str = FULL) -> Iterator[Tensor]:
        """Yield one picture (1, 3, R, R) per code, on the CPU: memory stays small."""
        device = self.generator.w_avg.device
        for code in ws.detach().float().split(1):
            if device.type != "cpu":
                yield self._paint[kind](code.to(device)).cpu()
            else:
                array = code.cpu().contiguous().numpy()
                with self._turn[kind]:
                    picture = self._network(kind)([array])[0].copy()
                yield torch.from_numpy(picture)

    def _network(self, kind: str) -> Any:
        if kind not in self._compiled:
            import openvino as ov

            core = ov.Core()
            hints = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
            if kind == FULL:
                network = core.read_model(self._saved_full())
            else:
                network = self._traced(kind)
            self._compiled[kind] = core.compile_model(network, "CPU", hints)
        return self._compiled[kind]

    def _saved_full(self) -> Path:
        """The traced full network in the cache: tracing takes a while."""
        import openvino as ov

        digest = hashlib.sha256(f"{TRACE_VERSION} {ov.__version__}".encode())
        if isinstance(self.generator, MobileStyleGAN):
            weights = self.generator.synthesis.state_dict()
        else:
            digest.update(type(self.generator).__name__.encode())
            weights = self.generator.state_dict()
        for tensor in weights.values():
            digest.update(tensor.numpy().tobytes())
        folder = cache_folder() / f"openvino-{digest.hexdigest()[:16]}"
        try:
            with work_folder(cache_folder()) as work:
                if not folder.exists():
                    self._save_full(work / "network")
                    os.replace(work / "network", folder)
        except (OSError, RuntimeError) as error:  # OpenVINO raises the latter
            raise AssetError(
                f"cannot store the compiled generator in {cache_folder()} "
                f"({str(error).strip().splitlines()[-1]}); free some space or "
                "set FACERSA_CACHE to another folder."
            ) from error
        return folder / "full.xml"

    def _save_full(self, folder: Path) -> None:
        import openvino as ov

        folder.mkdir()
        network = self._traced(FULL)
        ov.save_model(network, folder / "full.xml", compress_to_fp16=False)

    def _traced(self, kind: str) -> ov.Model:
        module = _Method(self.generator, self._paint[kind]).eval()
        return traced(module, self.generator)


def traced(module: nn.Module, generator: Generator) -> ov.Model:
    """A module of one code (1, num_ws, w_dim) of ``generator``, for OpenVINO."""
    import openvino as ov

    example = torch.zeros(1, generator.num_ws, generator.w_dim)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing freezes the batch size: intended
        graph = torch.jit.trace(module, example, check_trace=False)
        return ov.convert_model(
            graph, example_input=example, input=[("ws", list(example.shape))]
        )
