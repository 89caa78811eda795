"""The signatures that an author asks for: a key that passes through, and classes and scores in place of an output."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
from headrace.transforms.feature_model import ModelInput, name_problems
from headrace.transforms.keras_graph.graph_function import resources_of
from headrace.transforms.keras_graph.lambda_source import Names
from headrace.transforms.keras_graph.signature_inputs import METHODS, SignatureInputs, by_column, by_example, one_column
from headrace.transforms.serving_signature import ServingSignature

INPUTS, CLASSES, SCORES, REGRESSED = "inputs", "classes", "scores", "outputs"
"""The names that TensorFlow Serving's Classify and Regress ask for."""
Postprocess = Callable[[dict[str, Any]], Mapping[str, Any]]


class RequestedSignature:
    """One such signature: what it takes, and what is done with the model's outputs.

    What calls the author's code is traced when this is made, on the thread that trains.

    Args:
        asked: What was asked for.
        inputs: The raw columns that the model takes.
        outputs: The `tf.TensorSpec` of each of its outputs.
        postprocess: The author's function of the outputs by name, or None.

    Raises:
        ValueError: It does not fit the model; the message names the signature.
    """

    def __init__(
        self,
        asked: ServingSignature,
        inputs: Sequence[ModelInput],
        outputs: Mapping[str, Any],
        postprocess: Postprocess | None = None,
    ) -> None:
        import tensorflow as tf

        self.asked, self.method = asked, METHODS[asked.method]
        self.taken = _taken(asked, inputs)
        self._columns = [one.name for one in inputs]

        def finish(found: dict[str, Any]) -> dict[str, Any]:
            made = _named(postprocess(found), asked.name) if postprocess is not None else found
            return _of_method(asked, made)

        specs = {name: tf.TensorSpec(spec.shape, spec.dtype) for name, spec in outputs.items()}
        self._finish = tf.function(finish, input_signature=[specs], autograph=False).get_concrete_function()
        if asked.key is not None and asked.key in self._finish.structured_outputs:
            raise ValueError(
                f"signature {asked.name!r}: the key {asked.key!r} is also an output of the model; rename the output "
                "with output_names="
            )

    def function(self, predict: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
        """The signature's `tf.function`.

        Args:
            predict: From raw columns to the model's outputs by name.
        """
        import tensorflow as tf

        key = self.asked.key

        def serve(given: dict[str, Any]) -> dict[str, Any]:
            columns = self.taken.columns(given)
            passed = {} if key is None else {key: tf.identity(columns[key])}
            return {**self._finish(predict({name: columns[name] for name in self._columns})), **passed}

        return tf.function(serve, input_signature=[self.taken.specs], autograph=False)


def captured_resources(function: Callable[..., Any], seen: set[Any] | None = None) -> list[Any]:
    """Tables and variables that an author's function, and those of the author's that it names, has from outside of it.

    A SavedModel has to track them by name: its graph only refers to them.
    """
    import tensorflow as tf
    from tensorflow.python.ops.lookup_ops import LookupInterface

    function, seen = inspect.unwrap(function), set() if seen is None else seen
    if not isinstance(function, types.FunctionType) or function in seen:
        return []
    seen.add(function)
    found: list[Any] = []
    for value in Names(function).captured.values():
        if isinstance(value, LookupInterface | tf.Variable):
            found.append(value)
        elif isinstance(value, keras.layers.Layer):
            found += resources_of([value])
        elif isinstance(value, types.FunctionType):
            found += captured_resources(value, seen)
    return found


def _taken(asked: ServingSignature, inputs: Sequence[ModelInput]) -> SignatureInputs:
    import tensorflow as tf

    if asked.method != "predict":
        return by_example(inputs, INPUTS)
    key = asked.key
    if asked.only is not None:
        return _taken_alone(asked, inputs)
    if key is None or key in (one.name for one in inputs):
        return by_column(inputs)
    if problems := name_problems([*(one.name for one in inputs), key]):
        raise ValueError(f"signature {asked.name!r}: the key {key!r} cannot be an input: {problems[key]}")
    return by_column(inputs, beside={key: tf.TensorSpec([None], asked.key_dtype, name=key)})


def _taken_alone(asked: ServingSignature, inputs: Sequence[ModelInput]) -> SignatureInputs:
    import tensorflow as tf

    who, by_name = f"signature {asked.name!r}: only={asked.only!r}", {one.name: one for one in inputs}
    if asked.only not in by_name:
        raise ValueError(f"{who} is no column that the model takes; it takes {', '.join(by_name)}")
    if asked.key in by_name:
        raise ValueError(f"{who}, and key={asked.key!r} is another column: leave one of them out")
    lacking = [one.name for one in inputs if one.name != asked.only and one.missing is None]
    if lacking:
        raise ValueError(
            f"{who}: the model needs {', '.join(lacking)} too, for nothing stands for a missing one: say in the schema "
            f'that it may be missing, feature {{ name: "{lacking[0]}" presence {{ }} }}, or give it a default'
        )
    key = {} if asked.key is None else {asked.key: tf.TensorSpec([None], asked.key_dtype, name=asked.key)}
    return one_column(by_name[asked.only], [one for one in inputs if one.name != asked.only], beside=key)


def _named(found: Any, name: str) -> dict[str, Any]:
    import tensorflow as tf

    if not isinstance(found, Mapping) or not found or not all(isinstance(key, str) for key in found):
        got = f"a dict of {list(found)}" if isinstance(found, Mapping) else type(found).__name__
        raise ValueError(f"signature {name!r}: expected a dict of outputs by name from postprocess, received {got}")
    made = {key: tf.convert_to_tensor(value) for key, value in found.items()}
    for key, value in made.items():
        if value.shape.rank == 0:
            raise ValueError(
                f"signature {name!r}: expected outputs of shape (rows, ...) from postprocess, {key!r} has no rows"
            )
    return made


def _of_method(asked: ServingSignature, outputs: dict[str, Any]) -> dict[str, Any]:
    """The outputs as the signature gives them."""
    if asked.method == "regress":
        value = outputs[_chosen(asked, outputs)]
        if value.shape.rank not in (1, 2) or not value.dtype.is_floating or value.shape[1:] not in ([], [1]):
            raise ValueError(f"signature {asked.name!r}: expected one number a row to regress, received {value.shape}")
        return {REGRESSED: value}
    if not asked.classifies:
        return outputs
    name = _chosen(asked, outputs)
    classes, scores = _classified(asked, name, outputs[name])
    others = {} if asked.method == "classify" else {key: value for key, value in outputs.items() if key != name}
    return {**others, CLASSES: classes, SCORES: scores}


def _chosen(asked: ServingSignature, outputs: Mapping[str, Any]) -> str:
    if asked.output is None and len(outputs) == 1:
        return next(iter(outputs))
    if asked.output is None or asked.output not in outputs:
        got = "none" if asked.output is None else repr(asked.output)
        raise ValueError(
            f"signature {asked.name!r}: expected output= to name one of {', '.join(outputs)}, received {got}"
        )
    return asked.output


def _classified(asked: ServingSignature, name: str, value: Any) -> tuple[Any, Any]:
    """Classes and scores, both `(rows, k)`."""
    import tensorflow as tf

    scores = value[:, tf.newaxis] if value.shape.rank == 1 else value
    if scores.shape.rank != 2 or scores.shape[1] is None or not scores.dtype.is_floating:
        raise ValueError(
            f"signature {asked.name!r}: expected a score for each class, (rows, classes), in the output {name!r}, "
            f"received {value.dtype.name} {value.shape}"
        )
    if scores.shape[1] == 1:
        # One probability is that of the second class.
        scores = tf.concat([1 - scores, scores], 1)
    count = scores.shape[1]
    labels = [str(number) for number in range(count)] if asked.labels is None else list(asked.labels)
    if len(labels) != count:
        raise ValueError(
            f"signature {asked.name!r}: labels= names {len(labels)} classes, the output {name!r} has {count}"
        )
    if asked.top_k is None:
        return tf.broadcast_to(tf.constant([labels]), tf.shape(scores)), scores
    if asked.top_k > count:
        raise ValueError(f"signature {asked.name!r}: top_k={asked.top_k}, the output {name!r} has {count} classes")
    best, places = tf.math.top_k(scores, asked.top_k)
    return tf.gather(tf.constant(labels), places), best
