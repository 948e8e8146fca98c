"""Train the network on digits and say how many of those held out it reads right.

    python -m examples.digits.train [--layout channels-last] [--seed 1]

takes a few seconds. It needs scikit-learn for its digits, and shows a bar where tqdm is installed.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from importlib.util import find_spec

import numpy as np

from examples.digits.data import digits
from examples.digits.layers import BACK
from examples.digits.network import LAYOUTS, Network, Recipe, Sizes, initial


def shown(losses: Iterable[float], total: int) -> Iterator[float]:
    """Yield the losses, behind a progress bar where there is tqdm, else with lines."""
    if find_spec("tqdm"):
        from tqdm import tqdm

        with tqdm(losses, total=total, unit="step") as bar:
            for loss in bar:
                bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
                yield loss
        return
    for step, loss in enumerate(losses, start=1):
        if step % 100 == 0:
            print(f"step {step} of {total}: loss {loss:.3f}")  # noqa: T201
        yield loss


def main(arguments: list[str] | None = None) -> float:
    """Train, print, and return the accuracy."""
    parser = argparse.ArgumentParser(description="train a small network on handwritten digits")
    parser.add_argument("--layout", choices=LAYOUTS, default=LAYOUTS[0])
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    rng = np.random.default_rng(asked.seed)
    images, labels, held_out, right = digits(rng)
    if asked.layout == "channels-last":
        images, held_out = images.transpose(BACK), held_out.transpose(BACK)
    sizes, recipe = Sizes(), Recipe()
    network = Network(initial(rng, sizes), sizes, recipe, asked.layout)
    losses = list(shown(network.learn(images, labels, rng), recipe.steps(len(images))))
    found = network.accuracy(held_out, right)
    print(  # noqa: T201
        f"{asked.layout}, seed {asked.seed}: loss {losses[0]:.3f} at the start, "
        f"{np.mean(losses[-10:]):.3f} over the last ten steps; "
        f"{found:.1%} of {len(right)} digits held out are read right"
    )
    return found


if __name__ == "__main__":
    main()
