"""The order of the package's files, its public names, what its import costs, its docstrings."""

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from types import ModuleType

import pytest

import npconv
from npconv import definition

#: The same on every NumPy.
pytestmark = pytest.mark.once

PACKAGE = Path(npconv.__file__).parent

#: A file imports only from files above it; a star stands for files that do not import one another.
ORDER = (
    "geometry",
    "windows",
    "formats",
    "correlate",
    "formulas",
    "arguments",
    "conv",
    "definition",
    "splitting",
    "operands",
    "rounding",
    "exact",
    "bounds",
    "compare",
    "oracle/__init__",
    "oracle/words",
    "oracle/cases",
    "oracle/conditions",
    "oracle/data",
    "oracle/guards",
    "oracle/covering",
    "oracle/designs",
    "oracle/families",
    "oracle/suites",
    "oracle/judge",
    "oracle/suspects/fault",
    "oracle/suspects/tools",
    "oracle/suspects/[a-z]*",
    "oracle/suspects/__init__",
    "oracle/protocol",
    "oracle/trial",
    "oracle/probe",
    "oracle/expectations",
    "oracle/report",
    "oracle/run",
    "oracle/diagnosis/sights",
    "oracle/diagnosis/rules",
    "oracle/diagnosis/matching",
    "oracle/diagnosis/[a-z]*",
    "oracle/diagnosis/__init__",
    "workers",
    "oracle/check",
    "oracle/layers",
    "oracle/junit",
    "oracle/page/markup",
    "oracle/page/reads",
    "oracle/page/shares",
    "oracle/page/pictures",
    "oracle/page/charts",
    "oracle/page/example",
    "oracle/page/parameters",
    "oracle/page/__init__",
    "adapters/tensors",
    "adapters/pads",
    "adapters/onnx_models",
    "adapters/*_adapter",
    "adapters/__init__",
    "strategies",
    "casetests",
    "testing",
    "__init__",
    "console",
    "cli",
    "pytest_plugin",
    "__main__",
)

#: Upward imports that are meant, with the reason.
EXCEPTIONS = {
    (
        "oracle/check",
        "__init__",
    ): "the version, which stands in __init__ alone, goes into each report",
}

#: Besides Python and NumPy, what a file may import when it is itself imported.
EXTRAS = {"pytest_plugin": {"pytest"}, "strategies": {"hypothesis"}}

PARAMETER_SECTIONS = ("Parameters", "Returns", "Raises", "Examples")


def files(package: Path) -> dict[str, ast.Module]:
    """Syntax trees of a package's files, by path without suffix."""
    return {
        path.relative_to(package).with_suffix("").as_posix(): ast.parse(path.read_text("utf-8"))
        for path in sorted(package.rglob("*.py"))
    }


def imported(package: str, name: str, tree: ast.AST, known: set[str]) -> Iterator[str]:
    """Files of the package that a file imports, anywhere in it, absolutely or relatively."""

    def file(parts: list[str]) -> str | None:
        joined = "/".join(parts)
        candidates = (joined, f"{joined}/__init__" if parts else "__init__")
        return next((candidate for candidate in candidates if candidate in known), None)

    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first, *rest = alias.name.split(".")
                if first == package:
                    yield file(rest) or alias.name
        elif isinstance(node, ast.ImportFrom):
            base = (node.module or "").split(".") if node.module else []
            if node.level:
                base = [package, *name.split("/")[: -node.level], *base]
            if base[:1] == [package]:
                for alias in node.names:
                    yield file([*base[1:], alias.name]) or file(base[1:]) or ".".join(base)


def place(name: str) -> int | None:
    """Position of a file in the order."""
    return next((index for index, entry in enumerate(ORDER) if fnmatch(name, entry)), None)


def breaches(root: Path, exceptions: dict[tuple[str, str], str]) -> list[str]:
    """Files outside the order, imports that do not go up in it, exceptions that are none."""
    trees = files(root)
    found = [f"{name} has no place" for name in trees if place(name) is None]
    unused = set(exceptions)
    for name, tree in trees.items():
        for other in imported(root.name, name, tree, set(trees)):
            here, there = place(name), place(other)
            if here is None or there is None or there < here:
                if there is None and other not in trees:
                    found.append(f"{name} imports {other}, which is no file")
            elif (name, other) in exceptions:
                unused.discard((name, other))
            else:
                found.append(f"{name} imports {other}")
    return [*found, *(f"{name} does not import {other}" for name, other in sorted(unused))]


