"""Where the time of a call goes: matrix products, copies, and the rest, layer by layer.

python -m benchmarks.shares [--only TEXT]
"""

from __future__ import annotations

import argparse
import cProfile
import pstats

from benchmarks.layers import LAYERS
from benchmarks.peers import OPERATIONS, of_npconv, problem

#: Functions of npconv by what they do; their own time, without that of what they call.
PARTS = {
    "product": ("_product",),
    "copies": ("gather", "_copy_band", "_positions", "_scatter", "load", "_packed", "_fill"),
}


def shares(layer: str, operation: str, repeats: int = 5) -> dict[str, float]:
    """Return the share of each part in the time of some calls, and of all else."""
    call = of_npconv(problem(LAYERS[layer], "float64"), operation)
    call()
    profile = cProfile.Profile()
    for _ in range(repeats):
        profile.runcall(call)
    found = pstats.Stats(profile).get_stats_profile()
    total = found.total_tt
    times = {
        part: sum(
            found.func_profiles[name].tottime for name in names if name in found.func_profiles
        )
        for part, names in PARTS.items()
    }
    return {part: time / total for part, time in times.items()} | {
        "rest": 1 - sum(times.values()) / total
    }


def main() -> None:
    """Print a line for each layer and operation."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", metavar="TEXT", help="layers that hold this text")
    options = parser.parse_args()
    for layer in LAYERS:
        for operation in OPERATIONS if options.only in layer else ():
            parts = shares(layer, operation)
            print(
                f"{layer:26} {operation:12}", *(f"{k} {100 * v:3.0f} %" for k, v in parts.items())
            )


if __name__ == "__main__":
    main()
