r"""How far apart two trainings of the same network may drift, when only roundings differ.

    python -m examples.digits.agreement

trains in NumPy and in torch, both in float64 from the same weights on the same batches, and
compares every step; then the same with channels last in place of torch.

Training amplifies: what one step rounds away, the next ones multiply. A bound for the whole way
would soon say nothing, so each step is judged on its own, from where the two stand when it begins:

1. Measure how far apart the two sets of parameters are, element by element.
2. Then the loss and each gradient may differ by what this distance comes to on its way through the
   network, and by what both sides' roundings add.
3. So may the parameters after the step.

If every step holds, nothing but roundings has ever driven the two apart. For a product of two
arrays a and b that are apart by at most A and B, with f the bilinear operation,

.. math::

    |f(a, b) - f(a', b')| \le f(A, |b|) + f(|a| + A, B) + 2\,\mathrm{bound}(|a| + A, |b| + B),

where bound is `npconv.error_bound`: any order of summation, fused or not. A dense layer is a
convolution whose kernel is a single tap. A ReLU passes distances on; where an input is no further
from zero than its distance, one of the two may pass an error that the other does not. Of exp and
log an error of at most four units in the last place is assumed, of NumPy's and of torch's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

import npconv
from examples.digits.layers import Array, Layer, cross_entropy, softmax
from examples.digits.network import Network, Recipe, Sizes, initial

#: Unit roundoff of float64; and what covers the roundings of the bounds themselves.
UNIT = 2.0**-53
SLACK = 1 + 2.0**-30


class TorchNetwork:
    """The network in torch, from the same parameters: its layers, its autograd, its optimiser."""

    def __init__(self, parameters: Sequence[Array], sizes: Sizes, recipe: Recipe) -> None:
        import torch

        self.sizes = sizes
        self.leaves = [torch.tensor(array, requires_grad=True) for array in parameters]
        self.optimizer = torch.optim.SGD(self.leaves, lr=recipe.rate, momentum=recipe.momentum)

    def step(self, images: Array, labels: Array) -> float:
        """Learn from a batch; return its loss."""
        import torch
        from torch.nn import functional

        w1, b1, w2, b2, w3, b3 = self.leaves
        x = torch.relu(functional.conv2d(torch.tensor(images), w1, b1, 1, self.sizes.padding))
        x = torch.relu(functional.conv2d(x, w2, b2, self.sizes.stride, self.sizes.padding))
        loss = functional.cross_entropy(
            functional.linear(x.flatten(1), w3, b3), torch.tensor(labels)
        )
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())

    @property
    def parameters(self) -> list[Array]:
        """The parameters, channels first."""
        return [leaf.detach().numpy() for leaf in self.leaves]

    @property
    def gradients(self) -> list[Array]:
        """The gradients of the last step."""
        return [leaf.grad.numpy() for leaf in self.leaves if leaf.grad is not None]

    @property
    def velocities(self) -> list[Array]:
        """What momentum keeps."""
        return [self.optimizer.state[leaf]["momentum_buffer"].numpy() for leaf in self.leaves]


class LastNetwork:
    """The network with channels last, on images that come channels first."""

    def __init__(self, parameters: Sequence[Array], sizes: Sizes, recipe: Recipe) -> None:
        self.network = Network(parameters, sizes, recipe, "channels-last")

    def step(self, images: Array, labels: Array) -> float:
        """Learn from a batch; return its loss."""
        return self.network.step(np.ascontiguousarray(images.transpose(0, 2, 3, 1)), labels)

    def __getattr__(self, name: str) -> list[Array]:
        """Return parameters, gradients or velocities, channels first."""
        return self.network.channels_first(getattr(self.network, name))


class Pair(NamedTuple):
    """An array's magnitudes, and how far the other training's may be from it: their difference."""

    size: Array
    difference: Array

    @classmethod
    def of(cls, mine: Array, other: Array) -> Pair:
        """Return what two arrays are apart."""
        return cls(np.abs(mine), mine - other)

    @property
    def apart(self) -> Array:
        """The size of the difference."""
        return np.abs(self.difference)

    @property
    def most(self) -> Array:
        """What the other's magnitudes are at the most."""
        return self.size + self.apart

    def shaped(self, *shape: int) -> Pair:
        """Return both in another shape."""
        return Pair(self.size.reshape(shape), self.difference.reshape(shape))


