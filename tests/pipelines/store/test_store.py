"""Opening a store: made, brought up to date, refused, and what is said when it cannot be."""

from __future__ import annotations

import os
import re
import socket
import sqlite3
import subprocess
import sys
import threading
import traceback
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from headrace.pipelines.errors import MissingExtra, StoreError
from headrace.pipelines.store import FileStamp, Store, location, schema, upgrade
from sqlalchemy import create_engine, event, inspect, make_url, text

MIGRATIONS = Path(schema.__file__).with_name("migrations")


def engine_of(url: str):
    return create_engine(make_url(url).set(drivername="sqlite" if url.startswith("sqlite") else "postgresql+psycopg"))


@pytest.mark.parametrize("make", [upgrade.create, upgrade.upgrade])
def test_a_new_store_and_the_migrations_have_the_schema(store_url, make):
    with engine_of(store_url).begin() as connection:
        make(connection)
    with engine_of(store_url).connect() as connection:
        assert upgrade.at_head(connection, store_url)
        context = MigrationContext.configure(connection, opts={"version_table": schema.VERSION_TABLE})
        assert compare_metadata(context, schema.metadata) == []
        indexes = {
            index["name"] for table in schema.metadata.tables for index in inspect(connection).get_indexes(table)
        }
    # compare_metadata does not see SQLite's indexes in every version of Alembic.
    assert {index.name for table in schema.metadata.tables.values() for index in table.indexes} <= indexes


def test_what_alembic_makes_is_what_a_new_store_has(tmp_path):
    """Column by column, by SQLite's own account: types, defaults, keys, uniqueness."""
    made = {}
    for make in (upgrade.create, upgrade.upgrade):
        file = tmp_path / f"{make.__name__}.db"
        with engine_of(f"sqlite:///{file}").begin() as connection:
            make(connection)
        with closing(sqlite3.connect(file)) as connection:
            rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
        # The order of a table's constraints is the only freedom, so words are compared.
        made[make.__name__] = {name: sorted(re.findall(r"\w+", sql)) for name, sql in rows}
    assert made["create"] == made["upgrade"]


def test_the_known_revisions_are_the_migrations():
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    script = ScriptDirectory.from_config(config)
    assert [found.revision for found in script.walk_revisions()][::-1] == list(schema.REVISIONS)


def test_a_newer_store_is_refused_and_left_alone(store_url):
    Store.open(store_url).close()
    engine = engine_of(store_url)
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {schema.VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(StoreError, match=r"(?s)'9999'.*newer than this Headrace.*pip install --upgrade"):
        Store.open(store_url)
    with engine.connect() as connection:
        assert connection.execute(text(f"SELECT version_num FROM {schema.VERSION_TABLE}")).scalar() == "9999"


def test_a_database_of_something_else_is_refused(store_url):
    with engine_of(store_url).begin() as connection:
        connection.execute(text("CREATE TABLE runs (distance INTEGER)"))
    with pytest.raises(StoreError, match=r"(?s)tables of these names that Headrace did not make: runs.*fix:"):
        Store.open(store_url)
    with engine_of(store_url).connect() as connection:
        assert inspect(connection).get_table_names() == ["runs"]


def test_a_half_made_store_is_completed(store_url):
    """A store whose making dies on its way leaves nothing, and the next open starts it over."""

    def die(*_, **__):
        raise KeyboardInterrupt

    table = schema.metadata.tables["step_outputs"]
    event.listen(table, "after_create", die)
    try:
        with pytest.raises(KeyboardInterrupt):
            Store.open(store_url)
    finally:
        event.remove(table, "after_create", die)
    with engine_of(store_url).connect() as connection:
        assert inspect(connection).get_table_names() == []
    with Store.open(store_url) as store:
        assert store.runs() == ()


def test_create_off_makes_nothing(store_url, tmp_path):
    with pytest.raises(StoreError, match="there is no store at"):
        Store.open(store_url, create=False)
    assert list(tmp_path.iterdir()) == []
    Store.open(store_url).close()
    Store.open(store_url, create=False).close()


def test_paths_and_urls_name_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    expected = {
        tmp_path: tmp_path / ".headrace/store.db",
        "root": tmp_path / "root/.headrace/store.db",
        ".headrace": tmp_path / ".headrace/store.db",
        "team.db": tmp_path / "team.db",
        "sqlite:///team.db": tmp_path / "team.db",
        f"sqlite:///{tmp_path}/a b.db": tmp_path / "a b.db",
        "per%cent/ü": tmp_path / "per%cent/ü/.headrace/store.db",
    }
    for given, file in expected.items():
        with Store.open(given) as store:
            assert file.is_file(), given
            assert store.url == f"sqlite:///{file}"
            monkeypatch.chdir("/")
            assert store.runs() == ()
        monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://ann:hunter2@db/x", "cannot be kept in 'mysql'"),
        ("sqlite://", "not a plain file"),
        ("sqlite:///:memory:", "not a plain file"),
        ("postgresql://ann:hunter2@db:port/x", "cannot be read"),
        ("postgresql://ann:hunter2@127.0.0.1:{closed}/x", "check that the server runs"),
        ("postgresql://ann@127.0.0.1:{closed}/x?password=hunter2", "check that the server runs"),
        ("postgresql://ann@127.0.0.1:{closed}/x?oauth_client_secret=hunter2", "fix:|quotes a secret"),
        ("/proc/nowhere", "cannot be made"),
    ],
)
def test_a_store_that_cannot_be_is_said_without_its_password(url, said):
    pytest.importorskip("psycopg")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(StoreError, match=said) as caught:
            Store.open(url.format(closed=taken.getsockname()[1]))
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_postgresql_errors_hold_no_password(postgres, postgres_database):
    secret = make_url(postgres_database).password
    wrong = make_url(postgres_database).set(password="hunter2").render_as_string(hide_password=False)
    with pytest.raises(StoreError, match=r"(?s)authentication failed.*check the user and the password") as caught:
        Store.open(wrong)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))
    with pytest.raises(StoreError, match=r"(?s)does not exist.*createdb") as caught:
        Store.open(f"{postgres}/missing")
    assert secret not in "".join(traceback.format_exception(caught.value))
    with Store.open(postgres_database) as store:
        assert secret not in repr(store) + store.url
        with pytest.raises(StoreError) as caught:
            store.create_run("p", root=".", parameters={"key": {1, 2}})
        assert secret not in "".join(traceback.format_exception(caught.value))


