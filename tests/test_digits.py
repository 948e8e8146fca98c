"""The network of the lessons learns, in either layout, and as torch does to within roundings."""

import re
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import npconv

# Examples are not installed; behind all else, so that npconv stays the one that is.
sys.path.append(str(Path(__file__).parents[1]))

from examples.digits import agreement, train
from examples.digits.layers import (
    Array,
    Conv,
    Relu,
    cross_entropy,
    he_normal,
    softmax,
)
from examples.digits.network import LAYOUTS, Network, Recipe, Sizes, initial

#: The same on every NumPy.
pytestmark = pytest.mark.once

SIZES = Sizes(image=7, first=3, second=5, classes=4)
RECIPE = Recipe(epochs=2, batch=8)


def task(seed: int) -> tuple[Array, Array]:
    """Return 30 images with labels that can be learned: a bright row tells the class."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, SIZES.classes, 30)
    images = rng.normal(0.0, 0.3, (30, 1, SIZES.image, SIZES.image))
    images[np.arange(30), 0, labels + 1] += 1.0
    return images, labels


def network(calls: Any = npconv, layout: str = "channels-first") -> Network:
    """Return a network that is always the same."""
    return Network(initial(np.random.default_rng(5), SIZES), SIZES, RECIPE, layout, calls)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradients_are_those_of_the_loss(layout: str) -> None:
    """A step along any direction changes the loss as the gradients say: central differences."""
    images, labels = task(1)
    if layout == "channels-last":
        images = images.transpose(0, 2, 3, 1)
    it = network(layout=layout)
    for bias in it.parameters[1::2]:
        # Off zero, where ReLU has no gradient.
        bias[...] = np.random.default_rng(2).normal(0.0, 0.1, bias.shape)
    start = [p.copy() for p in it.parameters]
    it.step(images, labels)
    gradients = [g.copy() for g in it.gradients]
    for number, gradient in enumerate(gradients):
        direction = np.random.default_rng(number).normal(size=gradient.shape)
        losses = []
        for step in (1e-6, -1e-6):
            for p, s in zip(it.parameters, start, strict=True):
                p[...] = s
            it.parameters[number][...] += step * direction
            losses.append(cross_entropy(it.scores(images), labels)[0])
        slope = (losses[0] - losses[1]) / 2e-6
        # The difference quotient errs by some 1e-12 for its step, and 1e-10 for roundings.
        assert slope == pytest.approx(np.vdot(gradient, direction), rel=1e-7, abs=1e-9), number
        assert abs(slope) > 1e-3


def test_probabilities_add_up_and_survive_large_scores() -> None:
    """Scores beyond exp's range give probabilities, and the loss of a sure error is its margin."""
    scores = np.array([[2000.0, 0.0, -3.0], [1.0, 2.0, 3.0]])
    np.testing.assert_allclose(softmax(scores).sum(axis=1), 1.0, rtol=1e-15)
    loss, error = cross_entropy(scores, np.array([1, 2]))
    assert loss == pytest.approx((2000.0 + np.log(np.exp(-2) + np.exp(-1) + 1)) / 2, rel=1e-15)
    np.testing.assert_allclose(error[0], [0.5, -0.5, 0.0], rtol=1e-15)
    np.testing.assert_allclose(error.sum(axis=1), 0.0, atol=1e-16)


def test_he_scale_keeps_activations() -> None:
    """Twelve convolutions and ReLUs keep the mean square; with a slip each doubles it."""

    def growth(scale: float) -> float:
        rng = np.random.default_rng(3)
        x = rng.normal(size=(4, 24, 11, 13))
        first = np.mean(x**2)
        for _ in range(12):
            weight = scale * he_normal(rng, (24, 24, 3, 3), 24 * 9)
            layer = Conv(weight, np.zeros(24), padding=1)
            # The border's windows see zeros: look at the middle, as a network without borders.
            x = np.pad(layer.forward(x)[:, :, 1:-1, 1:-1], ((0, 0), (0, 0), (1, 1), (1, 1)), "wrap")
            x = Relu().forward(x)
        return float(np.mean(x**2) / first)

    right = growth(1.0)
    assert 0.4 < right < 2.5
    # 2 / sqrt(fan_in) is sqrt(2) times too large: twelve layers make 2 ** 12 of its square.
    assert growth(np.sqrt(2)) == pytest.approx(2**12 * right, rel=1e-9)


