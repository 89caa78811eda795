"""The ASGI application: TensorFlow Serving's REST protocol under /v1, the Open Inference Protocol under /v2.

On Starlette: routing, requests, responses and nothing else, kept by the same people as uvicorn, which runs it.
"""

from __future__ import annotations

import logging
import re
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from headrace.transforms.serving import examples, json_tensors, open_inference, predict
from headrace.transforms.serving.batching import Batcher
from headrace.transforms.serving.refusals import RequestError
from headrace.transforms.serving.signatures import DEFAULT_SIGNATURE
from headrace.transforms.serving.versions import Version, Versions
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

logger = logging.getLogger(__name__)
SERVER = "headrace"
# TensorFlow Serving's own patterns, in http_rest_api_util.cc.
_WHICH = r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_CALL = re.compile(rf"(?i){_WHICH}:(?P<method>classify|regress|predict)")
_ASKED = re.compile(rf"(?i){_WHICH}(?P<metadata>/metadata)?")
_V2 = re.compile(r"/v2/models/(?P<name>[^/]+)(?:/versions/(?P<version>\d+))?(?:/(?P<what>ready|infer))?")
_GZIP = 16 + zlib.MAX_WBITS


@dataclass(frozen=True)
class Limits:
    """What a request may be.

    Args:
        max_body: Bytes of a body, also of one that is compressed.
        max_rows: Rows of a request.
    """

    max_body: int
    max_rows: int