def test_files_import_only_from_files_above() -> None:
    """Each file of the package has its place, and imports only what stands above it."""
    assert breaches(PACKAGE, EXCEPTIONS) == []


@pytest.mark.parametrize(
    ("files_of", "message"),
    [
        ({"geometry": "", "windows": "from npconv.geometry import Axis"}, []),
        (
            {"geometry": "from npconv.windows import flip", "windows": ""},
            ["geometry imports windows"],
        ),
        ({"geometry": "import npconv.windows as w", "windows": ""}, ["geometry imports windows"]),
        ({"geometry": "from . import windows", "windows": ""}, ["geometry imports windows"]),
        ({"geometry": "from .windows import flip", "windows": ""}, ["geometry imports windows"]),
        (
            {"geometry": "def f():\n    from npconv import windows", "windows": ""},
            ["geometry imports windows"],
        ),
        ({"conv": "from npconv.conv import conv2d"}, ["conv imports conv"]),
        (
            {"formats": "from npconv import __version__", "__init__": ""},
            ["formats imports __init__"],
        ),
        ({"formats": "import npconv", "__init__": ""}, ["formats imports __init__"]),
        ({"conv": "from npconv.oracle import run", "oracle/run": ""}, ["conv imports oracle/run"]),
        (
            {"conv": "from npconv.oracle import run", "oracle/__init__": ""},
            ["conv imports oracle/__init__"],
        ),
        (
            {"oracle/cases": "from .run import x", "oracle/run": ""},
            ["oracle/cases imports oracle/run"],
        ),
        ({"oracle/cases": "from ..cli import main", "cli": ""}, ["oracle/cases imports cli"]),
        (
            {
                "adapters/a_adapter": "from npconv.adapters import b_adapter",
                "adapters/b_adapter": "",
            },
            ["adapters/a_adapter imports adapters/b_adapter"],
        ),
        ({"helpers": ""}, ["helpers has no place"]),
        (
            {"conv": "from npconv.helpers import x"},
            ["conv imports npconv.helpers, which is no file"],
        ),
    ],
)
def test_the_rule_of_imports_can_fail(
    tmp_path: Path, files_of: dict[str, str], message: list[str]
) -> None:
    """In a made-up package every form of a wrong import, and a file without a place, is found."""
    for name, text in files_of.items():
        path = tmp_path / "npconv" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    assert breaches(tmp_path / "npconv", {}) == message


def test_the_rule_of_imports_notices_exceptions_that_are_none(tmp_path: Path) -> None:
    """A wrong import that is listed passes; one that is listed and not there does not."""
    (tmp_path / "npconv").mkdir()
    (tmp_path / "npconv" / "windows.py").touch()
    (tmp_path / "npconv" / "geometry.py").write_text("from npconv import windows", "utf-8")
    listed = {("geometry", "windows"): "a reason"}
    assert breaches(tmp_path / "npconv", listed) == []
    (tmp_path / "npconv" / "geometry.py").write_text("", "utf-8")
    assert breaches(tmp_path / "npconv", listed) == ["geometry does not import windows"]


