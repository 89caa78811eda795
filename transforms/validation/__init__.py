"""Validation: what in a dataset's statistics contradicts its schema, has drifted, or is skewed, and in which rows."""

from headrace.transforms.validation.rows import OffendingValue, find_rows
from headrace.transforms.validation.validate import validate

__all__ = ["OffendingValue", "find_rows", "validate"]