def test_a_role_that_may_not_write_is_told(postgres, postgres_database):
    import psycopg

    with psycopg.connect(postgres_database, autocommit=True) as connection:
        connection.execute("CREATE ROLE reader LOGIN PASSWORD 'r'")
    reader = make_url(postgres_database).set(username="reader", password="r").render_as_string(hide_password=False)
    with pytest.raises(StoreError, match=r"(?s)permission denied.*you may write to"):
        Store.open(reader)


def test_without_the_driver_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtra, match=r"pip install 'headrace\[postgres\]'"):
        Store.open("postgresql://ann@db/x")


@pytest.mark.parametrize("content", [b"distance,delay\n1400,3\n" * 500, b"SQLite format 3\0" + b"\1" * 5000])
def test_a_file_that_is_no_database_is_refused_and_kept(tmp_path, content):
    file = tmp_path / "store.db"
    file.write_bytes(content)
    with pytest.raises(StoreError, match=r"(?s)(not a database|malformed).*move the file away"):
        Store.open(file)
    assert file.read_bytes() == content


def test_a_damaged_store_is_said(tmp_path):
    file = tmp_path / "store.db"
    with Store.open(file) as store:
        for _ in range(200):
            store.create_run("p", root=".", parameters={"text": "x" * 1000})
    with file.open("r+b") as raw:
        raw.seek(4096 * 2)
        raw.write(os.urandom(file.stat().st_size - 4096 * 2))
    with pytest.raises(StoreError, match=r"(?s)malformed.*move the file away"), Store.open(file) as store:
        store.runs(None)


def test_an_empty_file_becomes_a_store(tmp_path):
    (tmp_path / "store.db").touch()
    with Store.open(tmp_path / "store.db") as store:
        assert store.runs() == ()


@pytest.fixture
def as_another_user(tmp_path, tmp_path_factory):
    """Gives what a function says, or its StoreError, when another user calls it, one who may not write everywhere."""
    # pytest's folders are its user's alone; the other user passes through them.
    passed = [tmp_path, *tmp_path.parents]
    for parent in passed[: passed.index(tmp_path_factory.getbasetemp().parent) + 2]:
        parent.chmod(parent.stat().st_mode | 0o111)
    # Whoever the child becomes may not be allowed to read this checkout: it imports nothing any more.
    with Store.open(tmp_path / "elsewhere" / "store.db") as store:
        store.create_run("p", root=".")

    def call(function) -> str:
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                if os.geteuid() == 0:
                    # Root may write anywhere.
                    os.setuid(65534)
                said = function()
            except StoreError as error:
                said = str(error)
            except BaseException as error:
                said = repr(error)
            os.write(write, said.encode())
            os._exit(0)
        os.close(write)
        os.waitpid(child, 0)
        with os.fdopen(read) as pipe:
            return pipe.read()

    return call


