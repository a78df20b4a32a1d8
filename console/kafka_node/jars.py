"""The committed lock file → Kafka's jars in the user's cache, each with the sum it should have.

Only these files are fetched, from Maven, through `jgo`; no dependency is resolved and nothing else is asked for.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tomllib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

from errors import UserError, one_line

LOCK = Path(__file__).parents[2] / "deploy" / "kafka" / "jgo.lock.toml"
AT_ONCE = 6

Progress = Callable[[str, int, int], None]
"""What is done, how many of how many."""


class Jar(NamedTuple):
    """A line of the lock file."""

    group: str
    name: str
    version: str
    sha256: str


def cache_folder() -> Path:
    """Where the jars lie, for all state folders of a user."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "protonova" / "maven"


def locked(lock: Path = LOCK) -> list[Jar]:
    """What the lock file names.

    Raises
    ------
    UserError
        It is missing or damaged.
    """
    try:
        rows = tomllib.loads(lock.read_text())["dependencies"]
        return [Jar(row["groupId"], row["artifactId"], row["version"], row["sha256"]) for row in rows]
    except (OSError, tomllib.TOMLDecodeError, KeyError) as error:
        raise UserError(f"{lock} cannot be read ({one_line(error, 120)}): run from a checkout, or set PROTONOVA_KAFKA=host:port") from None


def fetch(cache: Path, progress: Progress, *, lock: Path = LOCK) -> list[Path]:
    """The jars' paths, fetched where they are not there yet.

    Parameters
    ----------
    cache : Path
        Laid out as a Maven repository.
    progress : callable
        Called for each jar that had to be fetched.

    Raises
    ------
    UserError
        One cannot be fetched, or is not what the lock file names.
    """
    jars = locked(lock)
    cache.mkdir(parents=True, exist_ok=True)
    # Two first fetches at the same time would write over each other's files.
    with (cache / "fetch.lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        missing = [jar for jar in jars if not _sound(_path(cache, jar), jar)]
        if missing:
            _fetch_all(missing, cache, progress=progress)
    return [_path(cache, jar) for jar in jars]


def _path(cache: Path, jar: Jar) -> Path:
    return cache.joinpath(*jar.group.split("."), jar.name, jar.version, f"{jar.name}-{jar.version}.jar")


def _sound(path: Path, jar: Jar) -> bool:
    """Whether a file is there and is the one locked."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == jar.sha256
    except OSError:
        return False


def _fetch_all(jars: list[Jar], cache: Path, *, progress: Progress) -> None:
    from jgo.config import GlobalSettings
    from jgo.constants import MAVEN_CENTRAL_URL
    from jgo.maven import MavenContext

    # A mirror in the user's own jgo settings comes first.
    remotes = {**GlobalSettings.load().repositories, "central": MAVEN_CENTRAL_URL}
    context = MavenContext(repo_cache=cache, remote_repos=remotes, timeout=30)

    def one(jar: Jar) -> None:
        path = _path(cache, jar)
        path.unlink(missing_ok=True)  # a half-written one of a fetch that was killed
        context.project(jar.group, jar.name).at_version(jar.version).artifact().resolve()
        if not _sound(path, jar):
            path.unlink(missing_ok=True)
            raise UserError(f"{path.name} from Maven is not the file that {LOCK.name} names (its sha256 differs); nothing of it was used")

    progress("fetching Apache Kafka", 0, len(jars))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        done = [pool.submit(one, jar) for jar in jars]
        try:
            for count, future in enumerate(as_completed(done), 1):
                future.result()
                progress("fetching Apache Kafka", count, len(jars))
        except UserError:
            raise
        except Exception as error:  # requests' errors and jgo's own share no base class
            reason = one_line(error, 160)
            raise UserError(
                f"Kafka's jars cannot be fetched from Maven ({reason}): check the network, or use a broker with PROTONOVA_KAFKA=host:port"
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
