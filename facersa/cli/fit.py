"""What the command ``train`` fits at once, without steps: tables of this package."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from facersa.cli.parser import Device


def _rotation(device: Device, generator: str | None, folder: Path) -> Path:
    from facersa.generator.load import load_generator
    from facersa.generator.statistics import WStatistics

    output = folder / "w_stats.safetensors"
    network = load_generator(generator, device)
    WStatistics.measure(network, progress=True).save(output)
    return output


def _steady(device: Device, generator: str | None, folder: Path) -> Path:
    from safetensors.torch import save

    from facersa.cipher.steady import FILE, KEPT
    from facersa.files import write_atomic
    from facersa.generator.mobile_stylegan import load_mobile_stylegan
    from facersa.judges.look import load_look
    from facersa.judges.networks import load_pose
    from facersa.training.directions import fit_steady

    directions = fit_steady(
        load_mobile_stylegan(device), load_pose(device), load_look(device)
    )
    write_atomic(folder / FILE, save({f"kept_{KEPT}": directions.cpu().contiguous()}))
    return folder / FILE


def _parser(device: Device, generator: str | None, folder: Path) -> Path:
    from safetensors.torch import save

    from facersa.files import write_atomic
    from facersa.generator.mobile_stylegan import load_mobile_stylegan
    from facersa.generator.parts import fit_parser

    output = folder / "parser.safetensors"
    centres = fit_parser(load_mobile_stylegan(device)).centres.half().contiguous()
    write_atomic(output, save({"centres": centres}))
    return output


def _compact(device: Device, generator: str | None, folder: Path) -> Path:
    from facersa.files import write_atomic
    from facersa.sealing.compact import FILE
    from facersa.sealing.pixels import CODE_BITS
    from facersa.training.compact import train_compact

    output = folder / FILE
    write_atomic(output, train_compact(CODE_BITS).save())
    return output


def _calibration(device: Device, generator: str | None, folder: Path) -> Path:
    from facersa.generator.load import load_generator
    from facersa.judges.calibration import calibrate_all, save_calibrations

    output = folder / "calibration.json"
    network = load_generator(generator, device)
    save_calibrations(calibrate_all(network), output)
    return output


FITS: Mapping[str, Callable[[Device, str | None, Path], Path]] = {
    "rotation": _rotation,
    "steady": _steady,
    "parser": _parser,
    "compact": _compact,
    "calibration": _calibration,
}
