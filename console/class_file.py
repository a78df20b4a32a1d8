"""A taught class as a file: a document of `streams.class_document` ↔ a path."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from console.report import check_writable
from errors import UserError

if TYPE_CHECKING:
    from schemas.records.class_record import ClassRecord

LARGEST = 512 * 2**20
"""[bytes]"""


def write(path: Path, document: bytes) -> None:
    """Write a class.

    Raises
    ------
    UserError
        The file cannot be written.
    """
    check_writable(path)
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(document)
        part.replace(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from None


def read(path: Path) -> tuple[ClassRecord, dict[str, bytes]]:
    """Read a class.

    Raises
    ------
    UserError
        The file is none of ours, or damaged.
    """
    from streams.class_document import class_of

    try:
        if path.stat().st_size > LARGEST:
            raise UserError(f"{path} is larger than any class that `protonova classes export` writes")
        document = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    return class_of(document, str(path))
