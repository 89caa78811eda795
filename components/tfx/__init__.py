"""What a TFX user's modules need to run unchanged: which of them, their process, the names they import, their data."""

from __future__ import annotations
