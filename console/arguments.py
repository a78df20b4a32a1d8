"""What was typed → what is meant, or one line that names what is wrong, before anything is loaded or written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from errors import nearest, one_line, usage
from schemas.taxonomy import CLASSES, RESERVED, slug_of

STDIN = "-"
TOPIC_URL = "kafka://"


def existing(paths: Iterable[str | Path | None], what: str) -> None:
    """Refuse a path that is not there (None: not given; standard input and ranges of topics are not paths).

    Parameters
    ----------
    paths : iterable
    what : str
        What should be named instead, as in the message: "a file of packets".

    Raises
    ------
    UserError
        With exit status 2.
    """
    for path in paths:
        if path is None or path == STDIN or str(path).startswith(TOPIC_URL):
            continue
        try:
            there = Path(path).exists()
        except (OSError, ValueError) as error:  # a name that no file can have
            raise usage(f"{one_line(path, 200)!r} cannot be a file's name ({one_line(error, 80)}): name {what}") from None
        if not there:
            raise usage(f"{one_line(path, 300)} is not there: name {what}")


def class_named(text: str, known: Sequence[str]) -> str:
    """The class that is meant: a slug in any case, or any name the taxonomy has for it ("SN Ia", "TDE", 2243).

    Parameters
    ----------
    text : str
    known : sequence of str
        Slugs there are: the bundle's classes and those taught.

    Raises
    ------
    UserError
        With the nearest name and exit status 2.
    """
    by_slug = {slug.casefold(): slug for slug in known}
    for slug in (text.strip(), slug_of(text) or ""):
        if slug.casefold() in by_slug:
            return by_slug[slug.casefold()]
    classes = sorted(set(known) - RESERVED)
    names = {slug: slug for slug in classes}
    for entry in CLASSES:
        if entry.slug in names:
            names |= {name: entry.slug for name in (entry.title, entry.alerce, entry.fink, entry.tns) if name}
    close = nearest(text, names)
    guess = f"did you mean {names[close]}? " if close else ""
    raise usage(f"{one_line(text, 60)!r} is not a class: {guess}Classes are {', '.join(classes) or 'none yet'}")
