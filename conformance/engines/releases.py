"""Find bugs that are publicly known in releases that have them, and not in repaired ones.

``python -m conformance.engines.releases`` installs each release with the bug and one without it,
in environments of their own and of whatever Python they need, and runs the same suite on both
through the same adapter, without any choice made for the bug. The bug is found where results fail
under the condition that its report names, and do not fail in the repaired release. What was done
is kept in ``conformance/recorded/releases.json``; ``--page`` writes docs/releases.md from it. The
exit status is 1 if a bug is not found, or still there in the repaired release.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from npconv.oracle.conditions import Condition
from npconv.oracle.report import write_whole
from npconv.oracle.suites import suite_named

ROOT = Path(__file__).parents[2]
RECORD = ROOT / "conformance" / "recorded" / "releases.json"
PAGE = ROOT / "docs" / "releases.md"
BRIDGE = Path(__file__).parent / "release_adapters" / "bridge.py"
COMMAND = "python -m conformance.engines.releases"
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"

GITHUB = "https://github.com"
#: Characters of what was said that the page shows: an engine's own messages may be long.
LONGEST = 120


@dataclass(frozen=True, slots=True)
class Release:
    """What is installed: a name for it, the Python that it needs, and requirements for pip."""

    name: str
    python: str
    requirements: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Bug:
    """A bug as its report tells it, a release that has it and one that has not."""

    name: str
    says: str
    #: Where it was reported, and where the repair is told of.
    reported: str
    repaired: str
    #: The module of `release_adapters` that calls both releases.
    engine: str
    bad: Release
    fixed: Release
    #: The cases that the report speaks of, in the language of conditions.
    trigger: str
    ops: tuple[str, ...]
    suite: str = "quick"


def _torch(version: str, python: str, numpy: str = "1.21.6") -> Release:
    return Release(f"torch {version}", python, (f"torch=={version}", f"numpy=={numpy}"))


def _backpack(version: str) -> Release:
    pins = ("torch==1.3.1", "torchvision==0.4.2", "numpy==1.21.6")
    return Release(f"backpack {version}", "3.7", (f"backpack-for-pytorch=={version}", *pins))


def _opacus(version: str) -> Release:
    pins = (f"opacus=={version}", "torch==1.8.1", "numpy==1.21.6")
    return Release(f"opacus {version}", "3.8", pins)


def _chainer(version: str) -> Release:
    return Release(f"chainer {version}", "3.7", (f"chainer=={version}", "numpy==1.21.6"))


_DEPTHWISE_24 = (
    "depthwise and out_channels == in_channels == 24 and kernel_h == kernel_w == 3 "
    "and stride_h == stride_w == 2 and padding_top == padding_left == 1"
)

BUGS = (
    Bug(
        "torch-noncontiguous-weight",
        "oneDNN reads a weight that is not contiguous as if it were",
        f"{GITHUB}/pytorch/pytorch/issues/16018",
        f"{GITHUB}/pytorch/pytorch/pull/16301",
        "torch",
        _torch("1.0.0", "3.7"),
        _torch("1.0.1", "3.7"),
        "layout not in ('packed', 'readonly') and laid_out in ('all', 'weight')",
        ("forward",),
    ),
    Bug(
        "torch-grouped-16",
        "the second group's outputs are zero; outputs in 16s, less than 16 channels in a group",
        f"{GITHUB}/pytorch/pytorch/issues/19912",
        f"{GITHUB}/pytorch/pytorch/pull/18463",
        "torch", _torch("1.0.1", "3.7"), _torch("1.1.0", "3.7"),
        "groups > 1 and out_channels % 16 == 0 and channels_per_group < 16", ("forward",),
    ),
    Bug(
        "torch-stride-zero",
        "a stride of 0 divides by it, and the process dies",
        f"{GITHUB}/pytorch/pytorch/issues/27598",
        f"{GITHUB}/pytorch/pytorch/pull/28784",
        "torch", _torch("1.3.1", "3.7"), _torch("1.4.0", "3.7"),
        "illegal and (stride_h == 0 or stride_w == 0)", ("forward",),
    ),
    Bug(
        "torch-nn-grad-dilation",
        "`torch.nn.grad.conv2d_input` refuses what is dilated: it takes sizes without dilation",
        f"{GITHUB}/pytorch/pytorch/issues/16012",
        f"{GITHUB}/pytorch/pytorch/pull/33872",
        "torch_nn_grad", _torch("1.4.0", "3.7"), _torch("1.7.1", "3.8"),
        "dilation_h > 1 or dilation_w > 1", ("grad_input",),
    ),
    Bug(
        "torch-depthwise-24",
        "the weight's gradient lacks terms with 24 groups of one channel, not with 23 or 25",
        f"{GITHUB}/pytorch/pytorch/issues/50042",
        f"{GITHUB}/pytorch/pytorch/pull/53991",
        "torch", _torch("1.7.1", "3.8"), _torch("1.8.1", "3.8"),
        _DEPTHWISE_24, ("grad_weight",), "standard[13700:13800]",
    ),
    Bug(
        "torch-nn-grad-groups",
        "`torch.nn.grad.conv2d_weight` mixes groups up",
        f"{GITHUB}/pytorch/pytorch/issues/51430",
        f"{GITHUB}/pytorch/pytorch/pull/81839",
        "torch_nn_grad", _torch("1.7.1", "3.8"), _torch("2.13.0", "3.11", numpy="2.4.6"),
        "groups > 1 and not illegal", ("grad_weight",),
    ),
    Bug(
        "backpack-remainder",
        "the input's gradient fails where the stride leaves a remainder of rows or columns",
        f"{GITHUB}/f-dangel/backpack/issues/30",
        f"{GITHUB}/f-dangel/backpack/pull/31",
        "backpack", _backpack("1.1.0"), _backpack("1.1.1"),
        # The repaired release asks torch for a size that torch 1.3 takes for wrong under dilation.
        "(remainder_h > 0 or remainder_w > 0) and dilation_h == dilation_w == 1", ("grad_input",),
    ),
    Bug(
        "opacus-padding-axes",
        "gradients of single images take the padding of rows for columns, and of columns for rows",
        f"{GITHUB}/meta-pytorch/opacus/blob/main/CHANGELOG.md",
        f"{GITHUB}/meta-pytorch/opacus/pull/443",
        "opacus", _opacus("1.1.2"), _opacus("1.1.3"),
        # Both releases are wrong on inputs whose channels lie last, padded or not.
        "padding_top != padding_left and layout not in ('channels_last', 'channel_slice')",
        ("grad_weight",),
    ),
    Bug(
        "chainer-dilation-zero",
        "a dilation of 0 is accepted",
        f"{GITHUB}/chainer/chainer/issues/7304",
        f"{GITHUB}/chainer/chainer/pull/7499",
        "chainer", _chainer("6.0.0"), _chainer("6.1.0"),
        "illegal and (dilation_h == 0 or dilation_w == 0)", ("forward",),
    ),
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these bugs")
    parser.add_argument("--page", action="store_true", help="write the page and run nothing")
    parser.add_argument("--list", action="store_true", help="print the bugs' names and run nothing")
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir(), "npconv-releases"),
        help="where environments and reports are kept, and found again; default: %(default)s",
    )  # fmt: skip
    parser.add_argument("-j", "--jobs", type=int, default=1, metavar="N", help="default: 1")
    options = parser.parse_args(arguments)
    if options.list:
        print("\n".join(bug.name for bug in BUGS))
        return 0
    if not options.page:
        unknown = set(options.names) - {bug.name for bug in BUGS}
        if unknown:
            parser.error(f"no bugs of these names: {', '.join(sorted(unknown))}")
        for bug in BUGS:
            if not options.names or bug.name in options.names:
                found = measured(bug, options.folder, options.jobs)
                print(_line(found), flush=True)
                _write(_kept(), bug.name, found)
    record = _kept()
    PAGE.write_text(page(record), encoding="utf-8")
    return 0 if all(map(holds, record["bugs"].values())) else 1


def _kept() -> dict[str, Any]:
    """Return the record as it is, or an empty one."""
    with contextlib.suppress(FileNotFoundError):
        return json.loads(RECORD.read_text(encoding="utf-8"))  # type: ignore[no-any-return]
    return {"command": COMMAND, "bugs": {}}


def _write(record: Mapping[str, Any], name: str, found: Mapping[str, Any]) -> None:
    """Write the record with one more entry, in the order of the list."""
    entries = {**record["bugs"], name: found}
    ordered = {bug.name: entries[bug.name] for bug in BUGS if bug.name in entries}
    write_whole(json.dumps({**record, "bugs": ordered}, indent=1) + "\n", RECORD)


# ------------------------------------------------------------------ running


def measured(bug: Bug, folder: Path, jobs: int) -> dict[str, Any]:
    """Run the suite on both releases; return the bug's entry in the record."""
    reports = {
        which: _report(bug, release, folder, jobs)
        for which, release in (("bad", bug.bad), ("fixed", bug.fixed))
    }
    return entry(bug, reports["bad"], reports["fixed"])


