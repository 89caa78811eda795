"""Proof that the pushed model serves: a fresh Python with TensorFlow alone sends it the bytes of PNG files.

    python -m examples.digits.proof

Of the images that the model was not trained on, it tells how many it names rightly: with what was measured, from the
bytes of the file alone, and from the measures alone.
"""

from __future__ import annotations

import base64
import sys
from typing import Any

from headrace.pipelines.runs import Run

from examples.proof import ask, prove

CLIENT = """
import base64

rows = [{**row, "image": base64.b64decode(row["image"])} for row in sent]

def named(signature, without=()):
    serve = signatures[signature]
    wanted = serve.structured_input_signature[1]
    missing = {tf.string: b"", tf.float32: float("nan")}
    given = {
        name: tf.constant([missing[spec.dtype] if name in without else row[name] for row in rows], spec.dtype)
        for name, spec in wanted.items()
    }
    [scores] = serve(**given).values()
    return tf.argmax(scores, 1).numpy().tolist()

answer = {
    "image and measures": named("serving_default"),
    "the PNG file alone": named("serving_bytes"),
    "measures alone": named("serving_default", without=["image"]),
}
"""


def show(run: Run, saved_model: str) -> None:
    """Prints how many digits are named rightly, by what was sent, and which are taken for another."""
    examples: Any = run["ImageExampleGen"].outputs["examples"]
    rows = examples.read("eval").to_pylist()
    digits = [row.pop("digit") for row in rows]
    files = [row.pop("file") for row in rows]
    sent = [{**row, "image": base64.b64encode(row["image"]).decode()} for row in rows]
    named: dict[str, list[int]] = ask(saved_model, CLIENT, sent)
    print(f"\n{len(rows)} images that the model was not trained on, in a fresh Python with TensorFlow only:")
    for what, found in named.items():
        right = sum(one == digit for one, digit in zip(found, digits))
        print(f"  {what:20} {right / len(rows):6.1%} right")
    found = named["the PNG file alone"]
    wrong = [f"{file} as a {one}" for file, one, digit in zip(files, found, digits) if one != digit]
    print(f"  taken for another: {', '.join(wrong) or 'none'}")


if __name__ == "__main__":
    sys.exit(prove("digits", __doc__.splitlines()[0], show))
