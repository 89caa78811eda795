"""How a server is reached, and what every client of one can do."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from headrace.pipelines.errors import PipelineError, Problem

if TYPE_CHECKING:
    from headrace.kubeflow.client.compiled_file import CompiledFile
    from headrace.kubeflow.client.run_status import RunStatus
    from headrace.kubeflow.deployment import Schedule

TOKEN, COOKIES = "HEADRACE_TOKEN", "HEADRACE_COOKIES"


@dataclass(frozen=True)
class Connection:
    """How a server is reached.

    Args:
        host: Its URL. Without one, Kubeflow's is taken from KF_PIPELINES_ENDPOINT, else from the cluster of the
            kubeconfig or of the pod this runs in; for Argo, runs are made in that cluster itself, without its server.
        namespace: Kubernetes namespace of the runs (Argo), or of the user (Kubeflow in its multi-user mode).
        token: A bearer token.
        cookies: Cookies, as a browser sends them.
        service_account_token: A file with a token for Kubeflow that Kubernetes renews.
        iap_client_id: The OAuth client of a Kubeflow behind Google's Identity-Aware Proxy.
        ca_file: Certificates of the authority that signed the server's.
        verify: Whether the server's certificate is checked.
        context: The kubeconfig's context, if not its current one.
        timeout: Seconds that one request may take.
    """

    host: str | None = None
    namespace: str | None = None
    token: str | None = None
    cookies: str | None = None
    service_account_token: str | None = None
    iap_client_id: str | None = None
    ca_file: str | None = None
    verify: bool = True
    context: str | None = None
    timeout: float = 30.0

    @property
    def timeouts(self) -> tuple[float, float]:
        """Seconds to connect in, and seconds between two bytes of an answer."""
        return min(10.0, self.timeout), self.timeout

    def __repr__(self) -> str:
        return f"Connection(host={self.host!r}, namespace={self.namespace!r})"


class Uploaded(NamedTuple):
    """A version of a pipeline on a server.

    Attributes:
        pipeline: The pipeline's name there.
        version: The version's name; empty where a server keeps one version only.
        was_there: Whether it was there already, with the same content.
    """

    pipeline: str
    version: str
    was_there: bool


class Client(Protocol):
    """What can be done on a server."""

    target: str

    def upload(self, compiled: CompiledFile, pipeline: str | None = None, version: str | None = None) -> Uploaded:
        """Puts a version of a pipeline there. Doing it again with the same bytes changes nothing."""

    def submit(
        self,
        compiled: CompiledFile,
        parameters: Mapping[str, Any],
        *,
        experiment: str | None = None,
        service_account: str | None = None,
    ) -> str:
        """Starts a run and gives what the server calls it."""

    def submit_uploaded(
        self,
        pipeline: str,
        version: str | None,
        parameters: Mapping[str, Any],
        *,
        experiment: str | None = None,
        service_account: str | None = None,
    ) -> str:
        """Starts a run of an uploaded pipeline, by default of its newest version."""

    def schedule(
        self,
        compiled: CompiledFile,
        schedule: Schedule,
        parameters: Mapping[str, Any],
        *,
        name: str | None = None,
        experiment: str | None = None,
        service_account: str | None = None,
    ) -> str:
        """Runs a pipeline by a schedule, which replaces one of the same name."""

    def unschedule(self, name: str, *, experiment: str | None = None) -> None:
        """Ends a schedule. Runs that it has started go on."""

    def status(self, run: str) -> RunStatus:
        """How far a run is."""

    def terminate(self, run: str) -> None:
        """Ends a run."""

    def log(self, run: str, step: str) -> str:
        """What a step's last pod printed."""


def connect(target: str, connection: Connection) -> Client:
    """Makes a client of a server of Kubeflow Pipelines or of Argo.

    Args:
        target: ``"kfp"`` or ``"argo"``.
        connection: How it is reached.

    Raises:
        ClusterError: It is not there, or lets nobody in.
        MissingExtra: The extra ``kfp`` or ``argo`` is not installed.
    """
    if target == "kfp":
        from headrace.kubeflow.client.kfp_client import KfpClient

        return KfpClient(connection)
    from headrace.kubeflow.client.argo_client import ArgoClient

    return ArgoClient(connection)


def secret_from(file: str | None, variable: str) -> str | None:
    """A secret from a file or from the environment: one on a command line is seen by everybody on the machine.

    Raises:
        PipelineError: The file cannot be read.
    """
    if file is None:
        return os.environ.get(variable) or None
    try:
        return Path(file).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise PipelineError(Problem(f"{file}: {error}", f"name a file, or set {variable}", code="command")) from None
