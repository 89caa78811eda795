"""TensorFlow Serving itself, in Docker."""

from __future__ import annotations

import http.client
import re
import subprocess
import time
from pathlib import Path

from headrace.components.infra.server_process import NAME, HttpServer, ServerFailed
from headrace.pipelines.errors import DataError

# The port of TensorFlow Serving's REST protocol inside its image.
_REST_PORT = 8501
_POLL_SECONDS = 0.1
_UNITS = {"B": 2**-20, "KiB": 2**-10, "MiB": 1.0, "GiB": 2.0**10}


class ServingContainer(HttpServer):
    """A container of TensorFlow Serving's image with the model mounted.

    Args:
        saved_model: The SavedModel's folder.
        image: The image, such as "tensorflow/serving:2.19.1".
        load_seconds: How long it may take to load the model, the start of the container included.

    Raises:
        DataError: Docker cannot run the image.
        ServerFailed: It did not load the model.
    """

    protocols = ("REST",)

    def __init__(self, saved_model: Path, image: str, load_seconds: float) -> None:
        started = time.monotonic()
        mount = f"type=bind,source={saved_model.resolve()},target=/models/{NAME}/1,readonly"
        options = ["--detach", "--publish", f"127.0.0.1::{_REST_PORT}", "--mount", mount, "--env", f"MODEL_NAME={NAME}"]
        self.image = image
        self.container = _docker("run", *options, image).strip()
        self._peak = 0.0
        try:
            found = re.search(r":(\d+)\s*$", _docker("port", self.container, f"{_REST_PORT}/tcp").splitlines()[0])
            if found is None:
                raise DataError(f"Docker publishes no port of {image}", "see `docker port`")
            self.connect(int(found[1]))
            self._wait(started + load_seconds, load_seconds)
        except BaseException:
            self.close()
            raise
        self.load_seconds = time.monotonic() - started

    def _wait(self, end: float, seconds: float) -> None:
        while True:
            state = self._state()
            if state == "AVAILABLE":
                return
            if state == "END" or _docker("inspect", "--format", "{{.State.Running}}", self.container).strip() != "true":
                raise ServerFailed(f"does not load in {self.image}: {self.said()}")
            if time.monotonic() > end:
                raise ServerFailed(f"did not load in {self.image} within {seconds:g} s")
            time.sleep(_POLL_SECONDS)

    def _state(self) -> str:
        try:
            status, found, _ = self.ask("GET", f"/v1/models/{NAME}")
        except (ServerFailed, http.client.HTTPException):
            return ""
        return str(found["model_version_status"][0]["state"]) if status == 200 else ""

    def said(self) -> str:
        lines = [line.strip() for line in _docker("logs", "--tail", "20", self.container).splitlines() if line.strip()]
        return lines[-1] if lines else "it said nothing"

    def peak_memory_mb(self) -> float:
        # What it holds after the requests: Docker keeps no peak.
        used = _docker("stats", "--no-stream", "--format", "{{.MemUsage}}", self.container)
        found = re.match(r"\s*([\d.]+)\s*(\w+)", used)
        if found is None or found[2] not in _UNITS:
            raise DataError(f"docker stats says {used!r}, expected such as 512MiB / 2GiB", "leave memory_mb= out")
        return float(found[1]) * _UNITS[found[2]]

    def close(self) -> None:
        _docker("rm", "--force", "--volumes", self.container)


def _docker(*arguments: str) -> str:
    """What a command of Docker's prints.

    Raises:
        DataError: There is no Docker, or it refuses.
    """
    try:
        done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise DataError(
            "serving_image= needs Docker, and there is no command docker", "install it, or leave it out"
        ) from error
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise DataError(
            f"docker {arguments[0]} fails: {said}", "see that Docker runs and has the image of serving_image="
        )
    return done.stdout + (done.stderr if arguments[0] == "logs" else "")
