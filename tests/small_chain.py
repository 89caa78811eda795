"""A small data set that can be learned, and the functions of a pipeline on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

ROWS = 300


def write_rows(folder: Path) -> str:
    """Writes 300 rows whose label follows two columns; gives the folder."""
    import numpy as np

    rng = np.random.default_rng(7)
    folder.mkdir(parents=True)
    distance, carrier = rng.normal(1000, 300, ROWS), rng.choice(["AA", "UA", "DL"], ROWS)
    late = distance + 300 * (carrier == "AA") + rng.normal(0, 100, ROWS) > 1100
    missing = rng.random(ROWS) < 0.05
    lines = [
        f"{n},{carrier[n]},{'NA' if missing[n] else round(distance[n], 2)},{rng.integers(0, 24)},{int(late[n])}"
        for n in range(ROWS)
    ]
    (folder / "rows.csv").write_text("\n".join(["id,carrier,distance,hour,late", *lines]) + "\n")
    return str(folder)


def preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:
    """A number, an id and the label."""
    from keras import layers, ops

    distance = layers.Normalization()(inputs["distance"])
    return {
        "distance_scaled": layers.Lambda(lambda x: ops.where(ops.isnan(x), 0.0, x))(distance),
        "carrier_id": layers.StringLookup()(inputs["carrier"]),
        "late": inputs["late"],
    }


def build_model(features: Any, *, units: int = 4) -> Any:
    """A small dense network."""
    import keras
    from keras import layers

    vector = layers.Flatten()(layers.Embedding(features.spec["carrier_id"].size, 2)(features["carrier_id"]))
    x = layers.Dense(units, activation="tanh")(layers.Concatenate()([features["distance_scaled"], vector]))
    model = keras.Model(features, layers.Dense(1, activation="sigmoid")(x))
    model.compile(optimizer=keras.optimizers.Adam(0.05), loss="binary_crossentropy")
    return model