def _report(bug: Bug, release: Release, folder: Path, jobs: int) -> dict[str, Any]:
    """Run the suite on a release, or read what an earlier run of the same says."""
    name = f"{release.name}-{bug.engine}-{bug.suite}"
    path = folder / f"{re.sub('[^a-z0-9_.]+', '-', name).strip('-')}.json"
    digest = suite_named(bug.suite).digest
    with contextlib.suppress(FileNotFoundError, ValueError):
        return _complete(path, digest)
    environment = os.environ | {
        "NPCONV_RELEASE_PYTHON": str(_installed(release, folder)),
        "NPCONV_RELEASE_ENGINE": bug.engine,
    }
    command = [
        sys.executable, "-m", "npconv", "check", f"{BRIDGE}:target", "--suite", bug.suite,
        "--timeout", "20", "-j", str(jobs), "--json", str(path),
    ]  # fmt: skip
    with path.with_suffix(".txt").open("w", encoding="utf-8") as said:
        subprocess.run(
            command, env=environment, check=False, stdout=said, stderr=subprocess.STDOUT
        )  # fmt: skip
    try:
        return _complete(path, digest)
    except (FileNotFoundError, ValueError) as error:
        raise SystemExit(f"{COMMAND}: {error}; see {path.with_suffix('.txt')}") from None


