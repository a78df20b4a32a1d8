"""Bundles by their sha256 in a folder that the processes of a machine share.

files of a bundle, or a folder → the checked bundle under `FOLDER/<sha256>`

What lies there was read back and proved whole when it was put there, and is proved again whenever it is taken: a disk may turn a bit.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

from errors import RetryableError
from registry.bundle import LIMITS, MANIFEST, load
from registry.manifest import BundleError, Manifest, manifest_of
from settings.private import private_folder

ABANDONED_S = 3600.0
"""Age of a half written bundle at which its writer is taken for dead [s]."""


class StoreError(RetryableError):
    """The folder cannot be written: the disk is full, or it may not. One line."""


class ModelStore:
    """Bundles in a folder.

    Parameters
    ----------
    folder : Path
        Made when the first bundle comes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, sha256: str) -> Path:
        """Where a bundle lies, or would lie."""
        return self.folder / sha256

    def get(self, sha256: str) -> Path | None:
        """The folder of a bundle that is there and whole; None: it has to be fetched."""
        path = self.path(sha256)
        try:
            found = load(path)
        except BundleError:
            return None
        if found.sha256 != sha256:
            return None
        with suppress(OSError):  # another user's folder
            os.utime(path)  # the last to be pruned
        return path

    def put(self, sha256: str, files: Mapping[str, bytes]) -> Path:
        """Keep a bundle.

        Parameters
        ----------
        sha256 : str
            That was announced.
        files : mapping of str to bytes
            By name, the manifest among them.

        Raises
        ------
        BundleError
            They are not the bundle of that sha256, or it is damaged, too large or of another format.
        StoreError
            They cannot be written.
        """
        manifest = checked_manifest(sha256, files.get(MANIFEST, b""))
        if unknown := sorted(files.keys() - manifest.files.keys() - {MANIFEST}):
            raise BundleError(f"bundle {sha256[:16]} has a file {unknown[0][:64]!r} that its manifest does not list")
        if missing := sorted(manifest.files.keys() - files.keys()):
            raise BundleError(f"bundle {sha256[:16]} came without {missing[0]}")
        try:
            private_folder(self.folder)
            self._clear(sha256)
            # A name of its own: two threads of a process may keep the same bundle at once.
            staging = Path(tempfile.mkdtemp(prefix=f".{sha256}-", dir=self.folder))
            try:
                for name, blob in files.items():
                    (staging / name).write_bytes(blob)
                load(staging)
                self._into_place(staging, sha256)
            finally:
                shutil.rmtree(staging, ignore_errors=True)
        except OSError as error:
            raise StoreError(f"bundle {sha256[:16]} cannot be kept in {self.folder}: {error.strerror or error}") from None
        return self.path(sha256)

    def _clear(self, sha256: str) -> None:
        """Remove what processes that were killed left half written."""
        for left in self.folder.glob(f".{sha256}-*"):
            with suppress(OSError):
                if time.time() - left.stat().st_mtime > ABANDONED_S:
                    shutil.rmtree(left, ignore_errors=True)

    def _into_place(self, staging: Path, sha256: str) -> None:
        """Rename; where another process was quicker, or what lies there is damaged, one whole bundle is there afterwards."""
        path = self.path(sha256)
        for _ in range(3):
            try:
                os.replace(staging, path)
            except OSError:
                if self.get(sha256) is not None:
                    return
                shutil.rmtree(path, ignore_errors=True)
            else:
                return
        os.replace(staging, path)

    def prune(self, keep: Collection[str], *, most: int) -> list[str]:
        """Remove bundles, those taken longest ago first, until there are at most so many; what is to be kept stays.

        Returns
        -------
        list of str
            sha256 of what was removed.
        """
        try:
            there = sorted((p for p in self.folder.iterdir() if len(p.name) == 64), key=lambda p: p.stat().st_mtime)
        except OSError:
            return []
        gone = [p for p in there if p.name not in keep][: max(0, len(there) - most)]
        for path in gone:
            shutil.rmtree(path, ignore_errors=True)
        return [p.name for p in gone]


def checked_manifest(sha256: str, text: bytes) -> Manifest:
    """The manifest of a bundle, for which its sha256 stands.

    Raises
    ------
    BundleError
        It is another one's, lists a file that no bundle has or that is too large, or is not a manifest.
    """
    if len(text) > LIMITS[MANIFEST] or hashlib.sha256(text).hexdigest() != sha256:
        raise BundleError(f"bundle {sha256[:16]} has a manifest with another sha256 than the one it was announced by")
    manifest = manifest_of(text, where=f"bundle {sha256[:16]}")
    for name, record in manifest.files.items():
        if name not in LIMITS or name == MANIFEST:
            raise BundleError(f"bundle {sha256[:16]} lists {name[:64]!r}, which no bundle has")
        if record.size > LIMITS[name]:
            raise BundleError(f"{name} of bundle {sha256[:16]} is larger than {LIMITS[name]:,} bytes")
    return manifest


def files_of(path: Path) -> tuple[str, dict[str, bytes]]:
    """The sha256 and the files of a bundle in a folder, proved whole.

    Raises
    ------
    BundleError
        It is none.
    """
    bundle = load(path)
    files = {name: (bundle.path / name).read_bytes() for name in (MANIFEST, *bundle.manifest.files)}
    checked_manifest(bundle.sha256, files[MANIFEST])
    return bundle.sha256, files