class ModelApp:
    """Answers requests about one model.

    Args:
        versions: The model's versions.
        batcher: Runs them.
        limits: What a request may be.
    """

    def __init__(self, versions: Versions, batcher: Batcher, limits: Limits) -> None:
        self.versions, self.batcher, self.limits = versions, batcher, limits
        self.is_draining = False
        self.accepted = self.answered = 0

    def asgi(self) -> Starlette:
        """The application to run."""
        any_model = self._handled
        return Starlette(
            routes=[
                Route("/v1/models/{rest:path}", any_model(self.tensorflow_serving), methods=["GET", "POST"]),
                Route("/v2/models/{rest:path}", any_model(self.open_inference), methods=["GET", "POST"]),
                Route("/v2/health/live", any_model(self.live)),
                Route("/v2/health/ready", any_model(self.ready)),
                Route("/v2", any_model(self.about)),
                Route("/v2/", any_model(self.about)),
            ],
            exception_handlers={404: _unknown_path, 405: _wrong_method},
        )

    def _handled(self, handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def handle(request: Request) -> Response:
            self.accepted += 1
            try:
                response = await handler(request)
            except RequestError as error:
                response = failure(str(error), error.status)
            except ClientDisconnect:
                response = failure("the client has gone", 499)
            except Exception:
                logger.exception("a request failed: %s", request.url.path)
                response = failure("an error of the server's; its log says more", 500)
            if self.is_draining:
                response.headers["connection"] = "close"
            self.answered += 1
            return response

        return handle

    async def tensorflow_serving(self, request: Request) -> Response:
        """`/v1/models/...`: status, metadata, predict, classify, regress."""
        path = request.scope["path"]
        found = (_CALL if request.method == "POST" else _ASKED).fullmatch(path)
        if found is None:
            raise RequestError(f"Malformed request: {request.method} {path}", 404)
        number = int(found["version"]) if found["version"] else None
        label = unquote(found["label"]) if found["label"] else None
        self._check_name(unquote(found["name"]), number)
        if request.method == "POST":
            return await self._call(request, found["method"].lower(), number, label)
        if found["metadata"]:
            with self.versions.use(number, label) as version:
                return Response(_metadata(self.versions.name, version), media_type="application/json")
        if number is not None or label is not None:
            known = number if label is None else self.versions.pick(None, label).number
            listed = [version for version in self.versions.all() if version.number == known]
            if not listed:
                raise RequestError(f"Could not find version {known} of model {self.versions.name}", 404)
        else:
            listed = self.versions.all()
            if not listed:
                raise RequestError(f"Could not find any versions of model {self.versions.name}", 404)
        return reply({"model_version_status": [_status(version) for version in listed]})

    async def _call(self, request: Request, method: str, number: int | None, label: str | None) -> Response:
        body = await self.body(request)
        with self.versions.use(number, label) as version:
            assert version.model is not None
            document, signatures = json_tensors.parse(body), version.model.signatures
            if method == "predict":
                asked = predict.parse_predict(document, signatures)
                self._check_rows(asked.arrays)
                found = await self.batcher.run(version.model, asked.signature, asked.arrays)
                answer = predict.predict_reply(found, asked.signature, asked.by_rows)
            else:
                kind: examples.Method = "classify" if method == "classify" else "regress"
                signature, arrays = examples.parse_examples(document, signatures, kind)
                self._check_rows(arrays)
                found = await self.batcher.run(version.model, signature, arrays)
                made = examples.classify_reply if kind == "classify" else examples.regress_reply
                answer = made(found, len(arrays[examples.INPUTS]))
            return Response(answer, media_type="application/json")

    async def open_inference(self, request: Request) -> Response:
        """`/v2/models/...`: metadata, readiness, inference."""
        path = request.scope["path"]
        found = _V2.fullmatch(path)
        if found is None or (found["what"] == "infer") != (request.method == "POST"):
            raise RequestError(f"Malformed request: {request.method} {path}", 404)
        number = int(found["version"]) if found["version"] else None
        self._check_name(unquote(found["name"]), number)
        if found["what"] == "ready":
            served = [version for version in self.versions.served() if number in (None, version.number)]
            is_ready = bool(served) and not self.is_draining
            return reply({"name": self.versions.name, "ready": is_ready}, 200 if is_ready else 503)
        if request.method == "GET":
            with self.versions.use(number) as version:
                assert version.model is not None
                numbers = [one.number for one in self.versions.served()]
                default = version.model.signatures.get(DEFAULT_SIGNATURE)
                return reply(open_inference.model_metadata(self.versions.name, numbers, default))
        if "inference-header-content-length" in request.headers:
            raise RequestError("the body: expected JSON alone; this server has no binary tensor extension")
        body = await self.body(request)
        with self.versions.use(number) as version:
            assert version.model is not None
            asked = open_inference.parse_infer(json_tensors.parse(body), version.model.signatures)
            self._check_rows(asked.arrays)
            outputs = await self.batcher.run(version.model, asked.signature, asked.arrays)
            answer = open_inference.infer_reply(outputs, asked, self.versions.name, version.number)
            return Response(answer, media_type="application/json")

    async def live(self, request: Request) -> Response:
        """`/v2/health/live`: the process answers."""
        return reply({"live": True})

    async def ready(self, request: Request) -> Response:
        """`/v2/health/ready`: a version is served, and the server is not about to end."""
        is_ready = bool(self.versions.served()) and not self.is_draining
        return reply({"ready": is_ready}, 200 if is_ready else 503)

    async def about(self, request: Request) -> Response:
        """`/v2`: what this server is."""
        return reply({"name": SERVER, "version": _own_version(), "extensions": []})

    def _check_name(self, name: str, number: int | None) -> None:
        if name != self.versions.name:
            asked = f"Latest({name})" if number is None else f"Specific({name}, {number})"
            raise RequestError(f"Servable not found for request: {asked}; the model here is {self.versions.name}", 404)

    def _check_rows(self, arrays: dict[str, Any]) -> None:
        for name, array in arrays.items():
            if array.ndim and array.shape[0] > self.limits.max_rows:
                most = self.limits.max_rows
                raise RequestError(f"inputs.{name}: expected at most {most} rows, received {array.shape[0]}", 413)

    async def body(self, request: Request) -> bytes:
        """The body, unpacked.

        Raises:
            RequestError: It is larger than the limit (413), or packed in another way than gzip (415).
        """
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > self.limits.max_body:
            raise self._too_large(f"{int(declared):,}")
        chunks, size = [], 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > self.limits.max_body:
                raise self._too_large(f"more than {self.limits.max_body:,}")
            chunks.append(chunk)
        packed = request.headers.get("content-encoding", "identity").lower()
        if packed == "identity":
            return b"".join(chunks)
        if packed != "gzip":
            raise RequestError(f"Content-Encoding: expected gzip or none, received {packed}", 415)
        unpacking = zlib.decompressobj(_GZIP)
        try:
            body = unpacking.decompress(b"".join(chunks), self.limits.max_body + 1)
        except zlib.error as error:
            raise RequestError(f"the body: expected gzip, received what cannot be unpacked: {error}") from None
        if len(body) > self.limits.max_body:
            raise self._too_large(f"more than {self.limits.max_body:,} unpacked")
        if not unpacking.eof:
            raise RequestError("the body: expected gzip, received a part of it")
        return body

    def _too_large(self, received: str) -> RequestError:
        return RequestError(f"the body: expected at most {self.limits.max_body:,} bytes, received {received}", 413)


def reply(document: Any, status: int = 200) -> Response:
    """A JSON response."""
    return Response(json_tensors.dumps(document), status, media_type="application/json")


def failure(message: str, status: int) -> Response:
    """A JSON response that says what is wrong, the same in both protocols."""
    headers = {"retry-after": "1"} if status == 503 else None
    return Response(json_tensors.dumps({"error": message}), status, headers, "application/json")


async def _unknown_path(request: Request, error: Exception) -> Response:
    return failure(f"Malformed request: {request.method} {request.url.path}", 404)


async def _wrong_method(request: Request, error: Exception) -> Response:
    return failure(f"Malformed request: {request.method} {request.url.path}", 405)


def _status(version: Version) -> dict[str, Any]:
    status = {"error_code": "INVALID_ARGUMENT" if version.error else "OK", "error_message": version.error}
    return {"version": str(version.number), "state": version.state, "status": status}


def _metadata(name: str, version: Version) -> bytes:
    from google.protobuf.json_format import MessageToDict

    assert version.model is not None
    told = {
        key: MessageToDict(proto, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
        for key, proto in version.model.file.definitions.items()
    }
    return json_tensors.dumps(
        {
            "model_spec": {"name": name, "signature_name": "", "version": str(version.number)},
            "metadata": {"signature_def": {"signature_def": told}},
        }
    )


def _own_version() -> str:
    from importlib.metadata import version

    return version("headrace")
