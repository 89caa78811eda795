"""Keras layers that Keras lacks, few and each for a reason: missing values, time, places, crosses, tails, modalities.

Names are loaded when they are first used, so that this import needs no TensorFlow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.transforms.layers.cross import Cross as Cross
    from headrace.transforms.layers.date_parts import DateParts as DateParts
    from headrace.transforms.layers.decode_image import DecodeImage as DecodeImage
    from headrace.transforms.layers.great_circle_distance import GreatCircleDistance as GreatCircleDistance
    from headrace.transforms.layers.grid_cell import GridCell as GridCell
    from headrace.transforms.layers.impute import Impute as Impute
    from headrace.transforms.layers.join_modalities import JoinModalities as JoinModalities
    from headrace.transforms.layers.present import Present as Present
    from headrace.transforms.layers.tail_buckets import TailBuckets as TailBuckets

_WHERE = {
    "Cross": "cross",
    "DateParts": "date_parts",
    "DecodeImage": "decode_image",
    "GreatCircleDistance": "great_circle_distance",
    "GridCell": "grid_cell",
    "Impute": "impute",
    "JoinModalities": "join_modalities",
    "Present": "present",
    "TailBuckets": "tail_buckets",
}
__all__ = list(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