def roots(nodes: Iterator[ast.AST]) -> set[str]:
    """Top-level packages that these statements import absolutely."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").split(".")[0])
    return found


def outside_functions(tree: ast.AST) -> Iterator[ast.AST]:
    """Nodes that run when a module is imported."""
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield node
            yield from outside_functions(node)


def test_files_need_only_python_and_numpy() -> None:
    """Whatever else a file uses, it imports inside a function, but for the fronts of pytest."""
    for name, tree in files(PACKAGE).items():
        foreign = roots(outside_functions(tree)) - sys.stdlib_module_names - {"numpy", "npconv"}
        assert foreign <= EXTRAS.get(name, set()), name


@pytest.mark.parametrize("name", ["definition", "geometry"])
def test_definition_and_geometry_need_only_python(name: str) -> None:
    """The definition and the size arithmetic import neither NumPy nor the rest of the package."""
    assert roots(ast.walk(files(PACKAGE)[name])) <= sys.stdlib_module_names


def test_numbers_are_multiplied_in_the_contraction_and_the_formulas_alone() -> None:
    """No matrix product, einsum or dot stands in geometry, windows, formats, arguments or conv."""
    products = {"matmul", "einsum", "dot", "tensordot", "vdot", "inner"}
    for name in ("geometry", "windows", "formats", "arguments", "conv"):
        tree = files(PACKAGE)[name]
        used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert not used & products, name
        assert not any(isinstance(node, ast.MatMult) for node in ast.walk(tree)), name


def test_public_names_are_sorted_and_complete() -> None:
    """`__all__` is sorted, each name exists, and nothing else public is there."""
    assert list(npconv.__all__) == sorted(set(npconv.__all__))
    public = {
        name
        for name, value in vars(npconv).items()
        if not name.startswith("_")
        and (not isinstance(value, ModuleType) or name in npconv.__all__)
    }
    assert public == set(npconv.__all__)


def test_definition_has_the_same_calls() -> None:
    """The definition offers each conv2d call, with the same parameters in the same order."""
    calls = [name for name in npconv.__all__ if name.startswith("conv2d")]
    assert calls == list(definition.__all__)
    for name in calls:
        ours, theirs = (
            inspect.signature(getattr(m, name)).parameters for m in (npconv, definition)
        )
        assert [(p.name, p.kind, p.default) for p in ours.values()] == [
            (p.name, p.kind, p.default) for p in theirs.values()
        ]


def test_import_loads_no_third_party_library_but_numpy() -> None:
    """`import npconv` brings in neither torch nor pytest nor Hypothesis nor ml_dtypes nor tqdm."""
    script = "import sys, npconv; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=PACKAGE.parent,
    )
    loaded = set(done.stdout.split())
    assert {"npconv", "numpy"} <= loaded
    assert not loaded & {
        "torch",
        "pytest",
        "_pytest",
        "hypothesis",
        "ml_dtypes",
        "tqdm",
        "jax",
        "scipy",
    }


def test_definition_loads_without_numpy() -> None:
    """definition.py runs where there is no NumPy at all, and gives its answers."""
    script = (
        "import sys, importlib.util as u; sys.modules['numpy'] = None;"
        f"s = u.spec_from_file_location('definition', {str(PACKAGE / 'definition.py')!r});"
        "m = u.module_from_spec(s); sys.modules['definition'] = m; s.loader.exec_module(m);"
        "print(m.conv2d([[[1, 2, 3], [4, 5, 6]]], [[[[1, 10]]]]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[[[21, 32], [54, 65]]]"


def sections(text: str) -> list[str]:
    """Numpydoc sections of a docstring, in order."""
    return re.findall(r"^(\w[\w ]*)\n-{3,}$", inspect.cleandoc(text), re.MULTILINE)


@pytest.mark.parametrize(
    "name", [name for name in npconv.__all__ if not inspect.ismodule(getattr(npconv, name))]
)
def test_public_docstrings_hold_all_sections(name: str) -> None:
    """Each call has numpydoc's sections in order, an example, and a line for every parameter."""
    function = getattr(npconv, name)
    text = inspect.getdoc(function)
    assert text
    found = [section for section in sections(text) if section in PARAMETER_SECTIONS]
    assert found == list(PARAMETER_SECTIONS)
    assert ">>> " in text.split("Examples\n--------")[1]
    described = re.search(r"Parameters\n-+\n(.*?)\n\n\w+\n---", text, re.DOTALL)
    assert described
    names = {
        n.strip()
        for line in re.findall(r"^(\S[^:\n]*)", described[1], re.MULTILINE)
        for n in line.split(",")
    }
    assert set(inspect.signature(function).parameters) <= names


@pytest.mark.parametrize(
    "name", [n for n in npconv.__all__ if n.startswith("conv2d") and n != "conv2d_backward"]
)
def test_docstrings_of_the_calls_hold_formula_and_source(name: str) -> None:
    """Each call states its formula in index notation and where it comes from."""
    text = inspect.getdoc(getattr(npconv, name))
    assert text
    assert ":math:" in text or ".. math::" in text
    assert "Source: " in text


def test_every_file_says_what_lives_in_it() -> None:
    """Each file of the package begins with a docstring."""
    for name, tree in files(PACKAGE).items():
        assert ast.get_docstring(tree), name
