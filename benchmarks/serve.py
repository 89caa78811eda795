"""`headrace serve` under load, against a bare loop of signature calls: `python -m benchmarks.serve [seconds]`.

The model takes 10 floats and 3 strings through lookups, embeddings and two dense layers. The reference loads it with
`tf.saved_model.load` and calls `serving_default` in a loop, on tensors made beforehand: no JSON, no HTTP, one caller.
The server, in a process of its own, gets the same rows as JSON from wrk (Debian: `apt install wrk`), or from an asyncio
client where wrk is not installed, on 8 connections. Compared is the time of 1,000 requests, so the load generator's own
work counts against the server; its processor time is the server's alone. p50 and p99 are of one connection and of 8.
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import asyncio
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from headrace.transforms.keras_graph.graph_function import resources_of

from benchmarks.evaluate import FLOATS, STRINGS, build_model, raw_table
from benchmarks.results import Result, medians, tell

CONNECTIONS = 8
ROUNDS = 3
TARGET = 2.0
LATENCY = re.compile(r"\s+(50|99)%\s+([\d.]+)(us|ms|s)")
MILLISECONDS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


@dataclass(frozen=True)
class Load:
    """What a load generator found: milliseconds, and the requests that were answered in each second."""

    per_second: float
    p50: float
    p99: float


def wrk(url: str, body: bytes, connections: int, seconds: float, folder: Path) -> Load:
    """By wrk, in C."""
    (folder / "body.json").write_bytes(body)
    script = folder / "post.lua"
    script.write_text(
        'wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\n'
        f'wrk.body = io.open("{folder}/body.json"):read("*a")\n'
    )
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}", "--latency", "-s", str(script), url]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "Non-2xx" not in said and "Socket errors" not in said, said
    latency = {found[1]: float(found[2]) * MILLISECONDS[found[3]] for found in LATENCY.finditer(said)}
    per_second = re.search(r"Requests/sec:\s+([\d.]+)", said)
    assert per_second is not None, said
    return Load(float(per_second[1]), latency["50"], latency["99"])


def by_asyncio(url: str, body: bytes, connections: int, seconds: float, folder: Path) -> Load:
    """By one event loop of Python's."""
    host, port, path = re.fullmatch(r"http://([^:]+):(\d+)(/.*)", url).groups()  # type: ignore[union-attr]
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    request = head.encode() + body
    times: list[float] = []

    async def client(end: float) -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        while (start := time.perf_counter()) < end:
            writer.write(request)
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200"), answer
            size = re.search(rb"content-length: (\d+)", answer.lower())
            assert size is not None
            await reader.readexactly(int(size[1]))
            times.append(time.perf_counter() - start)
        writer.close()

    async def clients() -> None:
        end = time.perf_counter() + seconds
        await asyncio.gather(*(client(end) for _ in range(connections)))

    asyncio.run(clients())
    times.sort()
    return Load(len(times) / seconds, times[len(times) // 2] * 1e3, times[int(len(times) * 0.99)] * 1e3)


def export(model: keras.Model, folder: Path) -> Path:
    """As the Trainer does: rank 1 in, and variables where a model server finds them."""
    kinds = {**dict.fromkeys(FLOATS, tf.float32), **dict.fromkeys(STRINGS, tf.string)}
    root = tf.Module()
    root.model = resources_of([model])
    specs = [{name: tf.TensorSpec((None,), kind, name) for name, kind in kinds.items()}]

    @tf.function(input_signature=specs, autograph=False)
    def serve(raw: dict[str, Any]) -> dict[str, Any]:
        return {"predictions": model({name: value[:, None] for name, value in raw.items()}, training=False)}

    tf.saved_model.save(root, str(folder), signatures={"serving_default": serve})
    return folder


def looped(signature: Callable[..., Any], tensors: dict[str, Any], seconds: float) -> tuple[float, float]:
    """Wall and processor milliseconds of a call, which are seconds of 1,000, in a loop of so many seconds."""
    calls, wall, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - wall < seconds:
        signature(**tensors)["predictions"].numpy()
        calls += 1
    return (time.perf_counter() - wall) / calls * 1e3, (time.process_time() - cpu) / calls * 1e3


def cpu_seconds(process: int) -> float:
    """Processor time of a process and its threads so far, by proc(5)."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(url: str, server: int, signature: Callable[..., Any], rows: int, seconds: float, folder: Path) -> None:
    table = raw_table(100).slice(0, rows)
    columns = {name: table[name].to_pylist() for name in [*FLOATS, *STRINGS]}
    tensors = {
        name: tf.constant(values, tf.string if name in STRINGS else tf.float32) for name, values in columns.items()
    }
    instances = [dict(zip(columns, values)) for values in zip(*columns.values())]
    body = json.dumps({"instances": instances}).encode()
    load = wrk if shutil.which("wrk") else by_asyncio
    load(url, body, CONNECTIONS, 1, folder)
    looped(signature, tensors, 0.5)
    ours, reference = [], []
    for _ in range(ROUNDS):
        reference.append(looped(signature, tensors, seconds))
        before = cpu_seconds(server)
        found = load(url, body, CONNECTIONS, seconds, folder)
        used = (cpu_seconds(server) - before) / (found.per_second * seconds)
        ours.append((1e3 / found.per_second, used * 1e3))
    alone = load(url, body, 1, seconds, folder)
    print(f"{rows} rows, 1 connection: {alone.per_second:,.0f}/s, p50 {alone.p50:.2f} ms, p99 {alone.p99:.2f} ms")
    print(
        f"{rows} rows, {CONNECTIONS} connections: {found.per_second:,.0f}/s, p50 {found.p50:.2f} ms, "
        f"p99 {found.p99:.2f} ms; the bare loop {1e3 / reference[-1][0]:,.0f}/s"
    )
    (wall, cpu), (their_wall, their_cpu) = medians(ours), medians(reference)
    what = f"serve: 1,000 requests of {rows} row{'s' * (rows > 1)}, against as many bare signature calls"
    tell(Result(what, wall, TARGET, their_wall, "s", cpu, their_cpu))


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        saved = export(build_model(), folder / "model")
        signature = tf.saved_model.load(str(saved)).signatures["serving_default"]
        command = [sys.executable, "-m", "headrace.transforms.serving", str(saved), "--port", "0", "--name", "model"]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            assert server.stdout is not None
            found = re.search(r"http://\S+", server.stdout.readline())
            assert found is not None
            for rows in (1, 100):
                measure(f"{found[0]}/v1/models/model:predict", server.pid, signature, rows, seconds, folder)
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
