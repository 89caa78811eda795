"""Transform with TensorFlow Transform: a `preprocessing_fn` of `tft.*` calls, analyzed on Beam over Arrow.

Importing what is below imports TensorFlow Transform, which makes `tf.keras` Keras 2 for the whole process: it belongs
into a process of its own.
"""

from __future__ import annotations
