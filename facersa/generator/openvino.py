"""Full pictures fast on a CPU: the generator compiled by OpenVINO.

Same numbers as ``Generator.synthesize`` and ``Generator.preview`` (float32
throughout), several times as fast as plain PyTorch on a CPU, no gradients. On
CUDA the PyTorch modules are used as they are, and OpenVINO is not needed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from filelock import FileLock
from torch import Tensor, nn

from facersa.assets.registry import cache_folder
from facersa.errors import AssetError
from facersa.generator.mobile_stylegan import Generator

if TYPE_CHECKING:
    import openvino as ov

FULL, PREVIEW = "full", "preview"

TRACE_VERSION = 1  # of Synthesis.forward: raise it when that computes otherwise


class _Preview(nn.Module):
    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, ws: Tensor) -> Tensor:
        return self.generator.preview(ws)


class Renderer:
    """Pictures of codes, at full size or as previews, without gradients.

    Threads may share one: each of the two networks paints for one at a time.

    Args:
        generator: whose pictures are made; its device decides the engine.
    """

    def __init__(self, generator: Generator) -> None:
        self.generator = generator
        self._compiled: dict[str, Any] = {}
        self._turn = {kind: threading.Lock() for kind in (FULL, PREVIEW)}

    def full(self, ws: Tensor) -> Tensor:
        """W+ (B, 16, 512) to (B, 3, 1024, 1024), about in [-1, 1]."""
        return torch.cat(list(self.stream(ws)))

    def preview(self, ws: Tensor) -> Tensor:
        """W+ (B, 16, 512) to (B, 3, 256, 256), about in [-1, 1]."""
        return torch.cat(list(self.stream(ws, PREVIEW)))

    @torch.no_grad()
    def stream(self, ws: Tensor, kind: str = FULL) -> Iterator[Tensor]:
        """Yield one picture (1, 3, R, R) per code, on the CPU: memory stays small."""
        device = self.generator.w_avg.device
        for code in ws.detach().float().split(1):
            if device.type != "cpu":
                full = kind == FULL
                render = self.generator.synthesize if full else self.generator.preview
                yield render(code.to(device)).cpu()
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
            network = (
                core.read_model(self._saved_full())
                if kind == FULL
                else _trace(_Preview(self.generator))
            )
            self._compiled[kind] = core.compile_model(network, "CPU", hints)
        return self._compiled[kind]

    def _saved_full(self) -> Path:
        """The traced full network, kept in the cache: tracing takes a while."""
        import openvino as ov

        digest = hashlib.sha256(f"{TRACE_VERSION} {ov.__version__}".encode())
        for tensor in self.generator.synthesis.state_dict().values():
            digest.update(tensor.numpy().tobytes())
        folder = cache_folder() / f"openvino-{digest.hexdigest()[:16]}"
        with FileLock(cache_folder() / ".lock"):
            if not folder.exists():
                work = Path(tempfile.mkdtemp(dir=cache_folder(), prefix=".trace-"))
                try:
                    network = _trace(self.generator.synthesis)
                    ov.save_model(network, work / "full.xml", compress_to_fp16=False)
                    os.replace(work, folder)
                except (OSError, RuntimeError) as error:  # OpenVINO's own is the latter
                    raise AssetError(
                        f"cannot store the compiled generator in {cache_folder()} "
                        f"({str(error).strip().splitlines()[-1]}); free some space or "
                        "set FACERSA_CACHE to another folder."
                    ) from error
                finally:
                    shutil.rmtree(work, ignore_errors=True)
        return folder / "full.xml"


def _trace(module: nn.Module) -> ov.Model:
    import openvino as ov

    example = torch.zeros(1, Generator.num_ws, Generator.w_dim)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing freezes the batch size: intended
        traced = torch.jit.trace(module.eval(), example, check_trace=False)
        return ov.convert_model(
            traced, example_input=example, input=[("ws", list(example.shape))]
        )