@dataclass(frozen=True, slots=True)
class Step:
    """One step of two trainings.

    Attributes
    ----------
    loss, other : float
        The losses.
    bound : float
        What they may differ by.
    ratio : float
        The largest of |difference| / bound, over the loss and every element of the gradients, the
        velocities and the parameters.
    """

    loss: float
    other: float
    bound: float
    ratio: float


def compare(
    network: Network, other: Any, images: Array, labels: Array, rng: np.random.Generator
) -> list[Step]:
    """Train both on the same batches, and judge each step."""
    steps: list[Step] = []
    rate, momentum = network.recipe.rate, network.recipe.momentum
    for batch in network.recipe.batches(len(images), rng):
        x, right = images[batch], labels[batch]
        parameters = _pairs(network.parameters, other.parameters)
        # Before the first step torch has no velocities: both are zero.
        velocities = _pairs(network.velocities, other.velocities if steps else network.velocities)
        loss_bound, bounds = _bounds(network, x, right, parameters)
        loss, theirs = network.step(x, right), other.step(x, right)
        ratios = [abs(loss - theirs) / loss_bound]
        after = (
            _pairs(network.gradients, other.gradients),
            _pairs(network.velocities, other.velocities),
            _pairs(network.parameters, other.parameters),
        )
        for p, v, bound, g, v_after, p_after in zip(
            parameters, velocities, bounds, *after, strict=True
        ):
            # v' = momentum * v + g, then p' = p - rate * v': two roundings each, on both sides,
            # and one more of the difference that is taken here.
            most = momentum * v.most + g.most
            grown = (
                p_after.difference - p.difference,
                v_after.difference - momentum * v.difference,
            )
            speed = bound + 6 * UNIT * most
            place = rate * (momentum * v.apart + speed) + 6 * UNIT * (p.most + rate * most)
            ratios += [
                _ratio(g.difference, bound),
                _ratio(grown[1], speed),
                _ratio(grown[0], place),
            ]
        steps.append(Step(loss, theirs, loss_bound, max(ratios)))
    return steps


def _pairs(mine: Sequence[Array], others: Sequence[Array]) -> list[Pair]:
    return [Pair.of(a, b) for a, b in zip(mine, others, strict=True)]


def _ratio(difference: Array, bound: Array) -> float:
    """Return the largest |difference| / bound; what is equal needs no bound."""
    differing = difference != 0
    with np.errstate(divide="ignore"):
        ratios = np.abs(difference[differing]) / (bound[differing] * SLACK)
    return float(ratios.max(initial=0.0))


def _bounds(
    network: Network, images: Array, labels: Array, parameters: Sequence[Pair]
) -> tuple[float, list[Array]]:
    """Return by how much the losses and the gradients may differ for such parameters."""
    passed: list[tuple[Layer, Array, Pair]] = []
    x, given, own = images, Pair(np.abs(images), np.zeros_like(images)), iter(parameters)
    weights: list[Pair] = []
    for layer in network.layers:
        passed.append((layer, x, given))
        x = layer.forward(x)
        apart = given.apart
        if layer.parameters:
            weight, bias = _kernel(next(own)), next(own)
            weights.append(weight)
            apart = _distance("forward", _maps(layer, given), weight, layer, bias=bias)
            apart = apart + bias.apart[:, np.newaxis, np.newaxis]
        given = Pair(np.abs(x), apart.reshape(x.shape))
    loss_bound, apart = _behind(x, labels, given.apart)
    error = cross_entropy(x, labels)[1]
    bounds: list[Array] = []
    for layer, x, given in reversed(passed):
        errors = Pair(np.abs(error), apart)
        error = layer.backward(error)
        if not layer.parameters:
            # On different sides of zero, one of the two passes the error, and one does not.
            doubtful = (given.size <= given.apart) & (given.apart > 0)
            apart = np.where(doubtful, errors.most, np.where(x > 0, errors.apart, 0.0))
            continue
        weight, maps = weights.pop(), _maps(layer, given)
        errors = _maps(layer, errors)
        to_weight = _distance("grad_weight", maps, errors, layer, weight.size.shape)
        to_input = _distance("grad_input", weight, errors, layer, maps.size.shape)
        to_bias = npconv.conv2d_bias(errors.apart) + 2 * npconv.error_bound(
            "grad_bias", errors.most
        )
        bounds = [to_weight.reshape(layer.parameters[0].shape), to_bias, *bounds]
        apart = to_input.reshape(x.shape)
    return loss_bound, bounds


