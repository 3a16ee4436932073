"""An image without a container engine: a root folder with what its Dockerfile names, and its command in it by chroot.

The base is put together from this machine's Python and the files of the Debian packages that the base image has; on it
come the distributions that the extras name, Tessera's own packages as a wheel holds them, and nothing else. What is
started there cannot see anything beside it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from benchmarks.figures import ROOT
from benchmarks.operations.distributions import distributions_of, files_of
from benchmarks.operations.dockerfile import Image

USER = 10001
_PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
_SITE = Path("opt/tessera/lib") / _PYTHON / "site-packages"
_BASE_PACKAGES = [
    "libc6",
    "libgcc-s1",
    "libstdc++6",
    "zlib1g",
    "libssl3",
    "libffi8",
    "libbz2-1.0",
    "liblzma5",
    "libsqlite3-0",
    "libexpat1",
    "libuuid1",
    "libreadline8",
    "libtinfo6",
    "libncursesw6",
    "libcrypt1",
    "libdb5.3",
    "libnsl2",
    "libtirpc3",
    "libgdbm6",
    "ca-certificates",
    "tzdata",
    "netbase",
]
"""What `python:3.11-slim-bookworm` has of libraries: those of debian:bookworm-slim that Python uses, and what its own
Dockerfile installs."""


def why_not() -> str:
    """Why this machine cannot do it; empty when it can."""
    if os.geteuid() != 0:
        return "only root may change the root folder"
    missing = [name for name in ("chroot", "unshare", "dpkg-query") if shutil.which(name) is None]
    if missing:
        return f"{', '.join(missing)} is not here"
    asked = subprocess.run(["dpkg-query", "-W", *_BASE_PACKAGES], capture_output=True, check=False)
    if asked.returncode:
        return "this is no Debian 12: the base image's libraries are not here"
    apart = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)
    return "" if apart.returncode == 0 else "mounts of its own are not allowed here"


@dataclass(frozen=True, slots=True)
class CleanRoot:
    """A root folder with one image in it."""

    folder: Path
    image: Image

    def start(self, environ: Mapping[str, str], command: Sequence[str] = (), **streams: int) -> subprocess.Popen[bytes]:
        """Start the image's command, as its user.

        Args:
            environ: on top of what the Dockerfile sets; nothing comes from this process.
            command: instead of the Dockerfile's CMD.
            streams: of `Popen`.
        """
        inside = (
            'root="$0"; user="$1"; shift; mount -t proc proc "$root/proc"; exec chroot --userspec="$user" "$root" "$@"'
        )
        final = self.image.final
        line = [*final.entrypoint, *(command or final.command)]
        if command and command[0].startswith("/"):
            line = list(command)
        return subprocess.Popen(
            ["unshare", "--mount", "sh", "-ec", inside, str(self.folder), final.user, *line],
            env={"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", **final.environ, **environ},
            **streams,  # type: ignore[call-overload]
        )

    def run(self, *command: str, environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:
        """Run a command in it to its end; a path is run as it is, other words follow the entry point."""
        process = self.start(environ or {}, command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(command, process.returncode, out, err)


@contextmanager
def clean_root(image: Image, folder: Path, cache: Path | None = None) -> Iterator[CleanRoot]:
    """Put an image together; it is taken apart at the end.

    Args:
        image: which.
        folder: where; it must not be there yet.
        cache: what `encoder_svc.prepare` made, for the encoder's image.
    """
    try:
        _base(folder)
        for one in distributions_of(image.extras):
            for here, there in files_of(one, image.removed):
                _place(here, folder / _SITE / there)
        for here in _own_files(image):
            _place(here, folder / _SITE / here.relative_to(ROOT))
        if cache is not None:
            shutil.copytree(cache, folder / "opt/tessera/cache")
        _scripts(folder / "opt/tessera/bin")
        yield CleanRoot(folder, image)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _base(folder: Path) -> None:
    for name in (
        "usr/local/bin",
        "usr/local/lib",
        "usr/bin",
        "usr/lib",
        "usr/lib64",
        "etc",
        "proc",
        "dev",
        "tmp",
        "opt",
    ):
        (folder / name).mkdir(parents=True)
    for name in ("lib", "lib64", "bin"):
        (folder / name).symlink_to(f"usr/{name}")
    listed = subprocess.run(["dpkg-query", "-L", *_BASE_PACKAGES], capture_output=True, text=True, check=True).stdout
    for path in {Path(line) for line in listed.splitlines() if line.startswith("/")}:
        if path.is_file() and "/share/doc/" not in str(path) and "/share/man/" not in str(path):
            _place(path, folder / path.relative_to("/"))
    prefix = Path(sys.base_prefix)
    _place((prefix / "bin" / _PYTHON).resolve(), folder / "usr/local/bin" / _PYTHON)
    for library in prefix.glob("lib/libpython3*.so.1.0"):
        _place(library, folder / "usr/lib" / library.name)
    leave_out = shutil.ignore_patterns("site-packages", "test", "tests", "idlelib", "__pycache__", "config-*")
    shutil.copytree(prefix / "lib" / _PYTHON, folder / "usr/local/lib" / _PYTHON, ignore=leave_out, copy_function=_link)
    (folder / "etc/passwd").write_text(f"tessera:x:{USER}:{USER}::/var/lib/tessera:/usr/sbin/nologin\n")
    (folder / "etc/group").write_text(f"tessera:x:{USER}:\n")
    (folder / "etc/hosts").write_text("127.0.0.1 localhost\n")
    (folder / "tmp").chmod(0o1777)
    home = folder / "var/lib/tessera"
    home.mkdir(parents=True)
    os.chown(home, USER, USER)
    for number, name in ((3, "null"), (5, "zero"), (8, "random"), (9, "urandom")):
        os.mknod(folder / "dev" / name, 0o20666, os.makedev(1, number))
        (folder / "dev" / name).chmod(0o666)


def _own_files(image: Image) -> Iterator[Path]:
    """What a wheel of Tessera holds of the packages that are copied: modules, and data that pyproject.toml names."""
    data = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["package-data"]
    for package in image.packages:
        for path in sorted((ROOT / package).rglob("*")):
            below = path.relative_to(ROOT / package)
            wanted = path.suffix == ".py" or any(
                fnmatchcase(str(below), pattern.replace("**/", "*")) for pattern in data.get(package, ())
            )
            if path.is_file() and wanted:
                yield path


def _scripts(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "python").symlink_to(f"/usr/local/bin/{_PYTHON}")
    (folder.parent / "pyvenv.cfg").write_text("home = /usr/local/bin\ninclude-system-site-packages = false\n")
    script = folder / "tessera"
    script.write_text(
        "#!/opt/tessera/bin/python\nimport sys\nfrom tessera.cli.__main__ import main\nsys.exit(main())\n"
    )
    script.chmod(0o755)


def _place(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        _link(str(source), str(target))


def _link(source: str, target: str) -> None:
    real = os.path.realpath(source)
    try:
        os.link(real, target)
    except OSError:  # another disk
        shutil.copy2(real, target)
