"""KFP's page draws an Evaluation: its numbers from one artifact, its curves from a second."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from headrace.kubeflow.container.kfp_io import KfpIo
from headrace.kubeflow.container.references import Reference
from headrace.kubeflow.container.target_io import Made
from headrace.kubeflow.kfp.compile import compile_kfp
from headrace.kubeflow.step_document import StepDocument

from tests.kubeflow.kfp.kfp_plans import DEPLOYMENT, documents, flights


def test_the_curves_of_an_evaluation_are_an_output_of_their_own(tmp_path: Path) -> None:
    plan = flights()
    component = documents(compile_kfp(plan, DEPLOYMENT))[0]["components"]["comp-evaluator"]
    outputs: dict[str, Any] = {"outputFile": str(tmp_path / "output.json"), "artifacts": {}}
    for name in component["outputDefinitions"]["artifacts"]:
        place = {"uri": f"s3://b/{name}", "customPath": str(tmp_path / name)}
        outputs["artifacts"][name] = {"artifacts": [place]}
    document = StepDocument.of(plan, plan.step("Evaluator"))
    metrics = {"auc": 0.7, "confidenceMetrics": [{"recall": 1.0}], "confusionMatrix": {"rows": []}}
    made = Made("succeeded", {"evaluation": Reference("Evaluation", "s3://b/x", "d")}, metrics={"evaluation": metrics})
    KfpIo(document, executor_input=json.dumps({"outputs": outputs}), run="1").write(made)
    shown = json.loads((tmp_path / "output.json").read_text())["artifacts"]
    assert shown["evaluation"]["artifacts"][0]["metadata"]["auc"] == 0.7
    assert "confusionMatrix" not in shown["evaluation"]["artifacts"][0]["metadata"]
    assert shown["evaluation-curves"]["artifacts"][0]["metadata"].keys() == {"confidenceMetrics", "confusionMatrix"}
