"""Where torch differs from the definition: one table, from which docs/differences.md is written.

``python -m conformance.differences`` prints the page; ``test_differences.py`` holds that every
entry still occurs in the torch version that it is tied to, and that the page is the table's.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from types import ModuleType
from typing import Any

#: The torch version that the entries are tied to: its first two numbers.
TORCH = "2.13"

KINDS = {
    "bug": (
        "Wrong results and missing checks",
        "What torch returns here follows from no reading of its documentation.",
    ),
    "numbers": (
        "Infinities, NaN and precision",
        (
            "torch's answer depends on the kernel that it picks, by dtype, batch and processor; "
            "npconv has one rule: zeros of padding are operands, inserted zeros are not."
        ),
    ),
    "legality": (
        "What one accepts and the other refuses",
        "Decisions, not bugs: what is legal for npconv is what the definition gives a meaning.",
    ),
}


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference: code that shows it, what each side answers, why, and who reported it.

    `torch` and `npconv` are expressions over what `setup` leaves behind; `does` and `should` are
    the texts of their values, or the name of the exception that they raise.
    """

    name: str
    kind: str
    title: str
    why: str
    setup: str
    torch: str
    does: str
    npconv: str
    should: str
    reported: str | None = None
    #: An expression over torch, platform and the like; False where this machine cannot show it.
    where: str = "True"
    #: The condition in words.
    only: str = ""


#: A call of the operator behind autograd, whose arguments are long.
BACKWARD = (
    "torch.ops.aten.convolution_backward(g, x, w, [{f}], {s}, {p}, {d}, False, [0, 0], 1, {m})"
)

ISSUES = "https://github.com/pytorch/pytorch/issues"

