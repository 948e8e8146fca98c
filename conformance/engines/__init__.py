"""Real engines under the suite: the adapters of each, what is run, where it goes."""

from __future__ import annotations

from pathlib import Path

from npconv.adapters import ADAPTERS

ROOT = Path(__file__).parents[2]
EXPECTATIONS = Path(__file__).parent / "expectations"
FINDINGS = Path(__file__).parent / "findings"
RECORDS = Path(__file__).parents[1] / "recorded" / "engines"

#: What a tox environment is called for each engine.
PREFIX = "engine-"

#: What is run of an adapter that would take hours for the whole of `standard`: torch.compile, XLA
#: and tinygrad compile each case anew. tinygrad's begins where it meets each of its expectations.
SHARES = {
    "jax": "standard[::13]",
    "jax-nhwc": "standard[::13]",
    "tinygrad": "standard[17::37]",
    "torch-compile": "standard[::97]",
}

#: Of the cases of accuracy such an adapter is asked every so many.
SPARSELY = 7

#: Adapters that need a device: the runner says that they are left out where it is missing.
CUDA = tuple(name for name, found in ADAPTERS.items() if found.mode.startswith("cuda"))


def engines() -> dict[str, tuple[str, ...]]:
    """Return the adapters of each engine, which is called as its extra in pyproject.toml.

    Examples
    --------
    >>> from conformance.engines import engines
    >>> engines()["jax"]
    ('jax', 'jax-nhwc')
    """
    found: dict[str, tuple[str, ...]] = {}
    for name, adapter in ADAPTERS.items():
        if adapter.extra:
            found[adapter.extra] = (*found.get(adapter.extra, ()), name)
    return found


def adapters_of(name: str) -> tuple[str, ...]:
    """Return the adapters that a name stands for: an engine's, or one; none where there are none.

    Examples
    --------
    >>> from conformance.engines import adapters_of
    >>> adapters_of("engine-jax"), adapters_of("jax-nhwc"), adapters_of("jacks")
    (('jax', 'jax-nhwc'), ('jax-nhwc',), ())
    """
    engine = name.removeprefix(PREFIX)
    known = engines()
    if engine in known:
        return known[engine]
    return (name,) if any(name in names for names in known.values()) else ()


def suite_of(name: str) -> str:
    """Return the suite that an adapter is recorded on."""
    return SHARES.get(name, "standard")


def record_of(name: str, folder: Path = RECORDS) -> Path:
    """Return where an adapter's report is recorded."""
    return folder / f"{name}.json"


def accuracy_of(name: str, folder: Path = RECORDS) -> Path:
    """Return where an adapter's accuracy is recorded."""
    return folder / f"{name}.accuracy.json"
