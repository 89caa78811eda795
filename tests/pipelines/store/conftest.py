"""The store's tests run on a SQLite file and on a real PostgreSQL server, started here from Debian's package."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from headrace.pipelines.store import Store

PASSWORD = "s3cret%40pass"


def _missing(reason: str) -> None:
    if os.environ.get("HEADRACE_REQUIRE_POSTGRES") == "1":
        pytest.fail(f"HEADRACE_REQUIRE_POSTGRES=1, but {reason}")
    pytest.skip(reason)


def _as_server(folder: Path) -> dict[str, Any]:
    """PostgreSQL refuses to run as root: what makes subprocess run it as the user that Debian's package adds."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam("postgres")
    os.chown(folder, user.pw_uid, user.pw_gid)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL, up to the database's name, of a server of our own that ends with the tests."""
    pytest.importorskip("psycopg")
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not binaries:
        _missing("PostgreSQL's server is not installed: make install-postgres")
    bin_folder = binaries[-1].parent
    folder = Path(tempfile.mkdtemp(prefix="headrace-pg-"))
    try:
        run_as = {**_as_server(folder), "check": True, "capture_output": True, "cwd": folder}
        password_file = folder / "password"
        password_file.write_text(PASSWORD.replace("%40", "@"), encoding="utf-8")
        password_file.chmod(0o644)
        data = folder / "data"
        access = ["--username=headrace", "--auth=scram-sha-256", f"--pwfile={password_file}"]
        init = [bin_folder / "initdb", f"--pgdata={data}", *access, "--encoding=UTF8", "--locale=C", "--no-sync"]
        subprocess.run(init, **run_as)
        port = _free_port()
        options = f"-c listen_addresses=127.0.0.1 -p {port} -c unix_socket_directories={folder} -c fsync=off"
        control = [bin_folder / "pg_ctl", f"--pgdata={data}", "--wait"]
        subprocess.run([*control, f"--log={folder}/log", f"--options={options}", "start"], **run_as)
        try:
            yield f"postgresql://headrace:{PASSWORD}@127.0.0.1:{port}"
        finally:
            subprocess.run([*control, "--mode=immediate", "stop"], **run_as)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_database(postgres: str) -> str:
    """The URL of a new, empty database."""
    return _create(postgres, "DATABASE", "/{}")


@pytest.fixture
def postgres_schema(postgres: str) -> str:
    """The URL of a new, empty schema of one database: as good for most tests, and ten times as fast to make."""
    return _create(postgres, "SCHEMA", "/postgres?options=-csearch_path%3D{}")


def _create(server: str, kind: str, url: str) -> str:
    import psycopg

    name = f"t{uuid.uuid4().hex}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE {kind} {name}")  # type: ignore[arg-type]
    return server + url.format(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a store that is not made yet, on either database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    return str(request.getfixturevalue("postgres_schema"))


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    with Store.open(store_url) as opened:
        yield opened