def test_trainings_agree_step_by_step_with_torch() -> None:
    """Losses, gradients, velocities and parameters stay within what roundings can do."""
    pytest.importorskip("torch", reason="the other training is torch's")
    _agree(agreement.TorchNetwork)


def test_trainings_agree_step_by_step_in_both_layouts() -> None:
    """The same with channels last."""
    _agree(agreement.LastNetwork)


def _agree(kind: Any) -> None:
    images, labels = task(1)
    parameters = initial(np.random.default_rng(5), SIZES)
    one, other = Network(parameters, SIZES, RECIPE), kind(parameters, SIZES, RECIPE)
    steps = agreement.compare(one, other, images, labels, np.random.default_rng(7))
    assert len(steps) == RECIPE.steps(len(images)) == 8
    assert max(step.ratio for step in steps) <= 1
    # The bound says something: it is far below the loss, and below what a step changes.
    assert max(step.bound / step.loss for step in steps) < 1e-9
    assert abs(steps[0].loss - steps[-1].loss) > 0.1


def _changed(op: int, factor: float) -> SimpleNamespace:
    """Return npconv with one of its gradients off by a factor."""

    def conv2d_backward(*arguments: Any) -> tuple[Any, ...]:
        found = list(npconv.conv2d_backward(*arguments))
        found[op] = found[op] * factor
        return tuple(found)

    return SimpleNamespace(conv2d=npconv.conv2d, conv2d_backward=conv2d_backward)


@pytest.mark.parametrize("op", range(3))
def test_a_gradient_that_is_a_little_wrong_is_out_of_bound(op: int) -> None:
    """One part in a hundred million in one of the gradients does not pass as rounding."""
    images, labels = task(1)
    parameters = initial(np.random.default_rng(5), SIZES)
    other = agreement.LastNetwork(parameters, SIZES, RECIPE)
    wrong = Network(parameters, SIZES, RECIPE, calls=_changed(op, 1 + 1e-8))
    steps = agreement.compare(wrong, other, images, labels, np.random.default_rng(7))
    assert steps[0].ratio > 1


def test_forward_that_is_a_little_wrong_is_out_of_bound() -> None:
    """The same for the output."""
    images, labels = task(1)
    parameters = initial(np.random.default_rng(5), SIZES)
    other = agreement.LastNetwork(parameters, SIZES, RECIPE)
    off = SimpleNamespace(
        conv2d=lambda *arguments: npconv.conv2d(*arguments) * (1 + 1e-8),
        conv2d_backward=npconv.conv2d_backward,
    )
    wrong = Network(parameters, SIZES, RECIPE, calls=off)
    steps = agreement.compare(wrong, other, images, labels, np.random.default_rng(7))
    assert steps[0].ratio > 1


def test_recipe_takes_each_image_once_an_epoch() -> None:
    """Batches of an epoch hold every image; the next epoch has another order."""
    recipe = replace(RECIPE, epochs=2, batch=4)
    batches = list(recipe.batches(10, np.random.default_rng(1)))
    assert [len(batch) for batch in batches] == [4, 4, 2] * 2
    assert len(batches) == recipe.steps(10)
    first, second = np.concatenate(batches[:3]), np.concatenate(batches[3:])
    assert sorted(first) == sorted(second) == list(range(10))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_digits_are_learned(layout: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The command reads nineteen in twenty of the digits held out, in either layout."""
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    found = train.main(["--layout", layout, "--seed", "1"])
    assert found > 0.95
    assert re.search(rf"{layout}, seed 1: .* {found:.1%} of 397 digits", capsys.readouterr().out)
