"""What a TFX user's `run_fn` expects beside its arguments: a number of steps, and TFRecords where it reads these."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from headrace.components.tfx.module_imports import ModuleImports, located
from headrace.components.tfx.tf_records import write_tf_records
from headrace.components.training.fn_args import FnArgs
from headrace.pipelines import Examples
from headrace.pipelines.errors import PipelineError

_READERS = {"TFRecordDataset", "make_batched_features_dataset"}


def as_tfx_passes(
    fn_args: FnArgs, run_fn: Callable[..., Any], examples: Examples, train_split: str, eval_split: str | None
) -> FnArgs:
    """The arguments for a `run_fn` whose module imports TFX or TensorFlow Transform; for another they are as they were.

    TFX's modules repeat their data without end, so they are always given steps: by default those of the epochs that the
    pipeline asks for, in batches of its size. A module that reads TFRecord files by itself gets its splits as such.
    """
    try:
        ref, root = located(run_fn)
    except PipelineError:
        # Defined inside another function, as in a unit test by `Trainer.call`: a pipeline has no such run_fn.
        return fn_args
    imports = ModuleImports.of([ref], root)
    if not imports.legacy:
        return fn_args
    if fn_args.train_steps is None:
        steps = math.ceil(examples.rows[train_split] / fn_args.batch_size) * fn_args.epochs
        print(f"the pipeline gives no train_steps=: {steps:,}, of {fn_args.epochs} epochs of batches of its size")
        fn_args = replace(fn_args, train_steps=steps)
    if fn_args.eval_steps is None and eval_split is not None:
        fn_args = replace(fn_args, eval_steps=math.ceil(examples.rows[eval_split] / fn_args.batch_size))
    if imports.attributes & _READERS:
        splits = [train_split, *([eval_split] if eval_split is not None else [])]
        files = write_tf_records(examples, Path(fn_args.working_dir) / "tf_records", splits=splits)
        print(f"{ref.module} reads TFRecord files: it gets the rows as such, gzip")
        fn_args = replace(fn_args, train_files=files[train_split], eval_files=files.get(eval_split or "", []))
    return fn_args
