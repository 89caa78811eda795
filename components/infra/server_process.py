"""The model server in a fresh process, which has TensorFlow and none of the user's code."""

from __future__ import annotations

import http.client
import json
import os
import queue
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import IO, Any, ClassVar, Self

NAME = "model"
_END_SECONDS = 30.0


class ServerFailed(Exception):
    """The server did not start, or is gone; the message says what it said."""


class HttpServer(ABC):
    """A model server that is asked over HTTP, on one connection.

    `protocols` are those it speaks: "REST", and "KServe v2" for some; `load_seconds` is what it took to load the model.
    """

    protocols: ClassVar[tuple[str, ...]]
    load_seconds: float

    def connect(self, port: int) -> None:
        """Opens the connection."""
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any, float]:
        """The status, the JSON of the answer, and the milliseconds that it took.

        Raises:
            ServerFailed: The server is gone.
        """
        data = None if body is None else json.dumps(body).encode()
        start = time.perf_counter()
        try:
            self._connection.request(method, path, data, {"Content-Type": "application/json"})
            response = self._connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise ServerFailed(f"gives no answer to {method} {path} ({error}): {self.said()}") from error
        taken = (time.perf_counter() - start) * 1000
        return response.status, json.loads(text), taken

    @abstractmethod
    def said(self) -> str:
        """The last line of its log."""

    @abstractmethod
    def peak_memory_mb(self) -> float:
        """The most memory that it has held, in MiB."""

    @abstractmethod
    def close(self) -> None:
        """Ends it."""


class ServerProcess(HttpServer):
    """`python -m headrace.transforms.serving`, isolated from the environment and the folder it is started in.

    Args:
        saved_model: The SavedModel's folder.
        load_seconds: How long it may take to load it.

    Raises:
        ServerFailed: It did not load it.
    """

    protocols = ("REST", "KServe v2")

    def __init__(self, saved_model: Path, load_seconds: float) -> None:
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed in close()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        command = [sys.executable, "-I", "-m", "headrace.transforms.serving", str(saved_model)]
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            [*command, "--name", NAME, "--port", "0", "--poll", "0"],
            cwd=tempfile.gettempdir(),
            env=environment | {"TF_CPP_MIN_LOG_LEVEL": "3"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
        )
        try:
            self.port = self._wait_for_port(load_seconds)
        except BaseException:
            self.close()
            raise
        self.load_seconds = time.monotonic() - self.started
        self.connect(self.port)

    def _wait_for_port(self, seconds: float) -> int:
        lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        assert self.process.stdout is not None
        threading.Thread(target=_pass_on, args=(self.process.stdout, lines), daemon=True).start()
        try:
            line = lines.get(timeout=seconds)
        except queue.Empty:
            raise ServerFailed(f"did not load within {seconds:g} s") from None
        found = re.search(r"http://[^:]+:(\d+)", line)
        if found is None:
            self.process.wait(_END_SECONDS)
            raise ServerFailed(f"does not load in a server that has TensorFlow alone: {self.said()}")
        return int(found[1])

    def said(self) -> str:
        code = self.process.poll()
        self._said.seek(0)
        lines = [line.strip() for line in self._said.read().splitlines() if line.strip()]
        ended = "" if code is None else f"it ended with exit code {code}: "
        return ended + (lines[-1] if lines else "it said nothing")

    def peak_memory_mb(self) -> float:
        # VmHWM of proc(5); where there is no /proc, what the kernel counted of the children that have ended.
        status = Path(f"/proc/{self.process.pid}/status")
        if status.exists():
            found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
            if found is not None:
                return int(found[1]) / 1024
        self.close()
        return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._said.close()


def _pass_on(output: IO[str], lines: queue.SimpleQueue[str]) -> None:
    """Reads all that is written, so that the server never waits for it; "" at its end."""
    for line in iter(output.readline, ""):
        lines.put(line)
    lines.put("")
