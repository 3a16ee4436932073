"""Which distributions an extra of Tessera installs, and their files, as this environment has them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

OURS = "tessera"


def distributions_of(extras: Sequence[str]) -> list[Distribution]:
    """All that `pip install tessera[EXTRAS]` installs beside Tessera itself, by name.

    Raises:
        PackageNotFoundError: something of it is not installed here.
    """
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    asked = [(OURS, extra) for extra in ("", *extras)]
    while asked:
        name, extra = asked.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        here = distribution(name)
        if name != OURS:
            found[name] = here
        for text in here.requires or ():
            wanted = Requirement(text)
            if wanted.marker is None or wanted.marker.evaluate({"extra": extra}):
                asked += [(_plain(wanted.name), each) for each in ("", *wanted.extras)]
    return [found[name] for name in sorted(found)]


def files_of(one: Distribution, removed: Sequence[str] = ()) -> Iterator[tuple[Path, Path]]:
    """Each installed file: where it is here, and its path below site-packages.

    Args:
        one: whose.
        removed: patterns of paths below site-packages that are left out, with all below them.
    """
    for path in one.files or ():
        here, there = Path(str(path.locate())), Path(str(path))
        if ".." in there.parts or _is_removed(there, removed):
            continue
        if here.is_file():
            yield here, there


def size_bytes(one: Distribution, removed: Sequence[str] = ()) -> int:
    """Of its files, but of those that are removed."""
    return sum(here.stat().st_size for here, _ in files_of(one, removed))


def _is_removed(path: Path, removed: Sequence[str]) -> bool:
    above = (path, *path.parents)
    return any(fnmatchcase(str(each), pattern) for pattern in removed for each in above)


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
