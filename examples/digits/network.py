"""The network of the lessons, and how it learns: two convolutions, a dense layer, momentum."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import npconv
from examples.digits.layers import (
    BACK,
    IMAGES,
    KERNELS,
    KERNELS_BACK,
    Array,
    Conv,
    ConvLast,
    Dense,
    Layer,
    Relu,
    cross_entropy,
    he_normal,
)

LAYOUTS = ("channels-first", "channels-last")


@dataclass(frozen=True, slots=True)
class Sizes:
    """What the shapes of the parameters follow from."""

    image: int = 8
    first: int = 8
    second: int = 16
    kernel: int = 3
    stride: int = 2
    padding: int = 1
    classes: int = 10

    @property
    def seen(self) -> int:
        """Rows, and columns, of the maps that the dense layer sees."""
        full = self.image + 2 * self.padding - self.kernel + 1
        return (full + 2 * self.padding - self.kernel) // self.stride + 1


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the network learns."""

    epochs: int = 6
    batch: int = 32
    rate: float = 0.05
    momentum: float = 0.9

    def steps(self, images: int) -> int:
        """Return how many steps are made on so many images."""
        return self.epochs * -(-images // self.batch)

    def batches(self, images: int, rng: np.random.Generator) -> Iterator[Array]:
        """Yield the positions of each step's images: all of them, shuffled, in each epoch."""
        for _ in range(self.epochs):
            order = rng.permutation(images)
            for start in range(0, images, self.batch):
                yield order[start : start + self.batch]


def initial(rng: np.random.Generator, sizes: Sizes) -> list[Array]:
    """Draw the parameters, channels first: weights of He's scale, each before a bias of zeros."""
    kernel = (sizes.kernel, sizes.kernel)
    parameters = []
    for shape in (
        (sizes.first, 1, *kernel),
        (sizes.second, sizes.first, *kernel),
        (sizes.classes, sizes.second * sizes.seen**2),
    ):
        parameters += [he_normal(rng, shape, math.prod(shape[1:])), np.zeros(shape[0])]
    return parameters


class Network:
    """Convolution, ReLU, convolution with a stride, ReLU, dense; softmax and cross-entropy behind.

    Parameters
    ----------
    parameters : sequence of numpy.ndarray
        As from `initial`: channels first, whatever the layout. They are copied.
    sizes : Sizes
        What they were drawn for.
    recipe : Recipe
        How to learn.
    layout : str
        Whether images come as (n, c, h, w) or as (n, h, w, c).
    calls : module or object
        Has `conv2d` and `conv2d_backward`: npconv, or an implementation of your own.
    """

    def __init__(
        self,
        parameters: Sequence[Array],
        sizes: Sizes,
        recipe: Recipe,
        layout: str = "channels-first",
        calls: Any = npconv,
    ) -> None:
        self.sizes, self.recipe, self.last = sizes, recipe, layout == "channels-last"
        w1, b1, w2, b2, w3, b3 = self._stored([np.array(array) for array in parameters])
        conv = ConvLast if self.last else Conv
        self.layers: list[Layer] = [
            conv(w1, b1, 1, sizes.padding, calls),
            Relu(),
            conv(w2, b2, sizes.stride, sizes.padding, calls),
            Relu(),
            Dense(w3, b3),
        ]
        self.velocities = [np.zeros_like(array) for array in self.parameters]

    @property
    def parameters(self) -> list[Array]:
        """Weights and biases of all layers as they are stored: arrays that learning changes."""
        return [array for layer in self.layers for array in layer.parameters]

    @property
    def gradients(self) -> list[Array]:
        """The gradients of the last step in the same order."""
        return [array for layer in self.layers for array in layer.gradients]

    def scores(self, images: Array) -> Array:
        """Return a score for each image and class."""
        for layer in self.layers:
            images = layer.forward(images)
        return images

    def accuracy(self, images: Array, labels: Array) -> float:
        """Return the share of images whose largest score is the label's."""
        return float(np.mean(self.scores(images).argmax(axis=1) == labels))

    def step(self, images: Array, labels: Array) -> float:
        """Learn from a batch; return its loss."""
        loss, error = cross_entropy(self.scores(images), labels)
        for layer in reversed(self.layers):
            error = layer.backward(error)
        for p, g, v in zip(self.parameters, self.gradients, self.velocities, strict=True):
            v[...] = self.recipe.momentum * v + g
            p[...] = p - self.recipe.rate * v
        return loss

    def learn(self, images: Array, labels: Array, rng: np.random.Generator) -> Iterator[float]:
        """Follow the recipe, and yield the loss of each step."""
        for batch in self.recipe.batches(len(images), rng):
            yield self.step(images[batch], labels[batch])

    def channels_first(self, arrays: Sequence[Array]) -> list[Array]:
        """Return arrays in the order of `parameters` with their axes as `initial` has them."""
        w1, b1, w2, b2, w3, b3 = arrays
        if not self.last:
            return [w1, b1, w2, b2, w3, b3]
        maps = w3.reshape(-1, self.sizes.seen, self.sizes.seen, self.sizes.second)
        rows = maps.transpose(IMAGES).reshape(w3.shape)
        return [w1.transpose(KERNELS), b1, w2.transpose(KERNELS), b2, rows, b3]

    def _stored(self, arrays: Sequence[Array]) -> list[Array]:
        """Undo `channels_first`."""
        w1, b1, w2, b2, w3, b3 = arrays
        if not self.last:
            return [w1, b1, w2, b2, w3, b3]
        w1, w2 = (np.ascontiguousarray(w.transpose(KERNELS_BACK)) for w in (w1, w2))
        maps = w3.reshape(-1, self.sizes.second, self.sizes.seen, self.sizes.seen)
        return [w1, b1, w2, b2, maps.transpose(BACK).reshape(w3.shape), b3]
