"""The official messages of KFP's IR, from the package `kfp-pipeline-spec`, without importing `kfp`.

Both packages share the folder `kfp/`: where the SDK is installed too, `import kfp.pipeline_spec` runs `kfp/__init__.py`
first, which takes half a second.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from headrace.pipelines.errors import HeadraceError

_FILE = Path("kfp/pipeline_spec/pipeline_spec_pb2.py")


@functools.cache
def pipeline_spec_pb2() -> ModuleType:
    """Gives the module with `PipelineSpec`, `PlatformSpec` and the messages within them.

    Raises:
        HeadraceError: `kfp-pipeline-spec` is not installed.
    """
    if "kfp" in sys.modules:
        return importlib.import_module("kfp.pipeline_spec.pipeline_spec_pb2")
    file = next((found for entry in sys.path if (found := Path(entry or ".") / _FILE).is_file()), None)
    if file is None:
        raise HeadraceError("kfp-pipeline-spec is not installed: pip install kfp-pipeline-spec")
    # Under a name of its own: `import kfp.pipeline_spec` later finds nothing half-made. Messages of the same file come
    # from one descriptor pool, so that both modules have the same classes.
    spec = importlib.util.spec_from_file_location("headrace_kfp_pipeline_spec_pb2", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
