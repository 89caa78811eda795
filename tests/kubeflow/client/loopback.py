"""HTTP servers on loopback that speak as Kubeflow's API, Kubernetes' API and Argo's server do.

They are stand-ins: paths, envelopes, status codes and texts of errors are those of Kubeflow Pipelines 2.0.5, of
Kubernetes 1.34 and of Argo 3.7, but nothing runs. The real ones are met in tests/cluster.
"""

from __future__ import annotations

import itertools
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    raw: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.raw or b"{}")


@dataclass
class Answer:
    body: Any = field(default_factory=dict)
    status: int = 200
    type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


class Standin:
    """A server of a fixed set of routes, which keeps what it was asked and can be told to fail.

    Attributes:
        requests: What came in.
        faults: Pattern of `METHOD path` -> what to answer in its place: an Answer, or seconds to be silent for.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.faults: dict[str, Answer | float] = {}
        self.url = ""

    def answer(self, request: Request) -> Answer:
        raise NotImplementedError

    def asked(self, pattern: str) -> list[Request]:
        return [one for one in self.requests if re.fullmatch(pattern, f"{one.method} {one.path}")]


@contextmanager
def serving(standin: Standin) -> Iterator[Standin]:
    """Runs a stand-in on a port of loopback."""

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            parts = urlsplit(self.path)
            raw = self.rfile.read(int(self.headers.get("content-length") or 0))
            query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, parts.path, query, headers, raw)
            standin.requests.append(request)
            answer: Answer | float | None = None
            for pattern, fault in standin.faults.items():
                if re.fullmatch(pattern, f"{request.method} {request.path}"):
                    answer = fault
            if isinstance(answer, float):
                time.sleep(answer)
                answer = None
            answer = answer or standin.answer(request)
            body = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
            self.send_response(answer.status)
            self.send_header("content-type", answer.type)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _handle

        def log_message(self, *_: Any) -> None:
            """Nothing on the test's output."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    standin.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield standin
    finally:
        server.shutdown()
        server.server_close()


