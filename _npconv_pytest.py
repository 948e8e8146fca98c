"""The options of npconv's pytest plugin, outside of the package, whose import brings in NumPy.

pytest loads this file in every run. What the options ask for is in `npconv.pytest_plugin`, which is
imported when one of them is given.
"""

from __future__ import annotations

import pytest

_PREFIX = "npconv::"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("npconv", "npconv: the oracle for 2-D convolution")
    group.addoption(
        "--npconv",
        metavar="TARGET",
        help="run npconv's suite on this implementation, as `npconv check` does: an adapter's "
        "name, package.module:attribute or path/to/file.py[:attribute]. Without paths, no test "
        "files are collected.",
    )
    group.addoption(
        "--npconv-suite",
        metavar="SUITE",
        help="quick, standard (the default), exhaustive, or a part such as 'standard[0::10]'",
    )
    group.addoption(
        "--npconv-cases",
        metavar="FILE",
        help="instead of a suite: a file of case ids and layer shapes, or the name of a list",
    )
    group.addoption("--npconv-ops", metavar="OP[,OP]", help="only these operations")
    group.addoption("--npconv-dtype", metavar="D[,D]", help="only cases in these dtypes")
    group.addoption(
        "--npconv-without",
        metavar="FEATURE",
        action="append",
        default=[],
        help="leave out a feature, or the cases of a condition; may be repeated",
    )
    group.addoption(
        "--npconv-arithmetic", metavar="NAME", help="judge as this arithmetic, such as tf32"
    )
    group.addoption(
        "--npconv-expect", metavar="FILE", help="known failures with reasons: they xfail"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the plugin where it is asked for; take its own node ids out of the paths."""
    option = config.option
    given = [argument for argument in config.args if argument.startswith(_PREFIX)]
    if given:
        # As pytest prints them after a failure; workers of xdist get them as an option.
        config.args[:] = [argument for argument in config.args if argument not in given]
        option.npconv_select = given
        option.npconv = option.npconv or given[0].removeprefix(_PREFIX).partition("[")[0]
    if option.npconv is None:
        alone = [name for name, value in vars(option).items() if name[:7] == "npconv_" and value]
        if alone:
            raise pytest.UsageError(f"--{alone[0].replace('_', '-')} needs --npconv TARGET")
        return
    if config.args_source is not config.ArgsSource.ARGS:
        # Nothing was named: the suite alone is meant, not all tests below this folder.
        config.args[:] = []
    from npconv.pytest_plugin import SuitePlugin

    config.pluginmanager.register(SuitePlugin(config), "npconv-suite")
