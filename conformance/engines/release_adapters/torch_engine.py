"""PyTorch on the CPU, 0.4 and later: conv2d, and autograd's gradients."""

import torch
from torch.nn.functional import conv2d

#: No torch tensor has a negative stride.
LAYOUTS = (
    "packed", "channels_last", "channel_slice", "stepped", "transposed", "readonly", "expanded",
)  # fmt: skip


def engine():
    """Return functions, what they support, and the version."""
    torch.set_num_threads(1)
    return {
        "functions": {"conv2d": forward, "conv2d_backward": backward},
        "supports": {"layouts": LAYOUTS},
        "version": "torch " + torch.__version__,
    }


def forward(x, weight, bias, stride, padding, dilation, groups):
    """Return the output."""
    tensors = [None if array is None else torch.from_numpy(array) for array in (x, weight, bias)]
    with torch.no_grad():
        return conv2d(*tensors, stride, padding, dilation, groups).numpy()


def backward(grad_output, x, weight, stride, padding, dilation, groups, output_mask):
    """Return what autograd gives, None where the mask is False."""
    error = torch.from_numpy(grad_output)
    leaves = [torch.from_numpy(x), torch.from_numpy(weight), error.new_zeros(len(weight))]
    wanted = [leaf.requires_grad_() for leaf, on in zip(leaves, output_mask) if on]  # noqa: B905  # Python 3.6
    if not wanted:
        return None, None, None
    output = conv2d(*leaves, stride, padding, dilation, groups)
    gradients = iter(torch.autograd.grad(output, wanted, error))
    return [next(gradients).numpy() if on else None for on in output_mask]