def _id(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


class KubeflowStandin(Standin):
    """Kubeflow Pipelines' API, with what it keeps in memory."""

    def __init__(self, token: str | None = None, cookie: str | None = None) -> None:
        super().__init__()
        self.token, self.cookie = token, cookie
        self.pipelines: dict[str, dict[str, Any]] = {}
        self.versions: dict[str, dict[str, Any]] = {}
        self.experiments: dict[str, dict[str, Any]] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.recurring: dict[str, dict[str, Any]] = {}
        self.workflows: dict[str, Any] = {}
        self.logs: dict[str, str] = {}
        self._numbers = itertools.count(1)

    def answer(self, request: Request) -> Answer:
        if self.token is not None and request.headers.get("authorization") != f"Bearer {self.token}":
            return _rpc_error(401, 16, "Request header error: there is no user identity header.")
        if self.cookie is not None and request.headers.get("cookie") != self.cookie:
            return Answer("<html>Log in</html>", type="text/html; charset=utf-8")
        for pattern, method in self._routes():
            verb, _, path = pattern.partition(" ")
            found = re.fullmatch(path, request.path)
            if verb == request.method and found:
                return method(request, *found.groups())
        if request.path == "/dex":
            return Answer("<html>Log in</html>", type="text/html; charset=utf-8")
        return Answer("Not Found", 404, "text/plain")

    def _routes(self) -> list[tuple[str, Callable[..., Answer]]]:
        api = "/apis/v2beta1"
        return [
            (f"GET {api}/healthz", lambda r: Answer({"multi_user": False})),
            (f"GET {api}/pipelines", lambda r: self._list("pipelines", self.pipelines, r)),
            (f"POST {api}/pipelines", self._create_pipeline),
            (f"DELETE {api}/pipelines/([^/]+)", lambda r, id_: Answer(self.pipelines.pop(id_) and {})),
            (f"POST {api}/pipelines/upload_version", self._upload_version),
            (f"GET {api}/pipelines/([^/]+)/versions", self._list_versions),
            (f"GET {api}/pipelines/([^/]+)/versions/([^/]+)", lambda r, p, v: Answer(self.versions[v])),
            (f"GET {api}/experiments", lambda r: self._list("experiments", self.experiments, r)),
            (f"POST {api}/experiments", lambda r: self._add(self.experiments, "experiment_id", r.json)),
            (f"POST {api}/runs", self._create_run),
            (f"GET {api}/runs/([^/]+)", lambda r, id_: self._get(self.runs, id_, "Run")),
            (f"POST {api}/runs/([^/]+):terminate", self._terminate),
            (f"POST {api}/recurringruns", lambda r: self._add(self.recurring, "recurring_run_id", r.json)),
            (f"GET {api}/recurringruns", lambda r: self._list("recurringRuns", self.recurring, r)),
            (f"DELETE {api}/recurringruns/([^/]+)", lambda r, id_: Answer(self.recurring.pop(id_) and {})),
            ("GET /apis/v1beta1/runs/([^/]+)", self._run_of_v1),
            ("GET /apis/v1alpha1/runs/([^/]+)/nodes/([^/]+)/log", self._log),
        ]

    def _add(self, kept: dict[str, Any], key: str, body: dict[str, Any]) -> Answer:
        id_ = _id(next(self._numbers))
        kept[id_] = {**body, key: id_, "created_at": f"2026-01-01T00:00:{len(kept):02d}Z"}
        return Answer(kept[id_])

    def _get(self, kept: dict[str, Any], id_: str, what: str) -> Answer:
        if id_ not in kept:
            return _rpc_error(
                404, 5, f"Failed to get a run: Failed to fetch run {id_}: ResourceNotFoundError: {what} {id_} not found"
            )
        return Answer(kept[id_])

    def _list(self, name: str, kept: dict[str, Any], request: Request) -> Answer:
        found = list(kept.values())
        if request.query.get("filter"):
            for predicate in json.loads(request.query["filter"])["predicates"]:
                assert predicate["operation"] in ("EQUALS", 1), predicate
                value = predicate.get("stringValue", predicate.get("string_value"))
                found = [one for one in found if one[predicate["key"]] == value]
        if request.query.get("sort_by", "").endswith("desc"):
            found.sort(key=lambda one: one["created_at"], reverse=True)
        size = int(request.query.get("page_size") or 10)
        start = int(request.query.get("page_token") or 0)
        page = {"next_page_token": str(start + size)} if len(found) > start + size else {}
        return Answer({name: found[start : start + size], **page} if found else {})

    def _create_pipeline(self, request: Request) -> Answer:
        name = request.json["display_name"]
        if any(one["display_name"] == name for one in self.pipelines.values()):
            return _rpc_error(
                409, 6, f"Failed to create a pipeline: Already exist error: pipeline {name} already exists"
            )
        return self._add(self.pipelines, "pipeline_id", request.json)

    def _upload_version(self, request: Request) -> Answer:
        message = BytesParser().parsebytes(
            b"content-type: " + request.headers["content-type"].encode() + b"\n\n" + request.raw
        )
        part = message.get_payload()[0]
        documents = list(yaml.safe_load_all(part.get_payload(decode=True)))
        spec = {"pipeline_spec": documents[0], "platform_spec": documents[1]} if len(documents) > 1 else documents[0]
        name, pipeline = request.query["name"], request.query["pipelineid"]
        if any(one["display_name"] == name and one["pipeline_id"] == pipeline for one in self.versions.values()):
            return Answer({"error_message": f"Failed to create a pipeline version: name {name} must be unique"}, 409)
        body = {"pipeline_id": pipeline, "display_name": name, "pipeline_spec": spec}
        return self._add(self.versions, "pipeline_version_id", body)

    def _list_versions(self, request: Request, pipeline: str) -> Answer:
        of_it = {id_: one for id_, one in self.versions.items() if one["pipeline_id"] == pipeline}
        return self._list("pipeline_versions", of_it, request)

    def _create_run(self, request: Request) -> Answer:
        body = request.json
        if reference := body.get("pipeline_version_reference"):
            body["pipeline_spec"] = self.versions[reference["pipeline_version_id"]]["pipeline_spec"]
        return self._add(self.runs, "run_id", {**body, "state": "PENDING"})

    def _terminate(self, request: Request, id_: str) -> Answer:
        self.runs[id_] |= {"state": "CANCELING", "state_history": [{"state": "CANCELING"}]}
        return Answer({})

    def _run_of_v1(self, request: Request, id_: str) -> Answer:
        runtime = {"workflow_manifest": json.dumps(self.workflows[id_])} if id_ in self.workflows else {}
        return Answer({"run": {"id": id_}, "pipeline_runtime": runtime})

    def _log(self, request: Request, id_: str, node: str) -> Answer:
        if node not in self.logs:
            # Its status is sent before it is known whether there is a log.
            return Answer('{"error_message":"Failed to read logs for run"}', type="text/plain")
        return Answer(self.logs[node], type="text/plain")


def _rpc_error(status: int, code: int, message: str) -> Answer:
    return Answer({"error": message, "code": code, "message": message, "details": []}, status)


class KubernetesStandin(Standin):
    """Argo's objects in Kubernetes' API, and the same behind the paths of Argo's server."""

    def __init__(self, token: str | None = None) -> None:
        super().__init__()
        self.token = token
        self.objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.logs: dict[str, str] = {}
        self._numbers = itertools.count(1)

    def answer(self, request: Request) -> Answer:
        if self.token is not None and request.headers.get("authorization") != f"Bearer {self.token}":
            return _status(401, "Unauthorized", "Unauthorized")
        core = re.fullmatch(r"/api/v1/namespaces/([^/]+)/pods/([^/]+)/log", request.path)
        if core:
            if core[2] not in self.logs:
                return _status(404, "NotFound", f'pods "{core[2]}" not found')
            assert request.query["container"] == "main"
            return Answer(self.logs[core[2]], type="text/plain")
        custom = re.fullmatch(
            r"/apis/argoproj.io/v1alpha1/namespaces/([^/]+)/(workflows|workflowtemplates|cronworkflows)(?:/([^/]+))?",
            request.path,
        )
        if custom:
            return self._object(request, custom[1], custom[2], custom[3] or "", request.raw and request.json)
        server = re.fullmatch(
            r"/api/v1/(workflows|workflow-templates|cron-workflows)/([^/]+)(?:/([^/]+))?(/log|/terminate)?",
            request.path,
        )
        if server:
            return self._of_argo_server(request, server)
        return Answer("404 page not found", 404, "text/plain")

    def _of_argo_server(self, request: Request, found: re.Match[str]) -> Answer:
        plural, namespace, name, what = found[1].replace("-", ""), found[2], found[3] or "", found[4]
        if what == "/log":
            pod = request.query["podName"]
            if pod not in self.logs:
                return Answer({"code": 5, "message": f'pods "{pod}" not found'}, 404)
            lines = [json.dumps({"result": {"content": line, "podName": pod}}) for line in self.logs[pod].splitlines()]
            return Answer("\n".join(lines) + "\n")
        if what == "/terminate":
            patched = self.objects[namespace, plural, name]
            patched["spec"]["shutdown"] = "Terminate"
            return Answer(patched)
        keys = {"workflows": "workflow", "workflowtemplates": "template", "cronworkflows": "cronWorkflow"}
        body = request.json[keys[plural]] if request.method in ("POST", "PUT") else None
        answer = self._object(request, namespace, plural, name, body)
        if answer.status == 404:
            return Answer({"code": 5, "message": answer.body["message"]}, 404)
        return answer

    def _object(self, request: Request, namespace: str, plural: str, name: str, body: Any) -> Answer:
        key = (namespace, plural, name)
        if request.method == "POST":
            metadata = body["metadata"]
            name = metadata.get("name") or f"{metadata['generateName']}{next(self._numbers):05d}"
            if (namespace, plural, name) in self.objects:
                return _status(409, "AlreadyExists", f'{plural}.argoproj.io "{name}" already exists')
            metadata |= {"name": name, "namespace": namespace, "uid": _id(1), "resourceVersion": "1"}
            self.objects[namespace, plural, name] = body
            return Answer(body, 201)
        if key not in self.objects:
            return _status(404, "NotFound", f'{plural}.argoproj.io "{name}" not found')
        if request.method == "PUT":
            before = self.objects[key]["metadata"]["resourceVersion"]
            if body["metadata"].get("resourceVersion") != before:
                return _status(409, "Conflict", "the object has been modified")
            body["metadata"]["resourceVersion"] = str(int(before) + 1)
            self.objects[key] = body
        elif request.method == "PATCH":
            self.objects[key]["spec"] |= request.json["spec"]
        elif request.method == "DELETE":
            del self.objects[key]
            return Answer({"kind": "Status", "status": "Success"})
        return Answer(self.objects[key])


def _status(code: int, reason: str, message: str) -> Answer:
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }
    return Answer(body, code)


def unresponsive() -> Answer:
    """What a load balancer says while the server behind it is away."""
    return Answer("upstream connect error", 503, "text/plain")
