"""Each test checks something: one that only runs would pass whatever comes out."""

import ast
from pathlib import Path

TESTS = Path(__file__).parent
FAIL_BY_THEMSELVES = {"raises", "warns", "fail", "wait_until", "wait_for", "wait_for_diagnostics"}


def is_check(node: ast.AST, helpers: frozenset[str]) -> bool:
    if isinstance(node, ast.Call):
        called = node.func
        name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
        return name in FAIL_BY_THEMSELVES or name.lstrip("_").startswith("assert_") or name in helpers
    return isinstance(node, ast.Assert)


def unchecked(source: str) -> list[str]:
    """Names of the tests of a module that neither check nor call a function of the module that does."""
    functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]

    def checking(helpers: frozenset[str]) -> frozenset[str]:
        return frozenset(
            function.name
            for function in functions
            if any(is_check(node, helpers) for node in ast.walk(function))
        )

    known = checking(checking(frozenset()))
    return [f.name for f in functions if f.name.startswith("test_") and f.name not in known]


def test_every_test_checks_something():
    modules = sorted(TESTS.rglob("test_*.py"))
    assert len(modules) > 100
    found = {path.relative_to(TESTS): unchecked(path.read_text(encoding="utf-8")) for path in modules}
    assert {path: names for path, names in found.items() if names} == {}


def test_one_that_only_runs_is_found():
    source = """
def runs(): print(1)
def checks(): assert 1
def test_runs(): runs()
def test_checks(): checks()
def test_compares(): np.testing.assert_allclose(1, 1)
"""
    assert unchecked(source) == ["test_runs"]
