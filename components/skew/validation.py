"""One comparison of serving with training: the rows, what training had of them, and what serving gave."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from headrace.components.client_rows import Instance, rows_at
from headrace.components.evaluation.sources import sensitive_columns
from headrace.components.skew.calls import calls
from headrace.components.skew.comparison import Difference, Expected, differences, feature, prediction
from headrace.components.skew.edges import Edges
from headrace.components.skew.serving_process import Answers, ServingFailed, ask
from headrace.components.skew.stored_rows import StoredRows
from headrace.components.training.reference_rows import FILE, ReferenceRows
from headrace.pipelines import Examples, Model, TransformGraph, step_context, storage
from headrace.pipelines.errors import ArtifactError, DataError
from headrace.transforms.keras_graph import load_transform

FEATURES = "transform_features"
NO_PREDICTIONS = (
    "the model's run_fn wrote the SavedModel by itself, so predictions were compared alone with in batches only: "
    "fn_args.export(model) keeps those of the training"
)
# What the compared rows may take, raw and as features; each is held a few times over while it is sent and compared.
MOST_BYTES, LEAST_ROWS, SAMPLED_ROWS = 128 << 20, 100, 16
# The signatures that give the model's outputs as its training had them.
OF_TRAINING = ("serving_default", "serving_examples")


@dataclass
class Validation:
    """A model, the rows it is asked about, and what training had of them.

    Args:
        model: The exported model.
        reference: The rows that its training kept.
        chosen: Positions of those that are compared.
        instances: The rows as a client sends them, edges after those of the data.
        edges: The rows at the edges, with their features.
        single: Positions of rows that are also sent one by one.
        warnings: What could not be compared.
    """

    model: Model
    reference: ReferenceRows | StoredRows
    chosen: np.ndarray
    instances: list[Instance]
    edges: Edges
    single: np.ndarray
    warnings: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, model: Model, examples: Examples, rows: int, single_rows: int, with_edges: bool) -> Validation:
        """Reads the rows that a model keeps of its training and the same rows of the raw examples.

        Where it keeps none, its run_fn wrote the SavedModel by itself: features are then those that Transform stored,
        and of predictions it is asked whether a row alone and in a batch has the same.

        Raises:
            DataError: The model was trained on other examples.
        """
        _check_examples(model, examples)
        file = model.path / "training" / FILE
        reference = ReferenceRows(file) if file.exists() else StoredRows(model, examples, rows)
        chosen = _spread(len(reference), min(rows, _most_rows(reference, examples)))
        found = rows_at(
            examples, [reference.split[i] for i in chosen], [reference.row[i] for i in chosen], reference.inputs
        )
        graph, warnings = None, []
        if isinstance(reference, StoredRows):
            warnings.append(NO_PREDICTIONS)
        elif with_edges:
            graph, warnings = _transform_graph(model)
        edges = Edges()
        if graph is not None and found:
            edges = Edges.of(load_transform(graph.path), max(found, key=len), list(reference.specs))
        single = np.concatenate([_spread(len(found), single_rows), np.arange(len(edges.names)) + len(found)])
        instances = [*found, *edges.instances]
        return cls(model, reference, chosen, instances, edges, single, [*warnings, *edges.warnings])

    @property
    def data_rows(self) -> int:
        """How many of the rows are of the data; edges come after them."""
        return len(self.chosen)

    def differences(self) -> list[Difference]:
        """Everything that serving gives otherwise, features before the predictions that follow from them."""
        try:
            answers = self._answers
        except ServingFailed as error:
            return [Difference("", "", "", 0, "", str(error))]
        return [
            one
            for signature in sorted(answers, key=lambda name: (name != FEATURES, name))
            for one in self._of_signature(signature, answers)
        ]

    @functools.cached_property
    def _answers(self) -> Answers:
        context = step_context()
        context.progress(0, len(self.instances))
        saved_model = self.model.saved_model_path
        sent = calls(saved_model, self.instances, self.reference.inputs)
        answers = ask(saved_model, sent, [int(i) for i in self.single], context.scratch / "skew")
        context.progress(len(self.instances), len(self.instances))
        return answers

    def _of_signature(self, signature: str, answers: Answers) -> list[Difference]:
        sent = answers[signature]
        is_features = signature == FEATURES
        expected = self._features if is_features else self._predictions if signature in OF_TRAINING else {}
        if isinstance(self.reference, StoredRows):
            # The signature is the author's: it may give fewer features than Transform made, as without the label.
            expected = {name: one for name, one in expected.items() if name in sent["batches"]}
        # Where training has no predictions, of edges and of other signatures, a row alone must give what it gives
        # among others.
        known = 0 if not expected else len(self.instances) if is_features else self.data_rows
        every, alone = np.arange(known), np.flatnonzero(self.single < known)
        found = [
            *differences(signature, "batches", _at(sent["batches"], every), expected, every),
            *differences(signature, "single", _at(sent["single"], alone), expected, self.single[alone]),
        ]
        if len(alone) < len(self.single):
            others = np.flatnonzero(self.single >= known)
            among = {name: prediction(values) for name, values in sent["batches"].items()}
            found += differences(signature, "single", _at(sent["single"], others), among, self.single[others])
        return found

    @functools.cached_property
    def _features(self) -> dict[str, Expected]:
        stored = self.reference.features(self.chosen)
        edges = self.edges.features
        return {
            name: feature(np.concatenate([values, edges[name]]) if edges else values, values)
            for name, values in stored.items()
        }

    @functools.cached_property
    def _predictions(self) -> dict[str, Expected]:
        return {name: prediction(values[self.chosen]) for name, values in self.reference.predictions().items()}

    def counts(self) -> dict[str, int]:
        """How many rows were compared, by kind."""
        return {"data": self.data_rows, "edge": len(self.edges.names), "single": len(self.single)}

    def signatures(self) -> list[str]:
        """The signatures that were called."""
        try:
            return sorted(self._answers)
        except ServingFailed:
            return []

    def passed(self) -> str:
        """What is said of a model that serves what it was trained to."""
        names = ", ".join(self.signatures())
        if not names:
            return "nothing was compared: no signature takes the examples' columns, or tf.Examples of them"
        edges = f" and {len(self.edges.names)} at the edges" if self.edges.names else ""
        what = "serving gives what training saw"
        if isinstance(self.reference, StoredRows):
            what = "serving gives alone what it gives in batches"
            if self.reference.specs and FEATURES in self._answers:
                what = "serving gives the features that training read, and predictions alone as in batches"
        return f"{what}: {self.data_rows:,} rows{edges}, by {names}"

    def said(self, one: Difference) -> str:
        """A difference in one sentence."""
        if not one.signature:
            return f"TensorFlow alone cannot serve the model: {one.received}"
        told = self.told(one)
        sent = "in a batch" if one.sent == "batches" else "alone"
        return (
            f"{one.signature} gives {told['output']} = {told['received']} for {told['row']} sent {sent}; training had "
            f"{told['expected']}"
        )

    def told(self, one: Difference) -> dict[str, Any]:
        """A difference as JSON, without a value of a sensitive column's."""
        if one.row < self.data_rows:
            at = int(self.chosen[one.row])
            where = f"row {self.reference.row[at]} of split {self.reference.split[at]}"
        else:
            where = f"the row with {self.edges.names[one.row - self.data_rows]}"
        spec = self.reference.specs.get(one.output)
        columns = set(self.reference.inputs) if spec is None or not spec.columns else {*spec.columns}
        hidden = one.output not in self._predictions and bool(columns & self._sensitive)
        values = ("(sensitive)", "(sensitive)") if hidden else (_shown(one.expected), _shown(one.received))
        return {
            "signature": one.signature,
            "sent": one.sent,
            "output": one.output,
            "row": where,
            "expected": values[0],
            "received": values[1],
        }

    @functools.cached_property
    def _sensitive(self) -> set[str]:
        return sensitive_columns(None, self.model)


