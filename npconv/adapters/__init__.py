"""Targets: what a user names becomes an `Implementation`; engines are imported when asked for."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from npconv.adapters.tensors import from_torch, to_torch
from npconv.oracle.protocol import Implementation, NotAnImplementationError
from npconv.oracle.trial import printing_aside

__all__ = ["NAMES", "TargetError", "describe", "from_torch", "load", "to_torch", "traceback_of"]


class Adapter(NamedTuple):
    """Where an adapter stands: its module here, the mode that its `adapter` is given, its extra."""

    module: str
    mode: str = ""
    extra: str = ""


#: Adapters by name. `adapter()` of a module with modes takes one of them.
ADAPTERS = {
    "definition": Adapter("definition"),
    "formulas": Adapter("formulas"),
    "jax": Adapter("jax", "nchw", "jax"),
    "jax-nhwc": Adapter("jax", "nhwc", "jax"),
    "mlx": Adapter("mlx", extra="mlx"),
    "onnx-reference": Adapter("onnx", "reference", "onnx"),
    "onnxruntime": Adapter("onnx", "onnxruntime", "onnxruntime"),
    "opencv": Adapter("onnx", "opencv", "opencv"),
    "openvino": Adapter("onnx", "openvino", "openvino"),
    "scipy": Adapter("scipy", extra="scipy"),
    "tensorflow": Adapter("tensorflow", extra="tensorflow"),
    "tinygrad": Adapter("tinygrad", extra="tinygrad"),
    "torch": Adapter("torch", "plain", "torch"),
    "torch-channels-last": Adapter("torch", "channels_last", "torch"),
    "torch-compile": Adapter("torch", "compile", "torch"),
    "torch-cuda": Adapter("torch", "cuda", "torch"),
    "torch-cuda-channels-last": Adapter("torch", "cuda_channels_last", "torch"),
    "torch-cuda-tf32": Adapter("torch", "cuda_tf32", "torch"),
    "torch-native": Adapter("torch", "native", "torch"),
    "torch-nn-grad": Adapter("torch", "nn_grad", "torch"),
}
NAMES = tuple(ADAPTERS)
#: Beginnings of the files whose frames say nothing of a target: npconv, and the import system.
_OURS = (
    f"{Path(__file__).parents[1]}{os.sep}",
    f"{Path(importlib.__file__).parent}{os.sep}",
    "<frozen importlib",
)


class TargetError(Exception):
    """The target is not found, cannot be imported, or is no implementation."""


def traceback_of(error: BaseException) -> str:
    """Return a traceback from the first frame that is neither npconv's nor the import system's."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(_OURS):
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames)).rstrip()


def load(target: str) -> Implementation:
    """Return the implementation that a target names.

    Parameters
    ----------
    target : str
        An adapter's name, ``package.module:attribute``, ``path/to/file.py`` or
        ``path/to/file.py:attribute``.

    Raises
    ------
    TargetError
        If there is no such file, module or attribute, if it has none of the functions, or if
        importing it raises: the message then ends with the traceback.
    """
    found = _find(target)
    try:
        # An instance may have to be made.
        with printing_aside():
            return Implementation.of(found, target)
    except NotAnImplementationError as error:
        raise TargetError(str(error)) from None
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # as for its import
        raise _not_imported(target, error) from error


def describe(target: str) -> str:
    """Return what a report says of a target: its name, and its engine's version where it tells."""
    version = getattr(_find(target), "version", None)
    return f"{target} {version()}" if target in NAMES and callable(version) else target


def _find(target: str) -> Any:
    if target in ADAPTERS:
        module, mode, extra = ADAPTERS[target]
        try:
            with printing_aside():
                functions = importlib.import_module(f"npconv.adapters.{module}_adapter")
                return functions.adapter(*[mode] if mode else [])
        except ModuleNotFoundError as error:
            raise TargetError(
                f"target {target!r} needs the package {error.name}: pip install 'npconv[{extra}]'"
            ) from None
        except NotImplementedError as error:
            raise TargetError(f"target {target!r} cannot run here: {error}") from None
        except Exception as error:
            raise _not_imported(target, error) from error
    place, colon, attribute = target.rpartition(":")
    if target.endswith(".py"):
        place, attribute = target, ""
    elif not colon or not place or not attribute:
        raise TargetError(_form(target))
    found: Any
    try:
        with printing_aside():
            found = _from_file(Path(place)) if place.endswith(".py") else _module(target, place)
    except (TargetError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a script that ends Python must not end this command
        raise _not_imported(target, error) from error
    for name in attribute.split(".") if attribute else ():
        try:
            found = getattr(found, name)
        except AttributeError:
            near = _meant(name, dir(found))
            raise TargetError(
                f"target {target!r}: {place} has no attribute {attribute!r}{near}"
            ) from None
    return found


def _form(target: str) -> str:
    forms = f"{', '.join(NAMES)}, package.module:attribute, path/to/file.py[:attribute]"
    place, _, attribute = target.partition(":")
    beside = f"{place}.py"
    near = (
        f"; did you mean {beside}{':' + attribute if attribute else ''}?"
        if place and Path(beside).is_file()
        else _meant(target, NAMES)
    )
    what = "is a folder, and " if target and Path(target).is_dir() else ""
    return f"target {target!r} {what}must be one of {forms}{near}"


def _meant(name: str, known: Iterable[str]) -> str:
    """Return a question that names what was perhaps meant; nothing where nothing is alike."""
    near = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {near[0]}?" if near else ""


def _not_imported(target: str, error: BaseException) -> TargetError:
    fact = (
        "ended Python while it was imported (a script's own run belongs under "
        "`if __name__ == '__main__':`)"
        if isinstance(error, SystemExit)
        else "cannot be imported"
    )
    return TargetError(f"target {target!r} {fact}\n{traceback_of(error)}")


def _module(target: str, name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise TargetError(_form(target))
    # The command's own folder comes first, as for `python -m`.
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            beside = Path(*name.split(".")).with_suffix(".py")
            near = f"; did you mean {beside}?" if beside.is_file() else ""
            raise TargetError(f"target {target!r}: there is no module {name!r}{near}") from None
        raise


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        beside = path.parent
        files = (str(other) for other in beside.glob("*.py")) if beside.is_dir() else ()
        raise TargetError(f"there is no file {str(path)!r}{_meant(str(path), files)}")
    resolved = path.resolve()
    name = f"_npconv_target_{resolved.stem}_{abs(hash(str(resolved)))}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, resolved)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    # A file's neighbours can be imported from it, as when it is run as a script; once it is
    # imported they come last, so that none of them hides a module that npconv needs.
    folder = str(resolved.parent)
    sys.path.insert(0, folder)
    try:
        # Workers must find the target under the name that it was given here.
        with contextlib.chdir(Path.cwd()):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        if folder in sys.path:
            sys.path.remove(folder)
        sys.path.append(folder)
    return module
