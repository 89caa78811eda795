"""Runs a Plan step by step through the command `headrace-step`, handing over by hand what Argo or KFP hand over."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace.kubeflow.step_document import (
    VERDICT,
    StepDocument,
    artifact_ports,
    inert_json,
    output_digest,
    parameter_ports,
    task_name,
)
from headrace.pipelines.plan import Parameter, Plan, Step


@dataclass
class Outcome:
    """What came of one step: exit code, log, termination message, references and texts of output parameters."""

    code: int
    log: str
    message: str
    references: dict[str, Any] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    executor_output: dict[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> str | None:
        return self.texts.get(VERDICT)


@dataclass
class Cluster:
    """A stand-in for a cluster: a folder for what it hands over, and the arguments of every step."""

    folder: Path
    root: str
    project: Path
    target: str = "argo"
    more: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    within: tuple[str, ...] = ()
    program: tuple[str, ...] = (sys.executable, "-m", "headrace.kubeflow.entrypoint")

    def run(self, plan: Plan, run: str, parameters: Mapping[str, Any] | None = None) -> dict[str, Outcome]:
        """Runs every step whose upstream steps have not failed, in the Plan's order."""
        given = {p.name: p.default for p in plan.parameters} | dict(parameters or {})
        outcomes: dict[str, Outcome] = {}
        for step in plan.steps:
            if all(up in outcomes and outcomes[up].code == 0 for up in step.upstream()):
                outcomes[step.id] = self.run_step(plan, step, run, given, outcomes)
        return outcomes

    def run_step(
        self, plan: Plan, step: Step, run: str, given: Mapping[str, Any], outcomes: Mapping[str, Outcome]
    ) -> Outcome:
        process, pod = self.start_step(plan, step, run, given, outcomes)
        log, _ = process.communicate(timeout=240)
        return self.collect(step, pod, process.returncode, log.decode())

    def start_step(
        self,
        plan: Plan,
        step: Step,
        run: str,
        given: Mapping[str, Any],
        outcomes: Mapping[str, Outcome],
        retries: int = 0,
        document: StepDocument | None = None,
    ) -> tuple[subprocess.Popen[bytes], Path]:
        """Starts a step's process; gives it and the folder that stands for its pod."""
        document = document or StepDocument.of(plan, step)
        references = {
            port.name: outcomes[port.channel.step].references.get(port.channel.output) for port in artifact_ports(step)
        }
        texts = {
            port.digest: outcomes[port.channel.step].texts[output_digest(port.channel.output)]
            for port in artifact_ports(step)
        }
        for port, value in parameter_ports(step).items():
            if isinstance(value, Parameter):
                kind = next(p.kind for p in plan.parameters if p.name == value.name)
                texts[port] = given[value.name] if kind == "str" else inert_json(given[value.name])
            else:
                texts[port] = outcomes[value.step].texts[value.output]
        pod = self.folder / f"{run}-{step.id}-{retries}"
        pod.mkdir(parents=True, exist_ok=True)
        hand_over = self._argo if self.target == "argo" else self._kfp
        command = [*self.within, *self.program, f"--target={self.target}"]
        command += [f"--step={document.to_json()}", f"--root={self.root}", f"--project={self.project}", *self.more]
        command += hand_over(step, run, pod, references, texts, retries)
        for path in (pod, *pod.rglob("*")):
            # A container's user is another.
            path.chmod(0o777)
        env = {**os.environ, "HEADRACE_TERMINATION_LOG": str(pod / "termination-log"), **self.env}
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env, cwd=pod, start_new_session=True
        )
        return process, pod

    def _argo(
        self, step: Step, run: str, pod: Path, references: Mapping[str, Any], texts: Mapping[str, str], retries: int
    ) -> list[str]:
        inputs = pod / "headrace" / "inputs"
        inputs.mkdir(parents=True, exist_ok=True)
        for port, reference in references.items():
            if reference is not None:
                (inputs / f"{port}.json").write_text(json.dumps(reference))
        encoded = base64.b64encode(json.dumps(dict(texts)).encode()).decode()
        return [f"--run={run}", f"--attempt={retries}", f"--parameters={encoded}", f"--folder={pod / 'headrace'}"]

    def _kfp(
        self, step: Step, run: str, pod: Path, references: Mapping[str, Any], texts: Mapping[str, str], retries: int
    ) -> list[str]:
        artifacts = {}
        for port, reference in references.items():
            if reference is not None:
                path = pod / "in" / port
                path.parent.mkdir(exist_ok=True)
                path.write_text(json.dumps(reference))
                artifacts[port] = {"artifacts": [{"name": "7", "uri": f"s3://b/x/{port}", "customPath": str(path)}]}
        base = f"s3://b/kfp/pipeline/{run}/{task_name(step.id)}"
        outputs = {
            name: {"artifacts": [{"uri": f"{base}/{name}", "customPath": str(pod / "out" / name)}]}
            for name, _ in step.interface.outputs
        }
        names = [output_digest(name) for name, _ in step.interface.outputs]
        names += [*dict(step.interface.results), VERDICT]
        executor_input = {
            "inputs": {"parameterValues": dict(texts), "artifacts": artifacts},
            "outputs": {
                "parameters": {name: {"outputFile": str(pod / "kfp" / "outputs" / name)} for name in names},
                "artifacts": outputs,
                "outputFile": str(pod / "kfp" / "output_metadata.json"),
            },
        }
        return [f"--executor-input={json.dumps(executor_input)}"]

    def collect(self, step: Step, pod: Path, code: int, log: str) -> Outcome:
        message = pod / "termination-log"
        outcome = Outcome(code, log, message.read_text() if message.exists() else "")
        if self.target == "argo":
            artifacts, parameters = (pod / "headrace" / "outputs" / part for part in ("artifacts", "parameters"))
            suffix = ".json"
        else:
            artifacts, parameters, suffix = pod / "out", pod / "kfp" / "outputs", ""
            if (metadata := pod / "kfp" / "output_metadata.json").exists():
                outcome.executor_output = json.loads(metadata.read_text())
        for name, _ in step.interface.outputs:
            if (path := artifacts / f"{name}{suffix}").exists():
                outcome.references[name] = json.loads(path.read_text())
        for path in sorted(parameters.iterdir()) if parameters.exists() else ():
            outcome.texts[path.name] = path.read_text()
        return outcome
