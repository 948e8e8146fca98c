"""Faults that one result does not show: memory of former calls, masks, refusals, races."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from conformance.planted.implementation import Array, Mask, Plantable, Planted, right_gradients
from npconv import conv2d
from npconv.oracle.protocol import GRADIENTS
from npconv.oracle.suspects import Problem
from npconv.oracle.suspects.tools import over, positions

#: From (operation, problem, right result) to what is returned.
Change = Callable[[str, Problem, Array], Array]


class Changed(Planted):
    """Results pass through `change`, which may remember."""

    ops: tuple[str, ...] = ("forward", *GRADIENTS)

    def __init__(self, fault: Plantable) -> None:
        """Begin without any memory, and with the same random numbers each time."""
        super().__init__(fault)
        self.ops = fault.ops
        self.held: dict[Hashable, Any] = {}
        self.random = np.random.default_rng(2024)

    def change(self, op: str, problem: Problem, right: Array) -> Array:
        """Return the wrong result."""
        raise NotImplementedError

    def output(self, problem: Problem, right: Array) -> Array:
        """Return the output."""
        return self.change("forward", problem, right) if "forward" in self.ops else right

    def gradients(self, problem: Problem, mask: Mask) -> Sequence[Any]:
        """Return the gradients."""
        return tuple(
            right if right is None or op not in self.ops else self.change(op, problem, right)
            for op, right in zip(GRADIENTS, right_gradients(problem, mask), strict=True)
        )


def _key(op: str, array: Array) -> Hashable:
    return op, array.shape, array.dtype


class Accumulates(Changed):
    """Adds to the last result of the same shape."""

    def change(self, op: str, problem: Problem, right: Array) -> Array:
        """Add."""
        del problem
        last = self.held.get(_key(op, right), 0)
        with np.errstate(all="ignore"):
            self.held[_key(op, right)] = found = (right + last).astype(right.dtype)
        return found.copy()


class Workspace(Changed):
    """Adds onto memory that holds what was there before."""

    def change(self, op: str, problem: Problem, right: Array) -> Array:
        """Add onto the last result of the dtype, as much as there is."""
        del problem
        last = self.held.get((op, right.dtype), np.zeros(0, right.dtype))
        found = right.reshape(-1).copy()
        with np.errstate(all="ignore"):
            found[: last.size] += last[: found.size]
        self.held[op, right.dtype] = right.reshape(-1)
        return found.reshape(right.shape)


class Reused(Changed):
    """Returns the same memory again."""

    def change(self, op: str, problem: Problem, right: Array) -> Array:
        """Overwrite what an earlier call returned."""
        del problem
        found = self.held.setdefault(_key(op, right), np.empty_like(right))
        found[...] = right
        return found


class Late(Changed):
    """Returns the last result of the same shape."""

    def change(self, op: str, problem: Problem, right: Array) -> Array:
        """Return the former one, if any."""
        del problem
        found = self.held.get(_key(op, right), right)
        self.held[_key(op, right)] = right.copy()
        return np.array(found)


class Unwritten(Changed):
    """Leaves part of its result as the memory was."""

    def part(self, array: Array) -> Any:
        """Return the index of what stays unwritten."""
        raise NotImplementedError

    def change(self, op: str, problem: Problem, right: Array) -> Array:
        """Show what a former result of the dtype left there, at first noise."""
        del op, problem
        pool = self.held.get(right.dtype)
        if pool is None or pool.size < right.size:
            noise = self.random.integers(1, 100, right.size)
            pool = noise.astype(right.dtype)
        found = pool[: right.size].reshape(right.shape).copy()
        where = self.part(right)
        kept = found[where].copy()
        found[...] = right
        found[where] = kept
        self.held[right.dtype] = np.roll(found.reshape(-1), 1)
        return found


class RowUnwritten(Unwritten):
    """Leaves the last row."""

    def part(self, array: Array) -> Any:
        """Return the last row of every plane."""
        del array
        return (..., -1, slice(None))


class TailUnwritten(Unwritten):
    """Leaves the last elements."""

    def part(self, array: Array) -> Any:
        """Return the tail of the last axis in the last plane or vector."""
        return (*(-1 for _ in array.shape[:-1]), slice(-(array.shape[-1] // 2) - 1, None))


class Writes(Changed):
    """Writes to an argument where it may."""

    def write(self, problem: Problem) -> None:
        """Overwrite."""
        raise NotImplementedError

    def change(self, op: str, problem: Problem, right: Array) -> Array:
        """Write once in a call."""
        if op == self.ops[0]:
            self.write(problem)
        return right

    def gradients(self, problem: Problem, mask: Mask) -> Sequence[Any]:
        """Write at each call, whatever the mask."""
        found = right_gradients(problem, mask)
        if "forward" not in self.ops:
            self.write(problem)
        return found


class InputOverwritten(Writes):
    """Zeros the input, as a workspace."""

    def write(self, problem: Problem) -> None:
        """Zero the first channel."""
        if problem.input.flags.writeable:
            problem.input[..., :1, :, :] = 0


class WeightFlipped(Writes):
    """Flips the weight where it lies."""

    def write(self, problem: Problem) -> None:
        """Flip."""
        if problem.weight.flags.writeable:
            problem.weight[...] = problem.weight[..., ::-1, ::-1].copy()


class GradScaled(Writes):
    """Doubles grad_output where it lies."""

    def write(self, problem: Problem) -> None:
        """Double."""
        grad = problem.grad_output
        if grad is not None and grad.flags.writeable:
            grad += grad.copy()


class View(Changed):
    """Returns grad_output's memory where the bias gradient sums one element."""

    def change(self, op: str, problem: Problem, right: Array) -> Array:
        """Return a view where there is nothing to sum."""
        del op
        grad = problem.grad_output
        assert grad is not None
        return grad.reshape(-1) if grad.size == right.size else right