def _most_rows(reference: ReferenceRows | StoredRows, examples: Examples) -> int:
    """How many rows can be held with their features: of those of images, or of wide vectors, fewer are compared."""
    few = range(min(SAMPLED_ROWS, len(reference)))
    sampled = rows_at(examples, [reference.split[i] for i in few], [reference.row[i] for i in few], reference.inputs)
    raw = max((len(json.dumps(row)) for row in sampled), default=0)
    sizes = {
        name: 8 if spec.dtype == "string" else np.dtype(spec.dtype).itemsize for name, spec in reference.specs.items()
    }
    features = sum(spec.values * sizes[name] for name, spec in reference.specs.items())
    return max(LEAST_ROWS, MOST_BYTES // max(1, raw + features))


def _at(outputs: Mapping[str, np.ndarray], rows: np.ndarray) -> dict[str, np.ndarray]:
    return {name: values[rows] for name, values in outputs.items()}


def _spread(of: int, count: int) -> np.ndarray:
    return np.unique(np.linspace(0, of - 1, min(count, of)).astype(np.int64)) if of else np.zeros(0, np.int64)


def _shown(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.item() if isinstance(value, np.generic) else value


def _check_examples(model: Model, examples: Examples) -> None:
    link = model.links.get("examples")
    if not isinstance(link, Mapping):
        return
    digests = {link["digest"]}
    try:
        raw = Examples.open(link["uri"]).links.get("examples")
    except ArtifactError:
        return
    if isinstance(raw, Mapping):
        digests = {raw["digest"]}
    if examples.digest not in digests:
        raise DataError(
            "the model was trained on features of other examples",
            "pass the raw examples that Transform took, as examples=",
            file=examples.uri,
        )


def _transform_graph(model: Model) -> tuple[TransformGraph | None, list[str]]:
    link = model.links.get("transform_graph")
    if not isinstance(link, Mapping):
        return None, ["no edge rows were compared: the model names no TransformGraph"]
    if not storage.exists(storage.join(link["uri"], "artifact.json")):
        return None, [f"no edge rows were compared: the TransformGraph {link['uri']} is gone"]
    return TransformGraph.open(link["uri"]), []
