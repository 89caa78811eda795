"""The server's process: starts, serves, follows the versions, and ends without losing a request it has accepted."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
import uvloop
from headrace.transforms.serving.app import Limits, ModelApp
from headrace.transforms.serving.batching import Batcher
from headrace.transforms.serving.versions import Policy, Versions
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Seconds after SIGTERM in which a client on an open connection may send one more request; its answer says to close.
LINGER = 1.0
# How long a thread may keep Python from another that waits: the model's threads answer to the one that reads requests.
_SWITCH_SECONDS = 0.0005


@dataclass(frozen=True)
class Settings:
    """How to serve a model.

    Args:
        path: The base folder with the versions, or one SavedModel's folder; or the URL of either.
        name: The model's name in URLs.
        host: The address to listen on.
        port: The port; 0 for any that is free.
        versions: "latest", "all", or the versions to serve.
        labels: Versions by label.
        max_batch: Rows of one call of the model that several requests share.
        batch_delay: Seconds that a request waits for others to share a call.
        max_body: Bytes of a request's body.
        max_rows: Rows of a request.
        max_waiting: Requests that may wait for the model.
        workers: Calls of the model at a time.
        threads: Threads of one call of the model; None for all cores.
        poll: Seconds between two looks at the folder for new versions; 0 to look once.
        drain: Seconds in which accepted requests must be answered after SIGTERM.
    """

    path: Path | str
    name: str
    host: str = "127.0.0.1"
    port: int = 8501
    versions: Policy = "latest"
    labels: Mapping[str, int] = field(default_factory=dict)
    max_batch: int = 1024
    batch_delay: float = 0.0
    max_body: int = 32 * 2**20
    max_rows: int = 100_000
    max_waiting: int = 4096
    workers: int = 1
    threads: int | None = None
    poll: float = 1.0
    drain: float = 30.0


def run(settings: Settings) -> int:
    """Serves until SIGTERM or SIGINT.

    Returns:
        The exit code: 0 after a signal, 1 if no version of the model can be loaded.

    Raises:
        FileNotFoundError: There is no such folder.
        OSError: The port is taken.
    """
    sys.setswitchinterval(_SWITCH_SECONDS)
    listening = _listening(settings.host, settings.port)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(settings, listening))
    finally:
        listening.close()


async def _serve(settings: Settings, listening: socket.socket) -> int:
    batcher = Batcher(
        max_batch=settings.max_batch,
        delay=settings.batch_delay,
        workers=settings.workers,
        max_waiting=settings.max_waiting,
    )
    versions = Versions(
        settings.name,
        settings.path,
        policy=settings.versions,
        labels=settings.labels,
        threads=settings.threads,
        on_unload=batcher.forget,
    )
    await versions.refresh()
    if versions.all() and not versions.served():
        for version in versions.all():
            print(f"version {version.number}: {version.error}", file=sys.stderr)
        await versions.close()
        return 1
    app = ModelApp(versions, batcher, Limits(settings.max_body, settings.max_rows))
    config = uvicorn.Config(
        app.asgi(),
        http=HttpToolsProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=None,
        backlog=2048,
    )
    server = DrainingServer(config, app, listening, settings.drain)
    watching = asyncio.create_task(versions.watch(settings.poll)) if settings.poll else None
    host, port = listening.getsockname()[:2]
    numbers = ", ".join(str(version.number) for version in versions.served()) or "none yet"
    shown = f"[{host}]" if ":" in host else host
    print(f"serving {settings.name} (version {numbers}) on http://{shown}:{port}", flush=True)
    await server.serve([listening.dup()])
    if watching is not None:
        watching.cancel()
    await versions.close()
    batcher.close()
    print(f"ended: {app.accepted} requests accepted, {app.answered} answered", flush=True)
    return 0


class DrainingServer(uvicorn.Server):
    """uvicorn, that ends without losing a request.

    Args:
        config: uvicorn's.
        app: What it serves.
        listening: The listening socket; uvicorn gets a duplicate of it, so that its queue outlives uvicorn's closing.
        drain: Seconds in which accepted requests must be answered.
    """

    def __init__(self, config: uvicorn.Config, app: ModelApp, listening: socket.socket, drain: float) -> None:
        super().__init__(config)
        self.app, self.listening, self.drain = app, listening, drain

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT end the server in order; the exit code is 0, where uvicorn's would be the signal's."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Ends in order; a second SIGINT ends at once."""
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Takes what the kernel has accepted, answers it and what clients send meanwhile, then closes.

        From now on each answer says `Connection: close`. A connection on which nothing comes is closed after a second.
        """
        self.app.is_draining = True
        for server in self.servers:
            server.close()
        await self._take_queue()
        end = asyncio.get_running_loop().time() + LINGER
        while self.server_state.connections and asyncio.get_running_loop().time() < end and not self.force_exit:
            await asyncio.sleep(0.02)
        self.config.timeout_graceful_shutdown = self.drain  # type: ignore[assignment]
        await super().shutdown(sockets)

    async def _take_queue(self) -> None:
        """Accepts the connections that wait in the listening socket's queue, which would be reset by closing it."""
        loop = asyncio.get_running_loop()
        protocol: Any = self.config.http_protocol_class
        make = functools.partial(
            protocol,
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
        waiting = []
        with contextlib.suppress(BlockingIOError):
            while True:
                waiting.append(self.listening.accept()[0])
        self.listening.close()
        for connection in waiting:
            connection.setblocking(False)
            await loop.connect_accepted_socket(lambda: make(_loop=loop), connection)


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, port), family=family, backlog=2048)
    listening.setblocking(False)
    return listening