DIFFERENCES = (
    Difference(
        "zero-channels-shape",
        "bug",
        "Without input channels the output has no channels, and the bias is lost",
        "A sum over no channels is 0, so each of the F outputs is its bias. torch returns the "
        "input's 0 channels in place of F; from there on all shapes are wrong.",
        "x, w = torch.ones(2, 0, 5, 6), torch.ones(3, 0, 3, 3)\nb = torch.tensor([1.0, 2.0, 3.0])",
        "tuple(F.conv2d(x, w, b).shape)",
        "(2, 0, 3, 4)",
        "npconv.conv2d(x, w, b).shape",
        "(2, 3, 3, 4)",
        f"{ISSUES}/101356",
    ),
    Difference(
        "zero-channels-bias-gradient",
        "bug",
        "Without input channels the bias gradient is zero",
        "The bias reaches every output whether there are input channels or not: its gradient is "
        "the sum of 2 x 3 x 4 ones.",
        "x, w, g = torch.ones(2, 0, 5, 6), torch.ones(3, 0, 3, 3), torch.ones(2, 3, 3, 4)",
        BACKWARD.format(f=3, s=[1, 1], p=[0, 0], d=[1, 1], m="[False, False, True]")
        + "[2].tolist()",
        "[0.0, 0.0, 0.0]",
        "npconv.conv2d_backward(g, x, w)[2].tolist()",
        "[24.0, 24.0, 24.0]",
    ),
    Difference(
        "zero-channels-empty-kernel",
        "bug",
        "Without input channels a kernel without rows is accepted",
        "A window of no rows has no place in the input. torch checks a kernel's extents only on "
        "the way past its shortcut for empty inputs; with input channels it refuses this.",
        "x, w = torch.ones(2, 0, 5, 6), torch.ones(3, 0, 0, 3)",
        "tuple(F.conv2d(x, w).shape)",
        "(2, 0, 6, 4)",
        "npconv.conv2d(x, w)",
        "ValueError",
    ),
    Difference(
        "dilation-overflow",
        "bug",
        "A dilation whose span passes 64 bits wraps around",
        "A kernel of 5 with dilation 2**62 spans 2**64 + 1 elements and fits no input. torch's "
        "span wraps to 1, and first and last tap both read the same element: twice the input.",
        "x, w = torch.ones(1, 1, 2, 3), torch.ones(1, 1, 5, 1)",
        "F.conv2d(x, w, dilation=(2**62, 1)).tolist()",
        "[[[[2.0, 2.0, 2.0], [2.0, 2.0, 2.0]]]]",
        "npconv.conv2d(x, w, dilation=(2**62, 1))",
        "ValueError",
    ),
    Difference(
        "backward-batch",
        "bug",
        "A grad_output of too few images is read beyond its end",
        "The weight gradient takes as many images as the input has, whatever grad_output has: in "
        "float64 it reads the memory behind (here that of the second image, which `g[:1]` does not "
        "contain), and float32 refuses the call. A grad_output must have the output's shape.",
        "x, w, g = torch.ones(2, 1, 1, 3), torch.ones(1, 1, 1, 2), torch.ones(2, 1, 1, 2)\n"
        "g[1] = 100\n"
        "x, w, g = x.double(), w.double(), g.double()",
        "torch.nn.grad.conv2d_weight(x, (1, 1, 1, 2), g[:1]).tolist()",
        "[[[[202.0, 202.0]]]]",
        "npconv.conv2d_weight(x, (1, 1, 1, 2), g[:1])",
        "ValueError",
    ),
    Difference(
        "backward-dilation-zero",
        "bug",
        "Dilation 0 is taken for 1 in float32 gradients",
        "With dilation 0 all taps of a kernel would meet the same element. `conv2d` refuses it, "
        "and so do gradients in float64 and of a single image.",
        "x, w, g = torch.ones(2, 1, 4, 4), torch.ones(1, 1, 3, 3), torch.ones(2, 1, 2, 2)",
        BACKWARD.format(f=1, s=[1, 1], p=[0, 0], d=[0, 1], m="[False, True, False]")
        + "[1].sum().item()",
        "72.0",
        "npconv.conv2d_backward(g, x, w, dilation=(0, 1))",
        "ValueError",
        where="platform.machine() == 'x86_64' and torch.backends.mkldnn.is_available()",
        only="Through oneDNN, on x86-64.",
    ),
    Difference(
        "padding-not-multiplied",
        "numbers",
        "float32 skips the padding where the batch has two images or more",
        "An infinite weight over a zero of the padding is infinity times zero, NaN; so torch "
        "answers for one image, and in float64. From two images on its float32 kernel leaves "
        "padding out.",
        "x, w = torch.ones(2, 8, 5, 7), torch.ones(8, 8, 3, 3)\nw[0, 0, 0, 0] = torch.inf",
        "F.conv2d(x, w, padding=1).isnan().sum().item()",
        "0",
        "int(np.isnan(npconv.conv2d(x, w, padding=1)).sum())",
        "22",
        f"{ISSUES}/12484",
        where="platform.machine() == 'x86_64' and torch.backends.mkldnn.is_available()",
        only="Through oneDNN, on x86-64.",
    ),
    Difference(
        "padding-not-multiplied-in-weight-gradient",
        "numbers",
        "float32 skips the padding in the weight gradient alike",
        "The first window hangs over the edge with two rows, 4 taps, and with one column of the "
        "remaining row: 5 of the 6 taps meet padding there, where an infinite error makes NaN.",
        "x, w = torch.ones(2, 1, 5, 7), torch.ones(1, 1, 3, 2, requires_grad=True)\n"
        "y = F.conv2d(x, w, padding=(2, 1))\n"
        "g = torch.ones_like(y)\n"
        "g[0, 0, 0, 0] = torch.inf",
        "torch.autograd.grad(y, w, g)[0].isnan().sum().item()",
        "0",
        "int(np.isnan(npconv.conv2d_weight(x, (1, 1, 3, 2), g, padding=(2, 1))).sum())",
        "5",
        where="platform.machine() == 'x86_64' and torch.backends.mkldnn.is_available() "
        "and 'AVX' in torch.backends.cpu.get_cpu_capability()",
        only="Through oneDNN, on x86-64 with AVX2 or AVX-512.",
    ),
    Difference(
        "inserted-zeros-multiplied",
        "numbers",
        "float32 multiplies the zeros that stride inserts",
        "Column 4 meets tap 2 of the second window and no other: its gradient is 1, whatever the "
        "infinite weight of tap 0. From two images on torch's float32 kernel multiplies that "
        "weight by an inserted zero, which is no window's error; for one image it does not.",
        "x, w = torch.ones(2, 1, 4, 5, requires_grad=True), torch.ones(1, 1, 3, 3)\n"
        "w[0, 0, 1, 0] = torch.inf\n"
        "y = F.conv2d(x, w, stride=2)\n"
        "g = torch.ones_like(y)",
        "torch.autograd.grad(y, x, g)[0][0, 0, 1].tolist()",
        "[inf, 1.0, inf, 1.0, nan]",
        "npconv.conv2d_input((2, 1, 4, 5), w, g, stride=2)[0, 0, 1].tolist()",
        "[inf, 1.0, inf, 1.0, 1.0]",
        where="platform.machine() == 'x86_64' and torch.backends.mkldnn.is_available() "
        "and 'AVX' in torch.backends.cpu.get_cpu_capability()",
        only="Through oneDNN, on x86-64 with AVX2 or AVX-512.",
    ),
    Difference(
        "transforms-spread-infinity",
        "numbers",
        "float32 without oneDNN turns an infinite bias into NaN from 16 images on",
        "Infinity plus a finite sum is infinity. NNPACK transforms whole tiles (by Winograd, or by "
        "Fourier for kernels like this one) and adds the bias on the way, so the infinity meets "
        "itself with the other sign.",
        "x, w, b = torch.ones(16, 1, 5, 7), torch.ones(1, 1, 3, 2), torch.tensor([torch.inf])\n"
        "torch.backends.mkldnn.enabled = False\n"
        "y = F.conv2d(x, w, b)\n"
        "torch.backends.mkldnn.enabled = True",
        "y[0, 0, 0, 0].item()",
        "nan",
        "npconv.conv2d(x, w, b)[0, 0, 0, 0].item()",
        "inf",
        f"{ISSUES}/157237",
        where="torch.backends.nnpack.is_available()",
        only="Where NNPACK supports the processor.",
    ),
    Difference(
        "complex-bias",
        "numbers",
        "An infinite real part makes a complex output NaN in both parts",
        "Real and imaginary parts are added apart: 1 + infinity is infinity and 0 + 0 is 0. "
        "torch's complex addition multiplies one operand by 1 + 0j first.",
        "x = torch.ones(1, 1, 1, 1, dtype=torch.complex128)\n"
        "b = torch.tensor([complex(torch.inf, 0)], dtype=torch.complex128)",
        "F.conv2d(x, x, b).item()",
        "(nan+nanj)",
        "npconv.conv2d(x, x, b).item()",
        "(inf+0j)",
        f"{ISSUES}/82510",
    ),
    Difference(
        "complex-three-products",
        "numbers",
        "A complex64 product within range overflows",
        "The product with 1 is the input itself. torch makes a complex convolution of three real "
        "ones, of which one convolves re + im: 4e38 is more than float32 holds.",
        "x = torch.full((1, 1, 1, 1), complex(2e38, 2e38), dtype=torch.complex64)\n"
        "w = torch.ones(1, 1, 1, 1, dtype=torch.complex64)",
        "F.conv2d(x, w).item()",
        "(nan+nanj)",
        "complex(npconv.conv2d(x, w).item()) == complex(x.item())",
        "True",
        f"{ISSUES}/71108",
    ),
    Difference(
        "float16-input-gradient",
        "numbers",
        "float16 input gradients are summed in float16",
        "1 + 2048 + 1 is 2050, which float16 holds. torch stores the sum after each tap, and 2049 "
        "rounds to 2048, twice. Sums are carried in float64 and rounded once.",
        "x = torch.ones(1, 1, 1, 1, dtype=torch.float16, requires_grad=True)\n"
        "w = torch.ones(1, 1, 1, 3, dtype=torch.float16)\n"
        "y = F.conv2d(x, w, padding=(0, 2))\n"
        "g = torch.tensor([[[[1.0, 2048.0, 1.0]]]], dtype=torch.float16)",
        "torch.autograd.grad(y, x, g)[0].item()",
        "2048.0",
        "npconv.conv2d_input((1, 1, 1, 1), w, g, padding=(0, 2)).item()",
        "2050.0",
        where="not torch.ops.mkldnn._is_mkldnn_fp16_supported()",
        only="Where the processor has no float16 arithmetic for oneDNN to use.",
    ),
    Difference(
        "integers-with-dilation",
        "legality",
        "Integers of 8, 16 and 32 bits are not implemented with dilation",
        "Nothing about dilation depends on the dtype; torch has int64 there, and all without.",
        "x = torch.ones(1, 1, 5, 6, dtype=torch.int32)\n"
        "w = torch.ones(1, 1, 2, 2, dtype=torch.int32)",
        "F.conv2d(x, w, dilation=2)",
        "NotImplementedError",
        "npconv.conv2d(x, w, dilation=2).sum().item()",
        "48",
        f"{ISSUES}/63518",
    ),
    Difference(
        "unsigned-integers",
        "legality",
        "Unsigned integers of 16, 32 and 64 bits are not implemented",
        "Sums modulo 2**bits are as well defined for them as for uint8. Kernels for image sensors "
        "and quantised data need them.",
        "x, w = torch.ones(1, 1, 2, 2).to(torch.uint16), torch.ones(1, 1, 1, 1).to(torch.uint16)",
        "F.conv2d(x, w)",
        "NotImplementedError",
        "npconv.conv2d(x, w).tolist()",
        "[[[[1, 1], [1, 1]]]]",
        f"{ISSUES}/58734",
    ),
    Difference(
        "integer-gradients",
        "legality",
        "Gradients of integers are not implemented",
        "The gradients are sums of products, like the output; a kernel for quantised training "
        "needs a reference for them.",
        "x = torch.ones(1, 1, 3, 3, dtype=torch.int64)\n"
        "g = torch.ones(1, 1, 2, 2, dtype=torch.int64)",
        "torch.nn.grad.conv2d_weight(x, (1, 1, 2, 2), g)",
        "NotImplementedError",
        "npconv.conv2d_weight(x, (1, 1, 2, 2), g).tolist()",
        "[[[[4, 4], [4, 4]]]]",
    ),
    Difference(
        "complex-nn-grad",
        "legality",
        "torch.nn.grad has no complex numbers",
        "autograd has them, by way of real convolutions. conv2d_input and conv2d_weight return "
        "what autograd does: the sum over one window is g times the conjugate of x.",
        "x = torch.full((1, 1, 1, 1), 2 + 1j)\ng = torch.full((1, 1, 1, 1), 1 + 0j)",
        "torch.nn.grad.conv2d_weight(x, (1, 1, 1, 1), g)",
        "NotImplementedError",
        "npconv.conv2d_weight(x, (1, 1, 1, 1), g).item()",
        "(2-1j)",
    ),
    Difference(
        "unbatched-nn-grad",
        "legality",
        "torch.nn.grad takes no single images",
        "What conv2d takes without a batch axis has gradients without one.",
        "x, g = torch.ones(1, 2, 3), torch.ones(1, 2, 2)",
        "torch.nn.grad.conv2d_weight(x, (1, 1, 1, 2), g)",
        "RuntimeError",
        "npconv.conv2d_weight(x, (1, 1, 1, 2), g).tolist()",
        "[[[[4.0, 4.0]]]]",
    ),
    Difference(
        "named-padding-nn-grad",
        "legality",
        "torch.nn.grad takes no padding by name",
        "What conv2d takes as padding its gradients take too.",
        "x, g = torch.ones(1, 1, 2, 3), torch.ones(1, 1, 2, 3)",
        "torch.nn.grad.conv2d_weight(x, (1, 1, 1, 3), g, padding='same')",
        "RuntimeError",
        "npconv.conv2d_weight(x, (1, 1, 1, 3), g, padding='same').tolist()",
        "[[[[4.0, 6.0, 4.0]]]]",
    ),
    Difference(
        "padding-beyond-torch",
        "legality",
        "Padding for each side, crops, and 'same' with a stride",
        "ONNX and TensorFlow have them; npconv takes ((top, bottom), (left, right)) of either "
        "sign, 'same_upper' and 'same_lower'. The plain 'same' refuses a stride, as torch does.",
        "x, w = torch.ones(1, 1, 3, 3), torch.ones(1, 1, 2, 2)",
        "F.conv2d(x, w, stride=2, padding='same_upper')",
        "RuntimeError",
        "npconv.conv2d(x, w, stride=2, padding='same_upper').tolist()",
        "[[[[4.0, 2.0], [2.0, 1.0]]]]",
    ),
    Difference(
        "empty-rows-in-an-empty-batch",
        "legality",
        "An empty batch of images without rows",
        "Both refuse images without rows where there are images, whatever the padding. npconv "
        "refuses them in an empty batch too, so that legality does not depend on the batch.",
        "x, w = torch.ones(0, 1, 0, 6), torch.ones(1, 1, 3, 3)",
        "tuple(F.conv2d(x, w, padding=2).shape)",
        "(0, 1, 2, 8)",
        "npconv.conv2d(x, w, padding=2)",
        "ValueError",
    ),
    Difference(
        "sizes-over-64-bits",
        "legality",
        "A padded input of more bytes than 64 bits can count",
        "torch does not build the padded input and answers. npconv refuses what no program that "
        "builds it could address: the formulas do, and accept just what the calls accept.",
        "x, w = torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, 1)",
        "F.conv2d(x, w, padding=2**31, stride=2**31).tolist()",
        "[[[[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]]]",
        "npconv.conv2d(x, w, padding=2**31, stride=2**31)",
        "ValueError",
    ),
    Difference(
        "numpy-parameters",
        "legality",
        "Parameters as NumPy arrays",
        "npconv takes for an int whatever Python takes for an index, but no bool, and for a pair "
        "any sequence of such. torch takes NumPy's scalars and no arrays; a 0-d array meets an "
        "internal assertion.",
        "x, w = torch.ones(1, 1, 3, 5), torch.ones(1, 1, 1, 1)",
        "F.conv2d(x, w, stride=np.array([2, 3]))",
        "TypeError",
        "npconv.conv2d(x, w, stride=np.array([2, 3])).shape",
        "(1, 1, 2, 2)",
    ),
    Difference(
        "array-layouts",
        "legality",
        "Negative strides and foreign byte order",
        "A tensor has neither; an array with them is an array like any other.",
        "x, w = np.arange(3.0).reshape(1, 1, 1, 3), np.ones((1, 1, 1, 1))",
        "torch.from_numpy(x[..., ::-1])",
        "ValueError",
        "npconv.conv2d(x[..., ::-1], w).tolist()",
        "[[[[2.0, 1.0, 0.0]]]]",
    ),
    Difference(
        "exceptions",
        "legality",
        "Which exception an illegal value raises",
        "A bad value is a ValueError and a bad type a TypeError; torch raises RuntimeError for "
        "most of both.",
        "x, w = torch.ones(1, 1, 3, 3), torch.ones(1, 1, 2, 2)",
        "F.conv2d(x, w, stride=0)",
        "RuntimeError",
        "npconv.conv2d(x, w, stride=0)",
        "ValueError",
        f"{ISSUES}/127701",
    ),
)


