"""Proof that the pushed model serves: a fresh Python with TensorFlow alone sends it the bytes of PNG files.

    python -m examples.digits.proof

Of the images that the model was not trained on, it tells how many it names rightly: with what was measured, from the
bytes of the file alone, and from the measures alone.
"""

from __future__ import annotations

import argparse
import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from headrace.pipelines import storage
from headrace.pipelines.runs import read_run
from headrace.pipelines.store import Store

CLIENT = """
import base64, json, sys
import tensorflow as tf

signatures = tf.saved_model.load(sys.argv[1]).signatures
rows = json.load(sys.stdin)
for row in rows:
    row["image"] = base64.b64decode(row["image"])

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

found = {
    "image and measures": named("serving_default"),
    "the PNG file alone": named("serving_bytes"),
    "measures alone": named("serving_default", without=["image"]),
}
ours = sorted(name for name in sys.modules if name.partition(".")[0] in ("headrace", "examples"))
print(json.dumps({"named": found, "ours": ours}))
"""


def ask(saved_model: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Sends rows to a SavedModel in a fresh, isolated Python, as a serving team would.

    Args:
        saved_model: Folder with `saved_model.pb`.
        rows: Raw fields, `image` the bytes of a file.

    Returns:
        `named`: the digit of each row by what was sent; `ours`: which of Headrace's modules were imported (none).
    """
    sent = [{**row, "image": base64.b64encode(row["image"]).decode()} for row in rows]
    done = subprocess.run(
        [sys.executable, "-I", "-c", CLIENT, saved_model],
        input=json.dumps(sent),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"the pushed model could not be served:\n{done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--root", default=str(Path(__file__).parents[2] / ".headrace"), help="the pipeline root")
    root = storage.normalize(parser.parse_args().root)
    with Store.open(str(Path(root) / "store.db"), create=False) as store:
        run = read_run(store, "latest")
        pushed = run["Pusher"].outputs.get("pushed_model")
        if pushed is None:
            said = run["Pusher"].refusal or run["Pusher"].state.value
            print(f"run {run.id} pushed no model: {said}", file=sys.stderr)
            return 3
        examples: Any = run["ImageExampleGen"].outputs["examples"]
        rows = examples.read("eval").to_pylist()
    digits = [row.pop("digit") for row in rows]
    files = [row.pop("file") for row in rows]
    answer = ask(pushed.properties["destination"], rows)
    if answer["ours"]:
        print(f"the client imported {answer['ours']}: the model needs more than TensorFlow", file=sys.stderr)
        return 1
    print(f"\n{len(rows)} images that the model was not trained on, in a fresh Python with TensorFlow only:")
    for sent, found in answer["named"].items():
        right = sum(one == digit for one, digit in zip(found, digits))
        print(f"  {sent:20} {right / len(rows):6.1%} right")
    found = answer["named"]["the PNG file alone"]
    wrong = [f"{file} as a {one}" for file, one, digit in zip(files, found, digits) if one != digit]
    print(f"  taken for another: {', '.join(wrong) or 'none'}")
    print(f"\nmodel   {pushed.properties['destination']}")
    print(f"report  {Path(run.folder) / 'report.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
