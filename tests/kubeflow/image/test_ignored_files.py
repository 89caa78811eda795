"""`.dockerignore` as Docker reads it: the examples of its own documentation and tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from headrace.kubeflow.image.ignored_files import Patterns, project_files


# https://github.com/moby/patternmatcher/blob/main/patternmatcher_test.go and Docker's documentation
@pytest.mark.parametrize(
    ("pattern", "path", "ignored"),
    [
        ("*/temp*", "somedir/temporary.txt", True),
        ("*/temp*", "somedir/subdir/temporary.txt", False),
        ("*/*/temp*", "somedir/subdir/temporary.txt", True),
        ("temp?", "tempa", True),
        ("temp?", "temp", False),
        ("**", "file", True),
        ("**", "dir/file", True),
        ("**/", "dir/file", True),
        ("dir/**", "dir/file", True),
        ("dir/**", "dir/dir2/file", True),
        ("**/dir", "dir/file", True),
        ("**/dir2/*", "dir/dir2/file", True),
        ("**/dir2/*", "dir/dir2/dir2/file", True),
        ("**file", "dir/dir/file", True),
        ("**/file*txt", "dir/file.txt", True),
        ("**/**/*.txt", "dir/dir/file.txt", True),
        ("a**/*.txt", "a/file.txt", True),
        ("a[b-d]e", "ace", True),
        ("a[b-d]e", "aze", False),
        ("abc.def", "abcdef", False),
        ("abc?def", "abc/def", False),
        ("a\\*b", "a*b", True),
        ("a\\*b", "axb", False),
        ("/docs", "docs/x", True),
        ("docs/", "docs/x", True),
        ("./docs", "docs/x", True),
        ("doc", "docs", False),
    ],
)
def test_a_pattern_matches_what_dockers_does(pattern: str, path: str, ignored: bool) -> None:
    assert Patterns([pattern]).match(path) is ignored


def test_the_last_line_that_matches_decides() -> None:
    lines = ["*.md", "!README*.md", "README-secret.md", "# a comment", "", "  "]
    patterns = Patterns(lines)
    names = ("a.md", "README.md", "README-secret.md", "# a comment")
    assert [patterns.match(name) for name in names] == [True, False, True, False]
    assert not Patterns(["*.md", "README-secret.md", "!README*.md"]).match("README-secret.md")


def test_a_projects_files_are_its_code(tmp_path: Path) -> None:
    for name in (
        "pipeline.py",
        "pkg/model.py",
        "pkg/__pycache__/model.pyc",
        ".git/config",
        ".headrace/store.db",
        ".venv/bin/python",
        ".env",
        "data/big.csv",
        "data/keep.csv",
        "requirements.txt",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    assert list(project_files(tmp_path)) == [
        "data/big.csv",
        "data/keep.csv",
        "pipeline.py",
        "pkg/model.py",
        "requirements.txt",
    ]
    (tmp_path / ".dockerignore").write_text("data\n!data/keep.csv\n.dockerignore\n!.env\n")
    assert list(project_files(tmp_path)) == [
        ".env",
        "data/keep.csv",
        "pipeline.py",
        "pkg/model.py",
        "requirements.txt",
    ]
