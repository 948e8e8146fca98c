"""Handwritten digits that come with scikit-learn: nothing is downloaded.

They stand in for EMNIST, which is the same task with larger images and must be fetched: these are
1,797 real digits of 8 by 8 pixels, the test half of E. Alpaydin and C. Kaynak, 'Optical Recognition
of Handwritten Digits' (UCI Machine Learning Repository, 1998), in 17 greys.
"""

from __future__ import annotations

import numpy as np

from examples.digits.layers import Array

#: Images kept aside to measure accuracy with.
HELD_OUT = 397


def digits(rng: np.random.Generator) -> tuple[Array, Array, Array, Array]:
    """Return images (n, 1, 8, 8) from 0 to 1 and labels to learn from, and those held out."""
    from sklearn.datasets import load_digits

    known = load_digits()
    order = rng.permutation(len(known.target))
    images, labels = known.images[order, np.newaxis] / 16.0, known.target[order]
    return images[HELD_OUT:], labels[HELD_OUT:], images[:HELD_OUT], labels[:HELD_OUT]
