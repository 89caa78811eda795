"""An image registry on loopback that keeps the names and sizes of what it is given, and no content.

Source: https://github.com/opencontainers/distribution-spec/blob/main/spec.md
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

_PIECE = 1 << 20


class Registry:
    """Takes images from `docker push`.

    Attributes:
        host: Host and port, as an image's name begins with them.
        manifests: What was pushed, by ``NAME:TAG``.
        blobs: Sizes by digest.
    """

    def __init__(self) -> None:
        self.manifests: dict[str, dict[str, Any]] = {}
        self.blobs: dict[str, int] = {}
        self.uploads: dict[str, int] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"registry": self}))
        self._server.daemon_threads = True
        self.host = f"127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Registry:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registry: Registry

    def do_GET(self) -> None:
        if self.path == "/v2/":
            self._answer(200)
        else:
            self._answer(404, body={"errors": [{"code": "MANIFEST_UNKNOWN", "message": "there is none"}]})

    def do_HEAD(self) -> None:
        digest = self.path.rpartition("/")[2]
        if digest in self.registry.blobs:
            self._answer(200, {"Docker-Content-Digest": digest}, size=self.registry.blobs[digest])
        else:
            self._answer(404)

    def do_POST(self) -> None:
        self._body()
        upload = str(len(self.registry.uploads))
        self.registry.uploads[upload] = 0
        self._accepted(upload)

    def do_PATCH(self) -> None:
        upload = self.path.rpartition("/")[2]
        self.registry.uploads[upload] += self._body()[0]
        self._accepted(upload)

    def do_PUT(self) -> None:
        parts = urlsplit(self.path)
        size, digest, kept = self._body()
        if found := re.fullmatch(r"/v2/(.+)/manifests/(.+)", parts.path):
            self.registry.manifests[f"{found[1]}:{found[2]}"] = json.loads(kept)
        else:
            digest = parse_qs(parts.query)["digest"][0]
            self.registry.blobs[digest] = self.registry.uploads[parts.path.rpartition("/")[2]] + size
        self._answer(201, {"Docker-Content-Digest": digest, "Location": parts.path})

    def _body(self) -> tuple[int, str, bytes]:
        """Reads what comes with a request: its size, its digest, and its first megabyte."""
        size, digest, kept = 0, hashlib.sha256(), b""
        for piece in self._pieces():
            size += len(piece)
            digest.update(piece)
            kept = kept or piece
        return size, f"sha256:{digest.hexdigest()}", kept

    def _pieces(self) -> Any:
        if self.headers.get("Transfer-Encoding") != "chunked":
            left = int(self.headers.get("Content-Length") or 0)
            while left and (piece := self.rfile.read(min(left, _PIECE))):
                left -= len(piece)
                yield piece
            return
        while length := int(self.rfile.readline().partition(b";")[0], 16):
            yield self.rfile.read(length)
            self.rfile.readline()
        self.rfile.readline()

    def _accepted(self, upload: str) -> None:
        last = max(0, self.registry.uploads[upload] - 1)
        where = f"http://{self.registry.host}/v2/any/blobs/uploads/{upload}"
        self._answer(202, {"Location": where, "Docker-Upload-UUID": upload, "Range": f"0-{last}"})

    def _answer(self, status: int, headers: dict[str, str] | None = None, body: Any = None, size: int = 0) -> None:
        text = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Docker-Distribution-API-Version", "registry/2.0")
        self.send_header("Content-Type", "application/json")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(size or len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        """Nothing on the test's output."""