def _distance(
    op: str,
    a: Pair,
    b: Pair,
    layer: Layer,
    shape: tuple[int, ...] | None = None,
    bias: Pair | None = None,
) -> Array:
    """Return how far apart an operation's results may be; `shape` is that of a gradient."""
    parameters = {
        name: getattr(layer, name, least) for name, least in (("stride", 1), ("padding", 0))
    }

    def arrays(left: Array, right: Array) -> tuple[Any, ...]:
        if op == "forward":
            return (left, right)
        return (left, shape, right) if op == "grad_weight" else (shape, left, right)

    call = {
        "forward": npconv.conv2d,
        "grad_input": npconv.conv2d_input,
        "grad_weight": npconv.conv2d_weight,
    }[op]
    rounded = arrays(a.most, b.most) + (() if bias is None else (bias.most,))
    return np.asarray(
        call(*arrays(a.apart, b.size), **parameters)
        + call(*arrays(a.most, b.apart), **parameters)
        + 2 * npconv.error_bound(op, *rounded, **parameters)
    )


def _maps(layer: Layer, pair: Pair) -> Pair:
    """Return images, or rows of numbers as images of one pixel each where the layer is dense."""
    return pair if layer.parameters[0].ndim == 4 else pair.shaped(len(pair.size), -1, 1, 1)


def _kernel(pair: Pair) -> Pair:
    """Return weights as a kernel: of one tap where the layer is dense."""
    return pair if pair.size.ndim == 4 else pair.shaped(*pair.size.shape, 1, 1)


def _behind(scores: Array, labels: Array, apart: Array) -> tuple[float, Array]:
    """Return by how much loss and error may differ for scores that are so far apart.

    Let all scores of an image be within D, and their range be R. A loss changes by 2 D at the most,
    a probability by a factor of exp(2 D). Differences from the largest score are rounded once (R
    units), exp costs 8 units of its value, the sum of k numbers k - 1, log 8 units of its value,
    which is at most log k; the difference of log and score one of the loss, at most R + log k. With
    the logarithm of the probability rounded as well, as torch does, that is 4 R + 10 log k + k + 15
    units for a loss, and for a probability 8 more, relative to it.
    """
    n, classes = scores.shape
    largest = apart.max(axis=1, keepdims=True)
    reach = np.ptp(scores, axis=1, keepdims=True) + 2 * largest
    units = UNIT * (4 * reach + 10 * np.log(classes) + classes + 15)
    images = np.arange(n)
    probabilities = softmax(scores)
    losses = -np.log(probabilities[images, labels])
    # The mean adds n roundings on each side.
    loss = float(np.mean(2 * largest + 2 * units) + 2 * (n + 1) * UNIT * np.mean(losses))
    changed = probabilities * (np.expm1(2 * largest) + 2 * units + 16 * UNIT)
    # Minus one at the label, then divided by n: three roundings of at most 1 + p on each side.
    return loss * SLACK, (changed + 6 * UNIT * (1 + probabilities)) / n


def main() -> None:
    """Train three networks on digits and print what `compare` finds."""
    from examples.digits.data import digits

    sizes, recipe = Sizes(), Recipe()
    rng = np.random.default_rng(0)
    images, labels, _, _ = digits(rng)
    parameters = initial(rng, sizes)
    for name, kind in (("torch", TorchNetwork), ("channels last", LastNetwork)):
        network, other = Network(parameters, sizes, recipe), kind(parameters, sizes, recipe)
        steps = compare(network, other, images, labels, np.random.default_rng(1))
        last = steps[-1]
        print(  # noqa: T201
            f"{name}: {len(steps)} steps, losses from {steps[0].loss:.3f} to {last.loss:.3f}; they "
            f"differ by at most {max(abs(s.loss - s.other) for s in steps):.1e}; the largest "
            f"|difference| / bound of a step is {max(s.ratio for s in steps):.3f}"
        )
        worst = max(s.bound / s.loss for s in steps)
        print(f"  no bound of a loss is above {worst:.1e} of it")  # noqa: T201


if __name__ == "__main__":
    main()
