"""Transform with stock Keras layers: state over the train split, features of every split, one SavedModel.

Names are loaded when they are first used, so that a Beam worker imports the pure functions without TensorFlow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.transforms.keras_graph.feature_specs import FeatureSpec as FeatureSpec
    from headrace.transforms.keras_graph.lambda_rules import LambdaError as LambdaError
    from headrace.transforms.keras_graph.layer_state import Analyzer as Analyzer
    from headrace.transforms.keras_graph.layer_state import LayerState as LayerState
    from headrace.transforms.keras_graph.layer_state import register_layer as register_layer
    from headrace.transforms.keras_graph.saved_transform import Features as Features
    from headrace.transforms.keras_graph.saved_transform import SavedTransform as SavedTransform
    from headrace.transforms.keras_graph.saved_transform import load_transform as load_transform
    from headrace.transforms.keras_graph.serving import ServingModelExport as ServingModelExport
    from headrace.transforms.keras_graph.serving import export_serving_model as export_serving_model
    from headrace.transforms.keras_graph.stored_features import feature_batch_to_tensors as feature_batch_to_tensors
    from headrace.transforms.keras_graph.traced_transform import TracedTransform as TracedTransform
    from headrace.transforms.keras_graph.traced_transform import analyze_and_trace as analyze_and_trace

_WHERE = {
    "Analyzer": "layer_state",
    "FeatureSpec": "feature_specs",
    "Features": "saved_transform",
    "LambdaError": "lambda_rules",
    "LayerState": "layer_state",
    "SavedTransform": "saved_transform",
    "ServingModelExport": "serving",
    "TracedTransform": "traced_transform",
    "analyze_and_trace": "traced_transform",
    "export_serving_model": "serving",
    "feature_batch_to_tensors": "stored_features",
    "load_transform": "saved_transform",
    "register_layer": "layer_state",
}
__all__ = list(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
