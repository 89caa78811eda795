"""The server over time: versions that follow each other under load; SIGTERM loses nothing; SIGKILL lies to no one."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from headrace.transforms.serving.refusals import RequestError
from headrace.transforms.serving.versions import Versions

from tests.s3_server import s3_bucket
from tests.served_models import Server, served, write_half_plus

pytest.importorskip("tensorflow")
pytest.importorskip("starlette")

CLIENTS = 6


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models whose answers tell them apart: half_plus 1, 2 and 3."""
    folder = tmp_path_factory.mktemp("made")
    for add in (1, 2, 3):
        write_half_plus(folder / str(add), add)
    return folder


class Load:
    """Clients that send requests on connections that stay open, and note each answer.

    Args:
        server: Whom they ask.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.answers: list[tuple[float, float]] = []
        self.refused: list[tuple[int, Any]] = []
        self.lost: list[str] = []
        self.not_connected = 0
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self._client, args=(number,)) for number in range(CLIENTS)]

    def __enter__(self) -> Load:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join(60)

    def _client(self, number: int) -> None:
        connection: http.client.HTTPConnection | None = None
        x = float(number)
        while not self.stop.is_set():
            if connection is None:
                connection = self.server.connect()
                try:
                    connection.connect()
                except OSError:
                    self.not_connected += 1
                    return
            x += 10
            try:
                connection.request("POST", f"/v1/models/{self.server.name}:predict", json.dumps({"instances": [x]}))
                response = connection.getresponse()
                found = json.loads(response.read())
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.lost.append(repr(error))
                return
            if response.status == 200:
                self.answers.append((x, found["predictions"][0]))
            else:
                self.refused.append((response.status, found))
            if response.getheader("connection") == "close":
                connection.close()
                connection = None

    def added(self) -> list[float]:
        """What each answer added to the half."""
        return [answer - x / 2 for x, answer in self.answers]


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def state(server: Server, version: int) -> str:
    status, found = server.ask("GET", f"/v1/models/{server.name}/versions/{version}")
    return found["model_version_status"][0]["state"] if status == 200 else ""


def push(models: Path, add: int, base: Path, version: int) -> None:
    """As the Pusher does: a whole folder appears by a rename."""
    shutil.copytree(models / str(add), base / f".pushing-{version}")
    (base / f".pushing-{version}").rename(base / str(version))


def test_a_new_version_takes_over_under_load(models: Path, tmp_path: Path) -> None:
    base = tmp_path / "half"
    base.mkdir()
    push(models, 1, base, 1)
    with served(base, "--poll", "0.1") as server, Load(server) as load:
        until(lambda: len(load.answers) > 50)
        push(models, 2, base, 2)
        until(lambda: state(server, 2) == "AVAILABLE" and state(server, 1) == "END")
        seen = len(load.answers)
        until(lambda: len(load.answers) > seen + 50)
        load.stop.set()
        for thread in load.threads:
            thread.join()
        assert not load.lost and not load.refused
        added = load.added()
        assert set(added) == {1.0, 2.0}, "each answer is one version's or the other's"
        assert set(added[seen:]) == {2.0}
        assert server.predict({"instances": [4]}, "/versions/1")[0] == 404
        assert server.ask("GET", "/v2/models/half")[1]["versions"] == ["2"]


def test_a_version_that_does_not_load_leaves_the_old_one(models: Path, tmp_path: Path) -> None:
    base = tmp_path / "half"
    base.mkdir()
    push(models, 1, base, 1)
    (base / "2").mkdir()
    (base / "3").mkdir()
    (base / "3" / "notes.txt").write_text("no SavedModel yet")
    (base / "2" / "saved_model.pb").write_bytes(b"damaged")
    with served(base, "--poll", "0.1") as server:
        assert "version 1" in server.first_line, "2 is damaged, 3 has no model"
        status, found = server.ask("GET", "/v1/models/half")
        states = {one["version"]: one["state"] for one in found["model_version_status"]}
        assert status == 200 and states == {"2": "END", "1": "AVAILABLE"}
        damaged = found["model_version_status"][0]["status"]
        assert damaged["error_code"] != "OK" and "cannot be parsed" in damaged["error_message"]
        assert server.predict({"instances": [4]}) == (200, {"predictions": [3.0]})
        shutil.rmtree(base / "2")
        push(models, 2, base, 2)
        until(lambda: state(server, 2) == "AVAILABLE")
        assert server.predict({"instances": [4]}) == (200, {"predictions": [4.0]})
        # Going back: the pushed version is gone, the one before it serves again.
        shutil.rmtree(base / "2")
        until(lambda: state(server, 1) == "AVAILABLE" and state(server, 2) == "END")
        assert server.predict({"instances": [4]}) == (200, {"predictions": [3.0]})
        # A folder that is gone for a while takes nothing away.
        base.rename(tmp_path / "gone")
        time.sleep(0.5)
        assert server.predict({"instances": [4]}) == (200, {"predictions": [3.0]})


def test_all_versions_or_those_that_are_named(models: Path, tmp_path: Path) -> None:
    base = tmp_path / "half"
    base.mkdir()
    for version in (1, 2, 3):
        push(models, version, base, version)
    with served(base, "--versions", "all", "--poll", "0") as server:
        assert "version 3, 2, 1" in server.first_line
        assert server.predict({"instances": [0]}) == (200, {"predictions": [3.0]})
        assert server.predict({"instances": [0]}, "/versions/1") == (200, {"predictions": [1.0]})
        assert server.infer(tensor(0), "/versions/2")[1]["model_version"] == "2"


def test_versions_that_are_named(models: Path) -> None:
    async def main() -> None:
        versions = Versions("half", models, policy=(1, 3), labels={"old": 1, "gone": 2})
        await versions.refresh()
        assert [version.number for version in versions.served()] == [3, 1]
        assert versions.pick(label="old").number == 1
        for asked in ({"label": "gone"}, {"label": "new"}, {"number": 2}):
            with pytest.raises(RequestError):
                versions.pick(**asked)
        with versions.use(1) as held:
            closing = asyncio.create_task(versions.close())
            await asyncio.sleep(0.2)
            assert held.model is not None and held.state == "UNLOADING", "it waits for its last request"
        await closing
        assert held.model is None and held.state == "END"

    asyncio.run(main())


def test_versions_of_a_bucket(models: Path, tmp_path: Path) -> None:
    """An S3 server on the loopback. A version counts when its saved_model.pb is there, which comes last."""
    with s3_bucket() as (bucket, _):
        base = f"{bucket}/models/half"
        files = fsspec.filesystem("s3")

        def upload(add: int, version: int, *, whole: bool = True) -> None:
            for file in sorted((models / str(add)).rglob("*"), key=lambda file: file.name == "saved_model.pb"):
                if file.is_file() and (whole or file.name != "saved_model.pb"):
                    files.put_file(str(file), f"{base}/{version}/{file.relative_to(models / str(add))}")

        upload(1, 1)
        before = set(Path(tempfile.gettempdir()).glob("headrace-serve-*"))
        with served(base, "--poll", "0.2") as server:
            assert server.first_line.startswith("serving half (version 1)")
            assert server.predict({"instances": [4]}) == (200, {"predictions": [3.0]})
            [copies] = set(Path(tempfile.gettempdir()).glob("headrace-serve-*")) - before
            assert [one.name for one in copies.iterdir()] == ["1"]
            upload(2, 2, whole=False)
            time.sleep(0.6)
            assert server.predict({"instances": [4]}) == (200, {"predictions": [3.0]})
            upload(2, 2)
            until(lambda: state(server, 2) == "AVAILABLE" and state(server, 1) == "END")
            assert server.predict({"instances": [4]}) == (200, {"predictions": [4.0]})
            assert [one.name for one in copies.iterdir()] == ["2"], "what is no longer served takes no room"
            files.rm(f"{base}/2", recursive=True)
            until(lambda: state(server, 1) == "AVAILABLE")
            assert server.predict({"instances": [4]}) == (200, {"predictions": [3.0]})
            assert server.end(signal.SIGTERM)[0] == 0
        assert not copies.exists()
        with served(f"{base}/1") as server:
            assert server.name == "half" and server.predict({"instances": [4]}) == (200, {"predictions": [3.0]})
        with pytest.raises(RuntimeError, match="found no folder s3://"):
            served(f"{bucket}/nothing").__enter__()


def tensor(x: float) -> dict[str, Any]:
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [x]}]}


def test_sigterm_under_load_loses_no_request(models: Path) -> None:
    with served(models / "1", "--name", "half", "--batch-delay", "5") as server:
        with Load(server) as load:
            until(lambda: len(load.answers) > 200)
            # One that waits for its answer, one that is half sent, and one that has connected and sent nothing yet.
            waiting, half_sent, silent, probing = (server.connect() for _ in range(4))
            probing.request("GET", "/v2/health/ready")
            assert probing.getresponse().read() == b'{"ready":true}'
            body = json.dumps({"instances": [1000.0]})
            for connection in (waiting, half_sent, silent):
                connection.connect()
            waiting.request("POST", "/v1/models/half:predict", body)
            half_sent.putrequest("POST", "/v1/models/half:predict")
            half_sent.putheader("Content-Length", str(len(body)))
            half_sent.endheaders(body[:5].encode())
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            probing.request("GET", "/v2/health/ready")
            response = probing.getresponse()
            assert (response.status, response.getheader("connection")) == (503, "close")
            half_sent.send(body[5:].encode())
            silent.request("POST", "/v1/models/half:predict", body)
            for connection in (waiting, half_sent, silent):
                response = connection.getresponse()
                assert (response.status, json.loads(response.read())) == (200, {"predictions": [501.0]})
            for thread in load.threads:
                thread.join(60)
        assert server.process.stdout is not None
        said = server.process.stdout.read()
        assert server.process.wait(60) == 0
        assert load.lost == [] and load.refused == []
        assert load.not_connected == CLIENTS, "each was told to close its connection, and found no server then"
        assert set(load.added()) == {1.0}
        counted = re.search(r"ended: (\d+) requests accepted, (\d+) answered", said)
        assert counted is not None and counted[1] == counted[2] == str(len(load.answers) + 5)


def test_sigkill_gives_errors_and_never_a_wrong_answer(models: Path) -> None:
    with served(models / "1", "--name", "half") as server, Load(server) as load:
        until(lambda: len(load.answers) > 200)
        server.process.kill()
        for thread in load.threads:
            thread.join(60)
        assert len(load.lost) + load.not_connected == CLIENTS
        assert set(load.added()) == {1.0} and not load.refused


def test_warm_up_requests_are_answered_before_the_first_client(models: Path, tmp_path: Path) -> None:
    from headrace.transforms.serving import warmup
    from headrace.transforms.serving.loaded_model import LoadedModel

    folder = tmp_path / "model"
    shutil.copytree(models / "1", folder)
    sent = [("serving_default", {"x": np.array([1, 2], np.float32)}), ("", {"x": np.array([3], np.float32)})]
    warmup.write_warmup(folder / warmup.FILE, sent, "half")
    found = warmup.read_warmup(folder / warmup.FILE)
    assert [(name, arrays["x"].tolist()) for name, arrays in found] == [
        ("serving_default", [1, 2]),
        ("serving_default", [3]),
    ]
    model = LoadedModel(folder)
    assert warmup.warm_up(model) == 2
    warmup.write_warmup(folder / warmup.FILE, [("other", {})])
    with pytest.raises(ValueError, match="request 0 asks for the signature 'other'"):
        warmup.warm_up(model)
    (folder / warmup.FILE).write_bytes(b"no record")
    with pytest.raises(ValueError, match="expected TFRecord of PredictionLog"):
        warmup.warm_up(model)
    model.close()


def test_the_server_has_tensorflow_and_nothing_of_ours_but_its_own_folder(models: Path) -> None:
    code = f"""
import asyncio, sys
from pathlib import Path
from headrace.transforms.serving import app, server
from headrace.transforms.serving.loaded_model import LoadedModel
from headrace.transforms.serving.warmup import warm_up
warm_up(LoadedModel({str(models / "1")!r}))
ours = sorted(name for name in sys.modules if name.startswith("headrace") and ".serving" not in name)
heavy = sorted(set(sys.modules) & {{"apache_beam", "sqlalchemy", "duckdb", "tensorflow_metadata"}})
print(ours, heavy)
"""
    found = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "['headrace', 'headrace.transforms'] []"
