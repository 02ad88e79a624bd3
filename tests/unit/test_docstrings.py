"""Every module, and every public class, function and method, says what it is."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
SOURCE = Path(__file__).resolve().parents[2] / "src" / "edgebench"
FILES = sorted(file for file in SOURCE.rglob("*.py") if file.read_text().strip())
TREES = {file: ast.parse(file.read_text()) for file in FILES}
CLASSES = {node.name: node for tree in TREES.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}


def bases(node: ast.ClassDef) -> list[str]:
    """Names of the classes that `node` inherits from."""
    return [ast.unparse(base).split("[")[0].rpartition(".")[2] for base in node.bases]


def described(node: ast.ClassDef, method: str) -> bool:
    """Whether a class of edgebench above `node` says what `method` is, so that an override need not."""
    above = [CLASSES[name] for name in bases(node) if name in CLASSES]
    own = [each for parent in above for each in public(parent.body) if each.name == method]
    return any(ast.get_docstring(each) for each in own) or any(described(parent, method) for parent in above)


def public(body: list[ast.stmt]) -> Iterator[Definition]:
    for node in body:
        if isinstance(node, Definition) and not node.name.startswith("_"):
            yield node


def undocumented(tree: ast.Module) -> Iterator[str]:
    for node in public(tree.body):
        if not ast.get_docstring(node):
            yield node.name
        # What a protocol asks for may be said once, where the protocol is described.
        if not isinstance(node, ast.ClassDef) or "Protocol" in bases(node):
            continue
        for method in public(node.body):
            if not ast.get_docstring(method) and not described(node, method.name):
                yield f"{node.name}.{method.name}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(SOURCE).as_posix())
def test_is_documented(file: Path) -> None:
    assert ast.get_docstring(TREES[file]), f"{file.name} begins without a docstring"
    assert list(undocumented(TREES[file])) == []


def test_sees_what_is_missing() -> None:
    source = "class A:\n  '''Yes.'''\n  def b(self): ...\n  def _c(self): ...\ndef d(): ...\ndef e():\n  '''Yes.'''"
    assert list(undocumented(ast.parse(source))) == ["A.b", "d"]
