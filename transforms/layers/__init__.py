"""Keras layers that Keras lacks, few and each for a reason: inputs of several kinds in one model, some of them missing.

Names are loaded when they are first used, so that this import needs no TensorFlow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.transforms.layers.decode_image import DecodeImage as DecodeImage
    from headrace.transforms.layers.join_modalities import JoinModalities as JoinModalities
    from headrace.transforms.layers.present import Present as Present

_WHERE = {"DecodeImage": "decode_image", "JoinModalities": "join_modalities", "Present": "present"}
__all__ = list(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
