"""Targets: what each form of a name loads, what is said of one that does not load, the engines."""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import npconv
from npconv import adapters, formats
from npconv.adapters import TargetError
from npconv.oracle.check import report_on
from npconv.oracle.protocol import OPS
from npconv.oracle.report import Report, Tally
from npconv.oracle.run import Plan, run

GOOD = "from npconv import conv2d, conv2d_backward\n"
#: What adapters import.
ENGINES = (
    "cv2", "jax", "mlx", "onnx", "onnxruntime", "openvino", "scipy", "tensorflow", "tinygrad",
    "torch",
)  # fmt: skip


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run in an empty folder; forget the modules and paths that a test has loaded."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if "kernel" in name or "target" in name:
            del sys.modules[name]


def write(path: str, text: str = GOOD) -> Path:
    """Write a file, and the folders that it lies in."""
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file.absolute()


def report(target: str, suite: str) -> Report:
    """Run a share of a suite on a target."""
    tally, plan = Tally(), Plan(adapters.load, target, suite)
    assert not run(plan, tally)
    return report_on(plan, tally, True, target=target, described=target)


# ---------------------------------------------------------------- forms of names


@pytest.mark.parametrize(
    ("target", "ops"),
    [
        ("kernel.py", OPS),
        ("./kernel.py", OPS),
        ("kernel.py:conv2d", ("forward",)),
        ("kernel.py:Holder", OPS[1:]),
        ("kernel.py:Holder.conv2d_backward", ("forward",)),
        ("sub folder/other kernel.py", OPS),
        ("kernel:conv2d", ("forward",)),
        ("kernel_package.inner:conv2d", ("forward",)),
        ("kernel_package:inner", OPS),
    ],
)
def test_target_is_found(target: str, ops: Any) -> None:
    """A file, its attribute, a module's attribute and a dotted one are loaded from where one is."""
    write("kernel.py", f"{GOOD}class Holder:\n    conv2d_backward = conv2d_backward\n")
    write("sub folder/other kernel.py")
    write("kernel_package/__init__.py", "from . import inner\n")
    write("kernel_package/inner.py")
    found = adapters.load(target)
    assert found.name == target
    assert found.supports.ops == ops


def test_absolute_path_is_found(tmp_path: Path) -> None:
    """An absolute path serves from any folder."""
    path = write("kernel.py")
    os.chdir("/")
    assert adapters.load(str(path)).supports.ops == OPS
    assert adapters.load(f"{path}:conv2d").supports.ops == ("forward",)
    os.chdir(tmp_path)


def test_file_is_loaded_once() -> None:
    """A file that is named twice, described and loaded, runs once."""
    write("kernel.py", f"{GOOD}from pathlib import Path\nPath('runs').open('xb').close()\n")
    adapters.describe("kernel.py")
    adapters.load("kernel.py")
    adapters.load("kernel.py:conv2d")
    assert Path("runs").is_file()


def test_file_finds_its_neighbours() -> None:
    """A file imports what lies beside it, when it is loaded and when it is called."""
    write("there/kernel_helper.py", "from npconv import conv2d\n")
    write("there/kernel_late.py", "from npconv import conv2d_bias\n")
    write(
        "there/kernel.py",
        "from kernel_helper import conv2d\n"
        "def conv2d_bias(*a):\n    import kernel_late\n    return kernel_late.conv2d_bias(*a)\n",
    )
    target = adapters.load("there/kernel.py")
    assert target.functions["conv2d_bias"](np.ones((1, 1, 1, 1))) == 1


def test_neighbours_hide_nothing_once_the_file_is_loaded() -> None:
    """A file beside the target that is called as a module of Python's does not take its place."""
    write("there/wave.py", "raise RuntimeError('hidden')\n")
    write("there/kernel.py")
    adapters.load("there/kernel.py")
    sys.modules.pop("wave", None)
    import wave

    assert hasattr(wave, "Wave_read")


def test_file_may_change_the_path() -> None:
    """A file that takes its own folder from sys.path is loaded all the same."""
    write("kernel.py", f"import sys\nsys.path.clear()\n{GOOD}")
    assert adapters.load("kernel.py").supports.ops == OPS