class WeightRace(Changed):
    """Loses an image's share of the weight gradient in one call of three."""

    def change(self, op: str, problem: Problem, right: Array) -> Array:
        """Leave out a random image."""
        del op
        grad = problem.grad_output
        if grad is None or grad.ndim < 4 or len(grad) < 2 or self.random.random() > 1 / 3:
            return right
        part = grad.copy()
        part[self.random.integers(len(grad))] = 0
        found = right_gradients(replace(problem, grad_output=part), (False, True, False))[1]
        assert found is not None
        return found


class OutputRace(Changed):
    """Gives some wrong elements in one call of three."""

    def change(self, op: str, problem: Problem, right: Array) -> Array:
        """Put elements into the places of others."""
        del op, problem
        if not right.size or self.random.random() > 1 / 3:
            return right
        found = right.copy().reshape(-1)
        places = self.random.integers(0, right.size, 1 + right.size // 10)
        found[places] = np.roll(found, 1)[places]
        return found.reshape(right.shape)


class Again(Changed):
    """Is wrong when a shape comes for the first time, or when it comes again."""

    first = False

    def change(self, op: str, problem: Problem, right: Array) -> Array:
        """Double the first row where it is the wrong time."""
        new = not self.held.get((op, problem.input.shape, problem.parameters))
        self.held[op, problem.input.shape, problem.parameters] = True
        if new != self.first:
            return right
        found = right.copy()
        with np.errstate(all="ignore"):
            found[..., :1] += found[..., :1].copy()
        return found


class First(Again):
    """Is wrong the first time."""

    first = True


# ------------------------------------------------------------------ plans


class AxisPlan(Changed):
    """Keeps stride, padding or dilation."""

    field = ""

    def change(self, op: str, problem: Problem, right: Array) -> Array:
        """Slide the windows of the first call."""
        batched = _batched(problem)
        own = tuple(getattr(axis, self.field) for axis in batched.geometry.axes)
        key = (problem.weight.shape, problem.groups, problem.input.dtype)
        former = self.held.setdefault(key, own)
        if former == own:
            return right
        rows, columns = (
            positions(axis, **{self.field: value})
            for axis, value in zip(batched.geometry.axes, former, strict=True)
        )
        with np.errstate(all="ignore"):
            found = over(batched, op, rows, columns)
        return right if found is None else found.reshape(right.shape)


def _batched(problem: Problem) -> Problem:
    if problem.input.ndim == 4:
        return problem
    grad = problem.grad_output
    return replace(
        problem, input=problem.input[None], grad_output=None if grad is None else grad[None]
    )


class StridePlan(AxisPlan):
    """Keeps the stride."""

    field = "stride"


class PaddingPlan(AxisPlan):
    """Keeps the padding."""

    field = "before"


class DilationPlan(AxisPlan):
    """Keeps the dilation."""

    field = "dilation"


class GroupsPlan(Changed):
    """Reads the weight's memory for the number of groups of the first call."""

    def change(self, op: str, problem: Problem, right: Array) -> Array:
        """Compute with the groups of the first call where the channels allow it."""
        geometry = problem.geometry
        key = (geometry.kernel, problem.input.dtype)
        groups = self.held.setdefault(key, problem.groups)
        if groups == problem.groups or geometry.in_channels % groups:
            return right
        if geometry.out_channels % groups:
            return right
        shape = (geometry.out_channels, geometry.in_channels // groups, *geometry.kernel)
        memory = np.resize(problem.weight, shape)
        wrong = replace(problem, weight=memory, groups=groups)
        if op == "forward":
            return conv2d(wrong.input, wrong.weight, wrong.bias, *wrong.parameters)
        mask = op == GRADIENTS[0], op == GRADIENTS[1], False
        found = next(g for g in right_gradients(wrong, mask) if g is not None)
        return np.resize(found, right.shape)


class WeightPlan(Changed):
    """Keeps the weight of the first call of the same shape, as if packed once for all."""

    def change(self, op: str, problem: Problem, right: Array) -> Array:
        """Compute with the weight of the first call."""
        key = (problem.weight.shape, problem.weight.dtype)
        weight = self.held.setdefault(key, problem.weight.copy())
        wrong = replace(problem, weight=weight)
        if op == "forward":
            return conv2d(wrong.input, weight, wrong.bias, *wrong.parameters)
        if op == GRADIENTS[0]:
            found = right_gradients(wrong, (True, False, False))[0]
            assert found is not None
            return found
        return right


class BiasPlan(Changed):
    """Keeps the bias of the first call of as many channels."""

    def change(self, op: str, problem: Problem, right: Array) -> Array:
        """Add the bias of the first call."""
        if op != "forward" or problem.bias is None:
            return right
        bias = self.held.setdefault((problem.bias.size, problem.bias.dtype), problem.bias.copy())
        return conv2d(problem.input, problem.weight, bias, *problem.parameters)


class DtypePlan(Changed):
    """Returns the dtype of the first call with the same shape."""

    def change(self, op: str, problem: Problem, right: Array) -> Array:
        """Convert."""
        del problem
        kept = self.held.setdefault((op, right.shape), right.dtype)
        if right.dtype.kind == "c" and kept.kind != "c":
            right = right.real
        with np.errstate(all="ignore"):
            return right.astype(kept)


# ------------------------------------------------------------------ protocol


class Masked(Planted):
    """Computes other gradients than the mask asks for."""

    def mask(self, mask: Mask) -> Mask:
        """Return the mask as it is read."""
        raise NotImplementedError

    def gradients(self, problem: Problem, mask: Mask) -> Sequence[Any]:
        """Return the gradients of the mask as it is read."""
        return right_gradients(problem, self.mask(mask))


class MaskIgnored(Masked):
    """Reads a mask as all True."""

    def mask(self, mask: Mask) -> Mask:
        """Return all."""
        del mask
        return True, True, True


class MaskShifted(Masked):
    """Reads a mask one place off."""

    def mask(self, mask: Mask) -> Mask:
        """Return the next flags."""
        return mask[1], mask[2], mask[0]


class MaskReversed(Masked):
    """Reads a mask from its end."""

    def mask(self, mask: Mask) -> Mask:
        """Return the flags in reverse order."""
        return mask[2], mask[1], mask[0]


class MaskedZeros(Planted):
    """Returns zeros for what is not asked for."""

    def gradients(self, problem: Problem, mask: Mask) -> Sequence[Any]:
        """Fill in."""
        found = right_gradients(problem, mask)
        shapes = (problem.input.shape, problem.weight.shape, problem.weight.shape[:1])
        return tuple(
            np.zeros(shape, problem.input.dtype) if gradient is None else gradient
            for gradient, shape in zip(found, shapes, strict=True)
        )


class Ordered(Planted):
    """Returns gradients, None for those not asked for, in another order."""

    def gradients(self, problem: Problem, mask: Mask) -> Sequence[Any]:
        """Exchange them."""
        found = dict(zip(("input", "weight", "bias"), right_gradients(problem, mask), strict=True))
        order = self.fault.name.removeprefix("gradients-in-the-order-").split("-")
        return tuple(found[name] for name in order)


class Refuses(Planted):
    """Raises where it must not."""

    def refuses(self, problem: Problem) -> bool:
        """Whether to raise."""
        raise NotImplementedError

    def output(self, problem: Problem, right: Array) -> Array:
        """Raise or return."""
        if self.refuses(problem):
            raise ValueError("CUDNN_STATUS_BAD_PARAM")
        return right

    def gradients(self, problem: Problem, mask: Mask) -> Sequence[Any]:
        """Raise or return."""
        if self.refuses(problem):
            raise ValueError("CUDNN_STATUS_BAD_PARAM")
        return right_gradients(problem, mask)


class RefusesBatch(Refuses):
    """Refuses an empty batch."""

    def refuses(self, problem: Problem) -> bool:
        """Whether there is no image."""
        return problem.geometry.batch == 0


class RefusesChannels(Refuses):
    """Refuses no channels."""

    def refuses(self, problem: Problem) -> bool:
        """Whether there is no input channel."""
        return problem.geometry.in_channels == 0


class RefusesColumn(Refuses):
    """Refuses a single column."""

    def refuses(self, problem: Problem) -> bool:
        """Whether image and kernel are one column wide."""
        return problem.input.shape[-1] == problem.weight.shape[-1] == 1


class RefusesUnbatched(Refuses):
    """Refuses an image without a batch axis."""

    def refuses(self, problem: Problem) -> bool:
        """Whether there is no batch axis."""
        return problem.input.ndim == 3


class Batches(Planted):
    """Returns a batch of one for a single image."""

    def output(self, problem: Problem, right: Array) -> Array:
        """Add an axis."""
        return right[None] if problem.input.ndim == 3 else right

    def gradients(self, problem: Problem, mask: Mask) -> Sequence[Any]:
        """Add an axis to the input gradient."""
        grad_input, *rest = right_gradients(problem, mask)
        if grad_input is not None and problem.input.ndim == 3:
            grad_input = grad_input[None]
        return (grad_input, *rest)


#: By the fault's name.
STATEFUL: dict[str, type[Planted]] = {
    "accumulates-onto-the-last-result": Accumulates,
    "gradients-accumulate": Accumulates,
    "workspace-not-cleared": Workspace,
    "output-buffer-reused": Reused,
    "last-result-returned": Late,
    "last-row-unwritten": RowUnwritten,
    "tail-unwritten": TailUnwritten,
    "input-overwritten": InputOverwritten,
    "weight-flipped-in-place": WeightFlipped,
    "grad-output-scaled-in-place": GradScaled,
    "bias-gradient-is-a-view": View,
    "race-on-the-weight-gradient": WeightRace,
    "race-on-the-output": OutputRace,
    "right-at-the-first-call-only": Again,
    "wrong-at-the-first-call-only": First,
    "plan-without-stride": StridePlan,
    "plan-without-padding": PaddingPlan,
    "plan-without-dilation": DilationPlan,
    "plan-without-groups": GroupsPlan,
    "plan-without-weight": WeightPlan,
    "plan-without-bias": BiasPlan,
    "plan-without-dtype": DtypePlan,
    "mask-ignored": MaskIgnored,
    "mask-shifted": MaskShifted,
    "mask-reversed": MaskReversed,
    "zeros-for-what-is-masked": MaskedZeros,
    "gradients-in-the-order-weight-input-bias": Ordered,
    "gradients-in-the-order-bias-weight-input": Ordered,
    "gradients-in-the-order-input-bias-weight": Ordered,
    "gradients-in-the-order-weight-bias-input": Ordered,
    "gradients-in-the-order-bias-input-weight": Ordered,
    "empty-batch-refused": RefusesBatch,
    "empty-channels-refused": RefusesChannels,
    "single-column-refused": RefusesColumn,
    "unbatched-refused": RefusesUnbatched,
    "unbatched-result-batched": Batches,
}
