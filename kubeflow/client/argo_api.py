"""Argo's objects: by the Kubernetes API, or by Argo's own server."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from headrace.kubeflow.client.connection import Connection
from headrace.kubeflow.client.server_errors import bound, explained
from headrace.pipelines.errors import ClusterError, MissingExtra

API = "argoproj.io/v1alpha1"
_PLURALS = {"Workflow": "workflows", "WorkflowTemplate": "workflowtemplates", "CronWorkflow": "cronworkflows"}
_SERVER_PATHS = {"Workflow": "workflows", "WorkflowTemplate": "workflow-templates", "CronWorkflow": "cron-workflows"}
_SERVER_KEYS = {"Workflow": "workflow", "WorkflowTemplate": "template", "CronWorkflow": "cronWorkflow"}


class KubernetesApi:
    """Argo's objects by the Kubernetes API, with the official client."""

    def __init__(self, connection: Connection) -> None:
        kubernetes = _kubernetes()
        configuration = kubernetes.client.Configuration()
        namespace = connection.namespace
        with explained("finding the cluster", "the kubeconfig"):
            try:
                kubernetes.config.load_incluster_config(client_configuration=configuration)
                namespace = namespace or _pods_namespace()
            except kubernetes.config.ConfigException:
                kubernetes.config.load_kube_config(
                    _kubeconfig(), context=connection.context, client_configuration=configuration
                )
                namespace = namespace or _contexts_namespace(connection.context)
        if connection.ca_file:
            configuration.ssl_ca_cert = connection.ca_file
        configuration.verify_ssl = configuration.verify_ssl and connection.verify
        if connection.token:
            configuration.api_key = {"authorization": f"Bearer {connection.token}"}
        client = kubernetes.client.ApiClient(configuration)
        bound(client, connection)
        self.host, self.namespace = str(configuration.host), namespace or "default"
        self._objects = kubernetes.client.CustomObjectsApi(client)
        self._pods = kubernetes.client.CoreV1Api(client)
        self._not_found = kubernetes.client.ApiException

    def _place(self, kind: str) -> tuple[str, str, str, str]:
        return ("argoproj.io", "v1alpha1", self.namespace, _PLURALS[kind])

    def find(self, kind: str, name: str) -> Mapping[str, Any] | None:
        try:
            found: Mapping[str, Any] = self._objects.get_namespaced_custom_object(*self._place(kind), name)
            return found
        except self._not_found as error:
            # Without Argo's own types the path itself is unknown, which is no answer on the object.
            if error.status == 404 and '"NotFound"' in str(error.body):
                return None
            raise

    def create(self, kind: str, body: dict[str, Any]) -> Mapping[str, Any]:
        made: Mapping[str, Any] = self._objects.create_namespaced_custom_object(*self._place(kind), body)
        return made

    def replace(self, kind: str, name: str, body: dict[str, Any]) -> None:
        self._objects.replace_namespaced_custom_object(*self._place(kind), name, body)

    def delete(self, kind: str, name: str) -> None:
        self._objects.delete_namespaced_custom_object(*self._place(kind), name)

    def terminate(self, name: str) -> None:
        patch = {"spec": {"shutdown": "Terminate"}}
        self._objects.patch_namespaced_custom_object(*self._place("Workflow"), name, patch)

    def log(self, run: str, pod: str, namespace: str | None = None) -> str:
        return str(
            self._pods.read_namespaced_pod_log(
                pod, namespace or self.namespace, container="main", _preload_content=False
            ).data.decode(errors="replace")
        )


class ArgoServer:
    """Argo's objects by Argo's own server, whose paths and envelopes are others than Kubernetes'."""

    def __init__(self, connection: Connection) -> None:
        kubernetes = _kubernetes()
        configuration = kubernetes.client.Configuration()
        configuration.host = str(connection.host).rstrip("/")
        configuration.verify_ssl = connection.verify
        if connection.ca_file:
            configuration.ssl_ca_cert = connection.ca_file
        if connection.token:
            # Argo's own command prints its token with the word before it.
            configuration.api_key = {"authorization": f"Bearer {connection.token.removeprefix('Bearer ')}"}
        self._client = kubernetes.client.ApiClient(configuration)
        if connection.cookies:
            self._client.cookie = connection.cookies
        bound(self._client, connection)
        self.host, self.namespace = configuration.host, connection.namespace or "default"
        self._not_found = kubernetes.client.ApiException

    def _call(self, method: str, path: str, body: Any = None, query: Mapping[str, str] | None = None) -> Any:
        answer = self._client.call_api(
            path,
            method,
            query_params=list((query or {}).items()),
            header_params={"Accept": "application/json", "Content-Type": "application/json"},
            body=body,
            auth_settings=["BearerToken"],
            _preload_content=False,
            _return_http_data_only=True,
        )
        return answer.data.decode(errors="replace")

    def _path(self, kind: str, name: str = "") -> str:
        from urllib.parse import quote

        return f"/api/v1/{_SERVER_PATHS[kind]}/{quote(self.namespace)}" + (f"/{quote(name, safe='')}" if name else "")

    def find(self, kind: str, name: str) -> Mapping[str, Any] | None:
        try:
            found: Mapping[str, Any] = json.loads(self._call("GET", self._path(kind, name)))
            return found
        except self._not_found as error:
            if error.status == 404 and "not found" in str(error.body).lower() and "{" in str(error.body):
                return None
            raise

    def create(self, kind: str, body: dict[str, Any]) -> Mapping[str, Any]:
        made: Mapping[str, Any] = json.loads(self._call("POST", self._path(kind), {_SERVER_KEYS[kind]: body}))
        return made

    def replace(self, kind: str, name: str, body: dict[str, Any]) -> None:
        self._call("PUT", self._path(kind, name), {_SERVER_KEYS[kind]: body})

    def delete(self, kind: str, name: str) -> None:
        self._call("DELETE", self._path(kind, name))

    def terminate(self, name: str) -> None:
        self._call("PUT", self._path("Workflow", name) + "/terminate", {"name": name, "namespace": self.namespace})

    def log(self, run: str, pod: str) -> str:
        query = {"podName": pod, "logOptions.container": "main"}
        text = self._call("GET", self._path("Workflow", run) + "/log", query=query)
        lines = [json.loads(line) for line in text.splitlines() if line.strip()]
        for line in lines:
            if "error" in line:
                raise ClusterError(f"reading the log of pod {pod}: {line['error'].get('message')}", "see kubectl logs")
        return "".join(line["result"].get("content", "") + "\n" for line in lines if "result" in line)


def _kubernetes() -> Any:
    try:
        import kubernetes
    except ModuleNotFoundError as error:
        if error.name != "kubernetes":
            raise
        raise MissingExtra("argo", "kubernetes") from None
    return kubernetes


def _kubeconfig() -> str:
    # The official client looks at the variable once, when it is imported.
    return os.environ.get("KUBECONFIG") or "~/.kube/config"


def _pods_namespace() -> str | None:
    from pathlib import Path

    file = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
    return file.read_text().strip() if file.is_file() else None


def _contexts_namespace(name: str | None) -> str | None:
    contexts, current = _kubernetes().config.list_kube_config_contexts(_kubeconfig())
    chosen = next((one for one in contexts if one["name"] == name), current)
    namespace = chosen["context"].get("namespace")
    return str(namespace) if namespace else None