def _complete(path: Path, digest: str) -> dict[str, Any]:
    """Read a report; raise ValueError unless it is of the whole of this suite."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    done = len(_positions(found["done"]))
    if found["suite_digest"] != digest or done != found["length"]:
        raise ValueError(f"{path} has {done} of {found['length']} cases, or those of another suite")
    return found


def _installed(release: Release, folder: Path) -> Path:
    """Return the interpreter of the release's environment, made where it is not there."""
    home = folder / release.name.replace(" ", "-")
    python = home / "bin" / "python"
    done = home / "installed"
    if not done.exists() or done.read_text(encoding="utf-8") != repr(release):
        subprocess.run([_interpreter(release.python), "-m", "venv", "--clear", home], check=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--no-cache-dir"]
        environment = {k: v for k, v in os.environ.items() if k != "PIP_CONSTRAINT"}
        subprocess.run([*pip, *release.requirements], check=True, env=environment)
        done.write_text(repr(release), encoding="utf-8")
    return python


def _interpreter(version: str) -> str:
    """Return a Python of a version, from the path or from pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    places = [
        *(Path(place, f"python{version}") for place in os.get_exec_path()),
        *pyenv.glob(f"versions/{version}.*/bin/python{version}"),
    ]
    for place in places:
        if place.is_file() and "shims" not in place.parts:
            return str(place)
    raise SystemExit(f"{COMMAND}: there is no python{version}, on the path or in {pyenv}")


# ------------------------------------------------------------------ judging


def entry(bug: Bug, bad: Mapping[str, Any], fixed: Mapping[str, Any]) -> dict[str, Any]:
    """Say what two reports on one suite come to."""
    suite = suite_named(bug.suite)
    trigger = Condition.parse(bug.trigger)
    within = {position for position in range(len(suite)) if trigger.holds(suite[position])}
    failing = {
        which: {(op, p) for op in bug.ops for p in within & _positions(report["failed"][op])}
        for which, report in (("bad", bad), ("fixed", fixed))
    }
    found = failing["bad"] - failing["fixed"]
    diagnoses = [_diagnosis(d, found, suite) for d in bad["diagnoses"] if d["op"] in bug.ops]
    return {
        "name": bug.name,
        "suite": bug.suite,
        "suite_digest": bad["suite_digest"],
        "environment": {key: bad["environment"][key] for key in ("cpu", "numpy", "python")},
        "bad": _summary(bug.bad, bad, failing["bad"]),
        "fixed": _summary(bug.fixed, fixed, failing["fixed"]),
        "found": len(found),
        "smallest": min((suite[p] for _, p in found), key=lambda case: case.plainness).id
        if found
        else None,
        "kinds": _kinds(bad, bug, {suite[p].id for _, p in found}),
        "diagnoses": diagnoses,
    }


def _summary(
    release: Release, report: Mapping[str, Any], failing: Iterable[tuple[str, int]]
) -> dict[str, Any]:
    """Return what the record keeps of a run."""
    return {
        "release": release.name,
        "python": release.python,
        "results": sum(sum(counts.values()) for counts in report["ops"].values()),
        "failures": report["failures_total"],
        "within": len(set(failing)),
        "seconds": report["seconds"],
    }


def _kinds(report: Mapping[str, Any], bug: Bug, cases: set[str]) -> list[str]:
    """Return the kinds of failure seen under the trigger, as far as details are kept."""
    return sorted(
        {f["kind"] for f in report["failures"] if f["op"] in bug.ops and f["case"] in cases}
    )


def _diagnosis(
    diagnosis: Mapping[str, Any], found: set[tuple[str, int]], suite: Any
) -> dict[str, Any]:
    """Return what was said, and of how many of the bug's failing results it speaks."""
    own = [suite[position] for op, position in found if op == diagnosis["op"]]
    text = diagnosis["condition"]
    condition = None if text is None else Condition.parse(text)
    return {
        key: diagnosis[key] for key in ("op", "suspect", "says", "condition", "failing", "smallest")
    } | {
        "covers": sum(condition is not None and condition.holds(case) for case in own),
        "of": len(own),
    }


def _positions(stretches: Iterable[Sequence[int]]) -> set[int]:
    return {position for start, stop in stretches for position in range(start, stop)}


def holds(found: Mapping[str, Any]) -> bool:
    """Whether a bug was found, and is gone in the repaired release."""
    return found["found"] > 0 and found["fixed"]["within"] == 0


def _line(found: Mapping[str, Any]) -> str:
    return (
        f"{found['name']}: {found['bad']['within']} results fail under the trigger in "
        f"{found['bad']['release']}, {found['fixed']['within']} in {found['fixed']['release']}"
    )


# ------------------------------------------------------------------ the page


def page(record: Mapping[str, Any]) -> str:
    """Return the page with the tables that the record gives."""
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    table = "\n".join(_rows(record))
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{rest.split(END)[1]}"


def _rows(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of both tables."""
    known = {bug.name: bug for bug in BUGS}
    entries = [(known[name], found) for name, found in record["bugs"].items()]
    yield "| bug | release with it | fail there | repaired release | fail there | seen as |"
    yield "|---|---|---|---|---|---|"
    for bug, found in entries:
        yield (
            f"| [{bug.says}]({bug.reported}) | {_run(found['bad'])} | {found['bad']['within']} "
            f"| {_run(found['fixed'])}, [repair]({bug.repaired}) | {found['fixed']['within']} "
            f"| {', '.join(found['kinds'])} |"
        )
    yield ""
    yield "| release | as the report has it | what npconv says | its condition | covers |"
    yield "|---|---|---|---|---|"
    for bug, found in entries:
        said = [d for d in found["diagnoses"] if d["covers"] or d["condition"] is None] or [None]
        for first, diagnosis in zip([True] + [False] * len(said), said, strict=False):
            name = f"{found['bad']['release']}, {', '.join(bug.ops)}" if first else ""
            trigger = f"`{bug.trigger}`" if first else ""
            yield f"| {name} | {trigger} | {_told(diagnosis)} |"


def _run(run: Mapping[str, Any]) -> str:
    return f"{run['release']} (Python {run['python']})"


def _told(diagnosis: Mapping[str, Any] | None) -> str:
    """Return the last cells of a row: what was said, of which cases, of how many of the bug's."""
    if diagnosis is None:
        return "nothing | | "
    suspect = f" [{diagnosis['suspect']}]" if diagnosis["suspect"] else ""
    says = textwrap.shorten(diagnosis["says"], LONGEST, placeholder=" ...") + suspect
    says = says.replace("|", "\\|")
    condition = f"`{diagnosis['condition']}`" if diagnosis["condition"] else "none"
    return f"{says} | {condition} | {diagnosis['covers']} of {diagnosis['of']}"


if __name__ == "__main__":
    sys.exit(main())