# ------------------------------------------------------------- what is not found


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("", "target '' must be one of definition, formulas, jax, "),
        ("", ", torch-nn-grad, package.module:attribute, path/to/file.py[:attribute]"),
        ("pytorch", "target 'pytorch' must be one of definition"),
        ("kernel", "target 'kernel' must be one of"),
        ("folder.py/inner", "target 'folder.py/inner' is a folder, and must be one of"),
        ("kernel:", "target 'kernel:' must be one of"),
        (":conv2d", "target ':conv2d' must be one of"),
        ("..kernel:conv2d", "target '..kernel:conv2d' must be one of"),
        ("a b:conv2d", "target 'a b:conv2d' must be one of"),
        ("kernel.py:conv2d:more", "target 'kernel.py:conv2d:more' must be one of"),
        ("absent.py", "there is no file 'absent.py'"),
        ("absent.py:conv2d", "there is no file 'absent.py'"),
        ("folder.py", "there is no file 'folder.py'"),
        ("kernel.py:absent", "target 'kernel.py:absent': kernel.py has no attribute 'absent'"),
        ("kernel.py:conv2d.absent", "kernel.py has no attribute 'conv2d.absent'"),
        ("kernel.py:", "target 'kernel.py:' must be one of"),
        ("kernel:absent", "target 'kernel:absent': kernel has no attribute 'absent'"),
        ("absent:conv2d", "target 'absent:conv2d': there is no module 'absent'"),
        ("kernel.absent:conv2d", "there is no module 'kernel.absent'"),
        ("kernel.py:number", "kernel.py:number must be a function or have one of conv2d"),
        ("empty_kernel.py", "empty_kernel.py must be a function or have one of conv2d, conv2d_ba"),
        ("declared_kernel.py", "declared_kernel.py: supports has no 'dtype'; there are ops"),
    ],
)
def test_target_that_is_none_gives_one_line(target: str, says: str) -> None:
    """What names nothing, or nothing that can be tested, raises TargetError in one line."""
    write("kernel.py", f"{GOOD}number = 5\n")
    write("empty_kernel.py", "")
    write("declared_kernel.py", f"{GOOD}supports = {{'dtype': 'float32'}}\n")
    Path("folder.py", "inner").mkdir(parents=True)
    with pytest.raises(TargetError, match=re.escape(says)) as caught:
        adapters.load(target)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("def helper():\n    return absent\n\n\nhelper()\n", "NameError: name 'absent' is not def"),
        ("def (\n", "SyntaxError: invalid syntax"),
        ("import kernel_absent\n", "ModuleNotFoundError: No module named 'kernel_absent'"),
        ("raise ImportError('no library')\n", "ImportError: no library"),
        ("\x00", "null bytes"),
    ],
    ids=["name", "syntax", "import", "library", "bytes"],
)
@pytest.mark.parametrize("form", ["kernel.py", "kernel:conv2d"])
def test_target_that_raises_shows_its_own_traceback(form: str, text: str, says: str) -> None:
    """An error in the user's file comes with the file's traceback, without npconv's frames."""
    path = write("kernel.py", text)
    with pytest.raises(TargetError) as caught:
        adapters.load(form)
    first, *rest = str(caught.value).splitlines()
    assert first == f"target {form!r} cannot be imported"
    assert says in rest[-1]
    assert "importlib" not in str(caught.value)
    assert os.path.dirname(npconv.__file__) not in str(caught.value)  # noqa: PTH120  # as text
    if "helper" in text:
        assert [line.strip() for line in rest if "File" in line] == [
            f'File "{path}", line 5, in <module>',
            f'File "{path}", line 2, in helper',
        ]


def test_target_that_raised_is_tried_again() -> None:
    """A file that could not be imported leaves nothing half loaded behind."""
    write("kernel.py", "raise ValueError\n")
    with pytest.raises(TargetError):
        adapters.load("kernel.py")
    write("kernel.py")
    assert adapters.load("kernel.py").supports.ops == OPS


def test_target_that_ends_python_is_an_error() -> None:
    """A script that calls sys.exit when imported does not end the program that imports it."""
    write("kernel.py", f"{GOOD}import sys\nsys.exit(0)\n")
    with pytest.raises(TargetError, match="ended Python while it was imported") as caught:
        adapters.load("kernel.py")
    assert "if __name__ == '__main__':" in str(caught.value)


