"""A folder of reference images → the reference of a frame, with its transforms ready; what is put into the folder counts at once."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data.frames.reference_file import ReferencesFolder
from settings.raw_frames import references_folder
from streams.agents.masters_watch import stamp_of

if TYPE_CHECKING:
    from operators.images.planes import RawFrame, Reference
    from operators.images.subtract import Prepared
    from settings.model import Settings

READY_BYTES = 160 * 2**20
"""Of references whose transforms are kept, and one at least."""


class ReferencesWatch:
    """The references; used in the stages' thread only.

    Parameters
    ----------
    settings : Settings
    """

    def __init__(self, settings: Settings) -> None:
        self._path: Path = references_folder(settings)
        self._seen = stamp_of(self._path)
        self._folder = ReferencesFolder(self._path)
        self._prepared: OrderedDict[str, Prepared] = OrderedDict()

    def rescan(self) -> None:
        """Read the folder anew where it changed."""
        stamp = stamp_of(self._path)
        if stamp != self._seen:
            self._seen = stamp
            self._folder.scan()

    def of(self, frame: RawFrame, shape: tuple[int, int]) -> Reference:
        """The reference of a frame of (h, w) pixels. See `ReferencesFolder.of`.

        Raises
        ------
        FrameError
            `no_reference`
        """
        self.rescan()
        return self._folder.of(frame.field, frame.filter, detector=frame.detector, wcs=frame.wcs, shape=shape)

    def prepared(self, frame: RawFrame, shape: tuple[int, int]) -> Prepared:
        """The same with its transforms."""
        from operators.images.subtract import prepare

        reference = self.of(frame, shape)
        found = self._prepared.get(reference.id)
        if found is None:
            found = prepare(reference)
            while self._prepared and sum(map(_size, (found, *self._prepared.values()))) > READY_BYTES:
                self._prepared.popitem(last=False)
            self._prepared[reference.id] = found
        self._prepared.move_to_end(reference.id)
        return found


def _size(prepared: Prepared) -> int:
    """Bytes of its planes and transforms."""
    tiles = (plane for tile in prepared.tiles for plane in (tile.image, tile.psf, tile.power))
    return sum(np.asarray(plane).nbytes for plane in (prepared.reference.image, prepared.filled, *tiles))
