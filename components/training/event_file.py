"""TensorBoard's event file: records of `Event` messages, written without the tensorboard package.

Format: TFRecord framing; the first event says `brain.Event:2`; a scalar is an event with its step and a summary of one
tag and `simple_value` (tensorflow/core/util/event.proto).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path


class EventFile:
    """Scalars of one run, for TensorBoard.

    Args:
        folder: The run's folder; TensorBoard shows its name.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     events = EventFile(Path(folder) / "train")
        ...     events.write(1, {"epoch_loss": 0.5})
        ...     events.close()
    """

    def __init__(self, folder: Path) -> None:
        import tensorflow as tf

        folder.mkdir(parents=True, exist_ok=True)
        self._event = tf.compat.v1.Event
        self._file = tf.io.TFRecordWriter(str(folder / f"events.out.tfevents.{int(time.time())}.headrace"))
        self._put(self._event(wall_time=time.time(), file_version="brain.Event:2"))

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Writes values of one step; a reader sees them at once."""
        event = self._event(wall_time=time.time(), step=step)
        for tag, value in scalars.items():
            event.summary.value.add(tag=tag, simple_value=value)
        self._put(event)

    def close(self) -> None:
        self._file.close()

    def _put(self, event: object) -> None:
        self._file.write(event.SerializeToString())  # type: ignore[attr-defined]
        self._file.flush()