def outcomes(entry: Difference, torch: ModuleType) -> tuple[str, str]:
    """Run an entry's code; return the texts of torch's answer and of npconv's."""
    import numpy as np

    import npconv

    names = {"torch": torch, "F": torch.nn.functional, "np": np, "npconv": npconv}
    exec(entry.setup, names)
    return _answer(entry.torch, names), _answer(entry.npconv, names)


def shown_here(entry: Difference, torch: ModuleType) -> bool:
    """Whether this machine has what the difference needs."""
    return bool(eval(entry.where, {"torch": torch, "platform": platform}))


def _answer(expression: str, names: dict[str, Any]) -> str:
    try:
        return repr(eval(expression, names))
    except Exception as error:  # noqa: BLE001 - whatever a call raises is its answer
        return type(error).__name__


def page() -> str:
    """Return docs/differences.md."""
    parts = [
        "# Where torch differs",
        (
            f"npconv follows PyTorch's documentation. Where torch {TORCH} itself differs from it, "
            "or from the definition of convolution, the definition holds. Each difference below is "
            "run by `conformance/test_differences.py`, which fails when torch stops differing. The "
            "page is printed by `python -m conformance.differences`; `F` is `torch.nn.functional`."
        ),
    ]
    for kind, (title, text) in KINDS.items():
        parts += [f"## {title}", text]
        for entry in DIFFERENCES:
            if entry.kind == kind:
                parts += _section(entry)
    return "\n\n".join(parts) + "\n"


def _section(entry: Difference) -> list[str]:
    issue = (
        f"Reported: [pytorch#{entry.reported.rsplit('/', 1)[1]}]({entry.reported})."
        if entry.reported
        else "No public report found."
    )
    reported = "" if entry.kind == "legality" and not entry.reported else issue
    # `py`, not `python`: the environment that runs the documentation's examples has no torch.
    code = (
        f"```py\n{entry.setup}\n"
        f"{entry.torch}\n# torch: {entry.does}\n{entry.npconv}\n# npconv: {entry.should}\n```"
    )
    closing = " ".join(text for text in (entry.only, reported) if text)
    return [f"### {entry.title}", entry.why, code, *([closing] if closing else [])]


if __name__ == "__main__":
    print(page(), end="")
