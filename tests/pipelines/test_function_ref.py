"""User functions travel by a stable name and a digest, and are loaded only when their code is the same."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from headrace.pipelines.errors import CodeChanged, PipelineError
from headrace.pipelines.function_ref import FunctionRef, import_project_module, module_name, project_root

MODULE_LEVEL: Callable[[int], int] = lambda x: x + 1  # noqa: E731


class Maker:
    def method(self) -> None: ...

    @classmethod
    def make(cls) -> Maker:
        return cls()


@pytest.fixture(autouse=True)
def own_modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    modules, path = dict(sys.modules), list(sys.path)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - set(modules):
        del sys.modules[name]


def write(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / f"{name.replace('__dash__', '-').replace('__slash__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
    return root


def project(root: Path, **files: str) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / "pyproject.toml").touch()
    return write(root, **files)


# Names


@pytest.mark.parametrize("mark", ["pyproject.toml", "setup.py", ".git"])
def test_the_root_is_the_nearest_marked_folder(tmp_path: Path, mark: str) -> None:
    (tmp_path / "outer").mkdir()
    (tmp_path / "setup.py").touch()
    (tmp_path / "outer" / mark).mkdir() if mark == ".git" else (tmp_path / "outer" / mark).touch()
    file = tmp_path / "outer" / "a" / "b" / "pipeline.py"
    assert project_root(file) == tmp_path / "outer"
    assert module_name(file) == "a.b.pipeline"


def test_a_file_outside_any_project_is_its_own_project(tmp_path: Path) -> None:
    assert project_root(tmp_path / "pipeline.py") == tmp_path
    assert module_name(tmp_path / "pipeline.py") == "pipeline"


def test_the_src_layout_and_packages(tmp_path: Path) -> None:
    root = project(tmp_path, src__slash__shop__slash____init__="", src__slash__shop__slash__model="def f(): return 7")
    assert module_name(root / "src/shop/model.py") == "shop.model"
    assert module_name(root / "src/shop/__init__.py") == "shop"
    assert FunctionRef.of("shop.model:f", root=root).load(root)() == 7


@pytest.mark.parametrize(("file", "said"), [("v1.2/a.py", "dot"), ("a.b.py", "dot"), ("a.ipynb", ".py file")])
def test_a_file_that_cannot_be_a_module_is_refused(tmp_path: Path, file: str, said: str) -> None:
    with pytest.raises(PipelineError, match=said):
        module_name(tmp_path / file, tmp_path)


def test_a_file_above_the_root_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="below the project root"):
        module_name(tmp_path / "a.py", tmp_path / "inner")


# Making a reference


def test_from_a_text_from_a_file_and_from_the_function_are_equal(tmp_path: Path) -> None:
    root = project(tmp_path, jobs__slash__model="import absent\ndef run_fn(x): return x\ndef other(): 0\nA = 1")
    by_name = FunctionRef.of("jobs.model:run_fn", root=root)
    by_file = FunctionRef.from_module_file(root / "jobs/model.py")
    assert by_file["run_fn"] == by_name
    assert list(by_file) == ["run_fn", "other"]
    write(root, jobs__slash__model="def run_fn(x): return x\n")
    function = import_project_module("jobs.model", root).run_fn
    assert FunctionRef.of(function) == FunctionRef.of("jobs.model:run_fn", root=root)


def test_json_round_trip_and_unknown_keys() -> None:
    ref = FunctionRef.of(json.dumps)
    assert FunctionRef.from_json(json.loads(json.dumps(ref.to_json()))) == ref
    with pytest.raises(PipelineError, match="code_digest"):
        FunctionRef.from_json({"module": "m"})


def test_a_module_that_was_imported_under_another_name_gets_its_stable_name(tmp_path: Path) -> None:
    root = project(tmp_path, examples__slash__flow="from sibling import helper\ndef f(): return helper()")
    write(root, examples__slash__sibling="def helper(): return 3")
    module = import_project_module("examples.flow", root)
    assert module.f() == 3
    assert FunctionRef.of(module.helper, root=root).module == "examples.sibling"
    assert set(FunctionRef.of(module.f).digest(root).parts) == {"examples.flow:f", "examples.sibling:helper"}


def test_what_can_travel() -> None:
    assert FunctionRef.of(MODULE_LEVEL).qualname == "MODULE_LEVEL"
    assert FunctionRef.of(Maker.make).qualname == "Maker.make"
    assert FunctionRef.of(Maker).qualname == "Maker"
    assert FunctionRef.of("json:dumps").load() is json.dumps


def inner() -> Callable[[], None]:
    def within() -> None: ...

    return within


class Callable_:
    def __call__(self) -> None: ...


@pytest.mark.parametrize(
    ("function", "said", "repair"),
    [
        (inner(), "within, defined inside inner", "move within to the top level"),
        ([lambda x: x][0], "lambda without a name", "write it as a def"),
        (functools.partial(json.dumps, indent=1), "functools.partial of dumps", "write a def that calls it"),
        (Maker().method, "method bound to Maker", "write a def that makes the object"),
        (Callable_(), "an object of Callable_", "write a def"),
        ("json.dumps", "'package.module:name'", "a colon"),
        ("json:dumsp", "did you mean json:dump", ""),
        ("jsn_missing.x:f", "neither below", "install"),
    ],
)
def test_what_cannot_travel_is_refused_with_the_repair(function: Any, said: str, repair: str) -> None:
    with pytest.raises(PipelineError) as caught:
        FunctionRef.of(function)
    assert said in str(caught.value) and repair in str(caught.value)


def test_a_missing_module_file_names_its_neighbours(tmp_path: Path) -> None:
    write(tmp_path, taxi_utils="")
    with pytest.raises(PipelineError, match=r"taxi_utils\.py"):
        FunctionRef.from_module_file(tmp_path / "taxi_util.py")


# Loading


def test_load_refuses_other_code_but_not_other_formatting(tmp_path: Path) -> None:
    root = project(tmp_path, model="def f(x): return x + 1")
    ref = FunctionRef.of("model:f", root=root)
    assert ref.load(root)(1) == 2
    write(root, model="# moved\n\ndef f(x):\n    'doc'\n    return x+1")
    assert ref.load(root)(1) == 2
    assert ref.portable().load(root)(1) == 2
    write(root, model="def f(x): return x + 2")
    with pytest.raises(CodeChanged, match="model:f"):
        ref.load(root)


def test_load_names_the_nearest_module_when_there_is_none(tmp_path: Path) -> None:
    root = project(tmp_path, model="def f(): return 1")
    with pytest.raises(PipelineError, match=r"did you mean model\?"):
        FunctionRef("modle", "f", "0").load(root)


def test_an_edit_is_seen_by_a_process_that_lives_on(tmp_path: Path) -> None:
    root = project(tmp_path, model="from rates import R\ndef f(): return R")
    for value in range(1, 5):
        write(root, rates=f"R = {value}")
        assert FunctionRef.of("model:f", root=root).load(root)() == value


def test_two_projects_with_the_same_names_in_one_process(tmp_path: Path) -> None:
    one = project(tmp_path / "one", pkg__slash____init__="", pkg__slash__m="from pkg.n import K\ndef f(): return K")
    two = project(tmp_path / "two", pkg__slash____init__="", pkg__slash__m="from pkg.n import K\ndef f(): return K")
    write(one, pkg__slash__n="K = 1")
    write(two, pkg__slash__n="K = 2")
    for root, expected in ((one, 1), (two, 2), (one, 1)):
        assert FunctionRef.of("pkg.m:f", root=root).load(root)() == expected


def test_dashes_and_plain_folders(tmp_path: Path) -> None:
    root = project(tmp_path, my__dash__jobs__slash__flow__dash__2="def f(): return 5")
    name = module_name(root / "my-jobs/flow-2.py")
    assert name == "my-jobs.flow-2"
    assert FunctionRef.of(f"{name}:f", root=root).load(root)() == 5


def test_the_root_shadows_neither_the_standard_library_nor_installed_packages(tmp_path: Path) -> None:
    root = project(tmp_path, flow="import random, yaml\ndef f(): return random.__file__, yaml.__file__", random="X = 1")
    (root / "yaml").mkdir()
    code = (
        "from headrace.pipelines.function_ref import FunctionRef as Ref\n"
        f"print(*Ref.of('flow:f', root={str(root)!r}).load({str(root)!r})())"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert str(root) not in output


def test_a_file_whose_name_is_taken_is_refused(tmp_path: Path) -> None:
    root = project(tmp_path, random="def f(): return 1")
    with pytest.raises(PipelineError, match="taken by the standard library"):
        FunctionRef.from_module_file(root / "random.py")


def test_a_plain_folder_wins_over_an_installed_package_of_its_name(tmp_path: Path) -> None:
    root = project(tmp_path / "project", jobs__slash__flow="def f(): return 8")
    site = write(tmp_path / "site-packages", jobs__slash____init__="", jobs__slash__other="")
    code = (
        f"import sys; sys.path.append({str(site)!r}); from headrace.pipelines.function_ref import FunctionRef as Ref\n"
        f"print(Ref.of('jobs.flow:f', root={str(root)!r}).load({str(root)!r})())"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "8"


SCRIPT = """
    from headrace.pipelines.function_ref import FunctionRef, import_project_module
    import sys
    def f(): return __name__
    print(FunctionRef.of(f).module)
    if __name__ == "__main__":
        assert FunctionRef.of(f).load("{root}") is f
        assert import_project_module("jobs.flow", "{root}") is sys.modules["__main__"]
"""


def test_a_script_run_as_main_keeps_its_stable_name(tmp_path: Path) -> None:
    root = project(tmp_path)
    write(root, jobs__slash__flow=SCRIPT.replace("{root}", str(root)))
    output = subprocess.run([sys.executable, "jobs/flow.py"], cwd=root, capture_output=True, text=True, check=True)
    assert output.stdout.split() == ["jobs.flow"]


def test_no_bare_folder_of_this_repository_is_imported() -> None:
    root = Path(__file__).parents[2]
    code = (
        "import sys; from headrace.pipelines.function_ref import import_project_module, module_name\n"
        f"name = module_name({str(root / 'benchmarks' / 'x.py')!r}); assert name == 'benchmarks.x', name\n"
        "from headrace.pipelines.function_ref import FunctionRef, _put_on_path; from pathlib import Path\n"
        f"_put_on_path((Path({str(root)!r}),)); import headrace.pipelines.errors\n"
        "print([n for n in ('components', 'pipelines', 'transforms', 'kubeflow') if n in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"
