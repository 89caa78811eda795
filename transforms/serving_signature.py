"""A signature that an author asks for beside the three that every export has."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

ALWAYS = ("serving_default", "serving_examples", "transform_features")
"""The signatures of every export."""


@dataclass(frozen=True)
class ServingSignature:
    """One more signature of an exported model, with what is done with the model's outputs in the graph.

    Args:
        name: Its name, such as ``"serving_keyed"``.
        key: An input that is no feature and comes out unchanged by the same name, so that a client can tell which
            answer is whose; or a column that the model takes.
        key_dtype: The key's type, where it is no column that the model takes.
        only: The one column that it takes, such as that of an image's bytes; the model's others are as if they were
            missing, for which each needs a value that stands for a missing one.
        labels: Names of the model's classes in the order of its outputs (two for an output of one probability), or
            ``"vocabulary"``: that of the lookup layer which `preprocessing_fn` made the label with. The output is
            then given as ``classes`` and ``scores``.
        top_k: Only so many classes, the likeliest first; without `labels` they are named by their number.
        output: The output that is classified, where the model has several.
        method: ``"classify"`` and ``"regress"`` are for TensorFlow Serving's APIs of these names: the input is
            ``inputs``, serialized tf.Examples, the outputs are `classes` and `scores`, or ``outputs``.

    Example:
        >>> ServingSignature("serving_keyed", key="flight_id", labels=["on time", "late"], top_k=1).method
        'predict'
        >>> ServingSignature("serving_bytes", only="image").only
        'image'
    """

    name: str
    key: str | None = None
    key_dtype: Literal["string", "int64"] = "string"
    only: str | None = None
    labels: list[str] | Literal["vocabulary"] | None = None
    top_k: int | None = None
    output: str | None = None
    method: Literal["predict", "classify", "regress"] = "predict"

    @property
    def classifies(self) -> bool:
        """Whether its answers are classes and scores."""
        return self.labels is not None or self.top_k is not None or self.method == "classify"

    def problems(self) -> Iterator[tuple[str, str]]:
        """What does not fit together in it, each with the repair."""
        who = f"signature {self.name!r}"
        if not self.name.isidentifier():
            yield f"{who}: expected a name of letters, digits and '_'", "such as serving_keyed"
        if self.name in ALWAYS:
            yield f"{who}: every model has it already", "give another name; serving_default gives the model's outputs"
        if self.key is not None and self.method != "predict":
            yield f"{who}: {self.method} answers carry no key", 'leave out key=, or method="predict"'
        if self.only is not None and self.method != "predict":
            yield f"{who}: {self.method} takes whole rows", 'leave out only=, or method="predict"'
        if self.method == "regress" and self.classifies:
            yield f"{who}: a regression has no classes", "leave out labels= and top_k="
        if self.top_k is not None and self.top_k < 1:
            yield f"{who}: expected top_k of at least 1, received {self.top_k}", "give how many classes to tell"
        if self.labels == []:
            yield f"{who}: expected the names of the classes, received an empty list", "leave labels= out"


def signature_problems(signatures: Iterable[Any]) -> Iterator[tuple[str, str]]:
    """What is wrong with the signatures of one model, each with the repair.

    Args:
        signatures: The signatures, or what a YAML Plan has for them; what is neither is left to its type's check.
    """
    known: list[ServingSignature] = []
    for one in signatures:
        with contextlib.suppress(TypeError):
            known.append(ServingSignature(**one) if isinstance(one, Mapping) else one)
    known = [one for one in known if isinstance(one, ServingSignature)]
    for one in known:
        yield from one.problems()
    names = [one.name for one in known]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"two signatures are named {name!r}", "a model has one of each name"