@pytest.mark.parametrize("kind", ["read-only", "read-only with a store", "closed"])
def test_a_folder_that_cannot_be_used_is_said(tmp_path, as_another_user, kind):
    folder = tmp_path / "root"
    folder.mkdir()
    if kind == "read-only with a store":
        Store.open(folder / "store.db").close()
        (folder / "store.db").chmod(0o444)
    folder.chmod(0o000 if kind == "closed" else 0o555)

    def write() -> str:
        with Store.open(folder / "store.db") as store:
            store.create_run("p", root=".")
        return "no error"

    said = as_another_user(write)
    folder.chmod(0o755)
    assert "you may write to" in said, said


@pytest.fixture
def kept(tmp_path):
    """A store of this user, in a folder that others may only read."""
    folder = tmp_path / "ours, 100% #1?"
    folder.mkdir()
    with Store.open(folder / "store.db") as store:
        store.create_run("first", root=".")
    folder.chmod(0o555)
    yield folder / "store.db"
    folder.chmod(0o755)


def test_a_store_in_a_folder_that_may_only_be_read_is_read(kept, as_another_user):
    def read() -> str:
        with Store.open(kept, create=False) as store:
            stamp = FileStamp("data.csv", 1, 1, 1)
            store.remember_digests({stamp: "d"})
            assert store.known_digests([stamp]) == {}
            assert store.recover_dead_runs() == ()
            return " ".join(run.pipeline for run in store.runs(None))

    assert as_another_user(read) == "first"
    assert [path.name for path in kept.parent.iterdir()] == ["store.db"]


def test_what_its_owner_writes_meanwhile_is_read(kept, as_another_user):
    """Within one opening, from before there was a log to after it is gone."""
    asked, answer = os.pipe(), os.pipe()

    def read() -> str:
        seen = []
        with Store.open(kept, create=False) as store:
            for _ in range(3):
                seen.append(str(len(store.runs(None))))
                os.write(answer[1], b"x")
                os.read(asked[0], 1)
        return " ".join(seen)

    def own() -> None:
        os.read(answer[0], 1)
        with Store.open(kept) as store:
            store.create_run("second", root=".")
            os.write(asked[1], b"x")
            os.read(answer[0], 1)
            store.create_run("third", root=".")
        os.write(asked[1], b"x")
        os.read(answer[0], 1)
        os.write(asked[1], b"x")

    owner = threading.Thread(target=own)
    owner.start()
    said = as_another_user(read)
    owner.join(30)
    assert said == "1 2 3"


def test_a_store_that_may_only_be_read_says_so_when_written_to(kept, as_another_user):
    def write() -> str:
        with Store.open(kept, create=False) as store:
            store.create_run("p", root=".")
        return "no error"

    said = as_another_user(write)
    assert "you may write to" in said and "readonly" in said, said


def test_an_older_store_that_may_only_be_read_is_said(kept, as_another_user, monkeypatch):
    monkeypatch.setattr(upgrade, "REVISIONS", (*schema.REVISIONS, "9998"))
    said = as_another_user(lambda: repr(Store.open(kept, create=False)))
    assert "an older Headrace's" in said and "fix: let its owner" in said, said


def test_opening_an_up_to_date_store_is_cheap(tmp_path):
    """Neither Alembic nor the other database's dialect nor anything of data is imported."""
    Store.open(tmp_path).close()
    code = (
        "import sys; from headrace.pipelines.store import Store; Store.open(sys.argv[1]).runs();"
        "print(*(name for name in ('alembic', 'psycopg', 'sqlalchemy.dialects.postgresql', 'sqlalchemy.orm', 'pyarrow',"
        " 'tensorflow', 'apache_beam') if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_the_records_need_no_sqlalchemy():
    code = "import sys, headrace.pipelines.store as s; s.NewArtifact('u', 'T', 'd'); print('sqlalchemy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_without_sqlalchemy_the_extra_is_named():
    code = (
        "import sys; sys.modules['sqlalchemy'] = None\n"
        "import headrace.pipelines.store as s\n"
        "try: s.Store\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "MissingExtra sqlalchemy is not installed: pip install 'headrace[run]'"


def test_the_file_is_in_wal_mode(tmp_path):
    Store.open(tmp_path / "store.db").close()
    with sqlite3.connect(tmp_path / "store.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_forked_child_must_open_its_own(tmp_path):
    with Store.open(tmp_path) as store:
        child = os.fork()
        if child == 0:
            try:
                store.runs()
            except StoreError:
                os._exit(7)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_shown_hides_everything_secret():
    url = make_url("postgresql://ann:hunter2@db:5432/headrace?sslpassword=hunter3&options=x")
    assert location.shown(url) == "postgresql://ann@db:5432/headrace"
    assert set(location.secrets(url)) == {"hunter2", "hunter3"}