def test_interrupt_while_importing_is_an_interrupt() -> None:
    """Ctrl-C during the import of a target is no error of the target."""
    write("kernel.py", "raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        adapters.load("kernel.py")


@pytest.mark.parametrize("name", [n for n, found in adapters.ADAPTERS.items() if found.extra])
def test_missing_engine_names_its_package(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An adapter whose package is missing says in one line how to get it."""
    for package in ENGINES:
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(TargetError) as caught:
        adapters.load(name)
    found = re.fullmatch(
        rf"target '{name}' needs the package (\w+)(\.\w+)?: pip install 'npconv\[(\w+)\]'",
        str(caught.value),
    )
    assert found is not None, str(caught.value)
    assert found[1] in ENGINES
    assert found[3] == adapters.ADAPTERS[name].extra


def test_broken_engine_shows_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that is there and cannot be loaded says why."""
    write("torch.py", "raise OSError('libtorch.so: cannot open shared object file')\n")
    for name in [name for name in sys.modules if name.split(".")[0] == "torch"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(".")
    with pytest.raises(TargetError, match="target 'torch' cannot be imported") as caught:
        adapters.load("torch")
    assert str(caught.value).endswith("OSError: libtorch.so: cannot open shared object file")


def test_what_a_target_prints_while_it_is_loaded_goes_to_stderr(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Prints at import, and of a class that is made an instance of, are kept off stdout."""
    write("kernel.py", f"{GOOD}print('at import')\n")
    write(
        "kernel_class.py",
        "import npconv\nclass Kernel:\n    def __init__(self):\n        print('made')\n"
        "    def conv2d(self, *a):\n        return npconv.conv2d(*a)\n",
    )
    adapters.load("kernel.py")
    adapters.load("kernel_class.py:Kernel")
    out, err = capsys.readouterr()
    assert (out, err) == ("", "at import\nmade\n")


def test_class_that_raises_when_it_is_made_shows_its_traceback() -> None:
    """An error in a class's own __init__ comes with the file's frames alone."""
    path = write(
        "kernel.py",
        "class Kernel:\n    def __init__(self):\n        raise OSError('no device')\n"
        "    def conv2d(self, *a):\n        return None\n",
    )
    with pytest.raises(TargetError) as caught:
        adapters.load("kernel.py:Kernel")
    first, *rest = str(caught.value).splitlines()
    assert first == "target 'kernel.py:Kernel' cannot be imported"
    assert [line.strip() for line in rest if "File" in line] == [
        f'File "{path}", line 3, in __init__'
    ]
    assert rest[-1] == "OSError: no device"


@pytest.mark.parametrize(
    ("target", "near"),
    [
        ("kernel.py:conv2", "conv2d"),
        ("kernel:conv2d_backwards", "conv2d_backward"),
        ("kernel.py:Holder.conv2", "conv2d"),
        ("kernl.py", "kernel.py"),
        ("there/kernal.py:conv2d", "there/kernel.py"),
        ("kernel", "kernel.py"),
        ("there.kernel", "there.kernel.py"),
        ("pytorch", "torch"),
        ("formula", "formulas"),
    ],
)
def test_name_that_is_nearly_right_is_asked_for(target: str, near: str) -> None:
    """A typo in an attribute, a file or an adapter's name ends in what was perhaps meant."""
    write("kernel.py", f"{GOOD}class Holder:\n    conv2d = conv2d\n")
    write("there/kernel.py")
    write("there.kernel.py")
    with pytest.raises(TargetError) as caught:
        adapters.load(target)
    assert str(caught.value).endswith(f"; did you mean {near}?")
    assert "\n" not in str(caught.value)


def test_name_that_is_like_nothing_is_not_asked_for() -> None:
    """Where nothing is alike, nothing is guessed."""
    write("kernel.py")
    for target in ("kernel.py:zzz", "qqqq", "qqqq.py"):
        with pytest.raises(TargetError) as caught:
            adapters.load(target)
        assert "did you mean" not in str(caught.value)


# -------------------------------------------------------------------- the engines


def test_names_are_the_adapters_that_are_there() -> None:
    """Each name has its file, and each file its name; names are in order."""
    files = Path(adapters.__file__).parent.glob("*_adapter.py")
    modules = {found.module for found in adapters.ADAPTERS.values()}
    assert {file.stem.removesuffix("_adapter") for file in files} == modules
    assert list(adapters.NAMES) == sorted(adapters.NAMES)


@pytest.mark.parametrize(
    ("name", "suite"), [("formulas", "quick[::5]"), ("definition", "quick[::31]")]
)
def test_own_engines_conform_to_all_that_can_be_asked(name: str, suite: str) -> None:
    """The formulas and the definition take every dtype, padding and layout, and conform."""
    supports = adapters.load(name).supports
    assert supports.dtypes == formats.available()
    assert supports.ops == OPS
    assert supports.padding == ("pair", "string", "four-sided")
    assert supports.unbatched
    assert supports.empty == ("batch", "channels")
    found = report(name, suite)
    assert found.failures == []
    assert found.tally.total("unsupported") == 0
    assert adapters.describe(name) == name


def test_torch_conforms() -> None:
    """PyTorch is asked what it declares, conforms on a share, and is described by its version."""
    torch = pytest.importorskip("torch", reason="compares with torch")
    found = report("torch", "quick[::5]")
    assert found.failures == []
    assert found.tally.total("passed") > 200
    assert adapters.describe("torch") == f"torch {torch.__version__}"


def test_torch_has_no_gradients_of_integers() -> None:
    """PyTorch's integer gradients are unsupported, not wrong; the output is judged."""
    pytest.importorskip("torch", reason="compares with torch")
    case = "n2c4f6g2-7x9-k3x2-s2x1-p1x0-d1x2-bias-m111-int64-packed-integers-seed0"
    tally = Tally()
    run(Plan(adapters.load, "torch", (case,)), tally)
    assert tally.counts["forward"]["passed"] == 1
    assert all(tally.counts[op]["unsupported"] == 1 for op in OPS[1:])


def test_torch_leaves_arguments_and_masked_gradients_alone() -> None:
    """With no gradient wanted torch's backward is not run and three None come back."""
    pytest.importorskip("torch", reason="compares with torch")
    x, w, g = np.ones((1, 1, 4, 5)), np.ones((1, 1, 2, 2)), np.ones((1, 1, 3, 4))
    backward = adapters.load("torch").functions["conv2d_backward"]
    for mask in ((False, False, False), (False, True, False)):
        results = backward(g, x, w, (1, 1), (0, 0), (1, 1), 1, mask)
        assert tuple(result is not None for result in results) == mask
