"""State: what is left from another call, what is never written, what changes from call to call."""

from __future__ import annotations

import functools

from npconv.oracle.suspects.fault import Fault
from npconv.oracle.suspects.tools import (
    FORWARD,
    GRAD_BIAS,
    GRAD_INPUT,
    GRAD_WEIGHT,
    GRADIENTS,
    OPS,
    make,
)

_fault = functools.partial(make, family="state", kind="state")


FAULTS: tuple[Fault, ...] = (
    _fault(
        "accumulates-onto-the-last-result",
        "adds its result to that of the last call of the same shape",
        None,
        ops=OPS,
        trigger="True",
        sources=("clab/dynet#612", "deeplearning4j/deeplearning4j#5035", "FluxML/NNlib.jl#538"),
    ),
    _fault(
        "gradients-accumulate",
        "adds gradients to those of the last call of the same shape",
        None,
        ops=GRADIENTS,
        trigger="True",
        sources=("clab/dynet#612", "pytorch/pytorch#72157", "karpathy/llm.c#342"),
    ),
    _fault(
        "workspace-not-cleared",
        "adds the input gradient onto whatever the memory held",
        None,
        ops=(GRAD_INPUT,),
        trigger="True",
        sources=("deeplearning4j/deeplearning4j#5035", "ROCm/composable_kernel#132"),
    ),
    _fault(
        "output-buffer-reused",
        "returns the same memory at each call of the same shape",
        None,
        ops=OPS,
        trigger="True",
        sources=("pytorch/pytorch#24341",),
    ),
    _fault(
        "last-result-returned",
        "returns the last result of the same shape, one call late",
        None,
        ops=OPS,
        trigger="True",
        sources=("pytorch/pytorch#24341",),
    ),
    _fault(
        "last-row-unwritten",
        "does not write the last row, which shows what the memory held",
        None,
        ops=(FORWARD, GRAD_INPUT),
        trigger="True",
        sources=("ROCm/rocm-libraries#4611", "pytorch/FBGEMM#5754"),
    ),
    _fault(
        "tail-unwritten",
        "does not write the last elements of its result, which show what the memory held",
        None,
        ops=OPS,
        trigger="True",
        sources=("ROCm/rocm-libraries#4611", "ggml-org/ggml#274"),
    ),
    _fault(
        "input-overwritten",
        "writes to its input",
        None,
        ops=(FORWARD,),
        trigger="True",
        sources=("opencv/opencv#23151",),
    ),
    _fault(
        "weight-flipped-in-place",
        "flips the weight in place for the input gradient",
        None,
        ops=GRADIENTS,
        trigger="kernel_h > 1 or kernel_w > 1",
        sources=("HomericIntelligence/Odyssey#2949",),
    ),
    _fault(
        "grad-output-scaled-in-place",
        "multiplies grad_output in place",
        None,
        ops=GRADIENTS,
        trigger="True",
        sources=("Oneflow-Inc/oneflow#255",),
    ),
    _fault(
        "bias-gradient-is-a-view",
        "returns grad_output's own memory as the bias gradient where there is nothing to sum",
        None,
        ops=(GRAD_BIAS,),
        trigger="batch == 1 and out_height == 1 and out_width == 1",
        sources=("pytorch/pytorch#24341",),
    ),
    _fault(
        "race-on-the-weight-gradient",
        "loses some of the weight gradient now and then, as threads overwrite one another's sums",
        None,
        ops=(GRAD_WEIGHT,),
        trigger="batch > 1",
        sources=("FluxML/NNlib.jl#197",),
    ),
    _fault(
        "race-on-the-output",
        "gives some wrong elements now and then",
        None,
        ops=(FORWARD,),
        trigger="True",
        sources=("pytorch/pytorch#49268", "intel/llm-scaler#356"),
    ),
    _fault(
        "right-at-the-first-call-only",
        "is right when a shape comes for the first time, wrong when it comes again",
        None,
        ops=OPS,
        trigger="True",
        sources=("tenstorrent/tt-metal#54138", "pytorch/pytorch#49268"),
    ),
    _fault(
        "wrong-at-the-first-call-only",
        "is wrong when a shape comes for the first time, right when it comes again",
        None,
        ops=OPS,
        trigger="True",
        sources=("pytorch/pytorch#24341",),
    ),
    *(
        _fault(
            f"plan-without-{name}",
            f"keeps plans by the kernel's shape, and uses the {called} of the first call",
            None,
            ops=OPS if name == "dtype" else (FORWARD, GRAD_INPUT, GRAD_WEIGHT),
            trigger=None,
            sources=("tenstorrent/tt-metal#48668", "tensorflow/tfjs#2507"),
            series="plan-without",
        )
        for name, called in (
            ("stride", "stride"),
            ("padding", "padding"),
            ("dilation", "dilation"),
            ("groups", "groups"),
            ("weight", "weight"),
            ("bias", "bias"),
            ("dtype", "dtype"),
        )
    ),
)
