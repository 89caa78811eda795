"""The trained model as a `.keras` file, for those who go on with it in Keras, where it can be read again safely."""

from __future__ import annotations

from pathlib import Path

import keras

FILE = "model.keras"


def save_keras(model: keras.Model, folder: Path) -> Path | None:
    """Writes the model on its features, with its optimizer, if Keras reads it again without running code from it.

    The file is read again in safe mode: a Lambda layer is a pickle of Python code there, which safe mode refuses. What
    serves is the SavedModel in either case.

    Args:
        model: The model as `build_model` made it.
        folder: Where to write it.

    Returns:
        The file; None where it was left out, and the log says why.
    """
    file = folder / FILE
    folder.mkdir(parents=True, exist_ok=True)
    try:
        model.save(file)
        keras.saving.load_model(file, safe_mode=True)
    except Exception as error:  # whatever a layer of the author's raises in its own config
        file.unlink(missing_ok=True)
        print(f"no {FILE} beside the SavedModel: {_why(model, error)}", flush=True)
        return None
    return file


def _why(model: keras.Model, error: Exception) -> str:
    lambdas = [layer.name for layer in model._flatten_layers() if isinstance(layer, keras.layers.Lambda)]
    if lambdas:
        return f"Keras' safe mode reads no Lambda layers ({', '.join(lambdas)})"
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"Keras cannot read it again ({type(error).__name__}: {said[:300]})"
