"""A kernel on torch tensors, on a GPU where there is one, with gradients from autograd."""

import torch

from npconv.adapters import from_torch, to_torch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
torch.backends.cudnn.allow_tf32 = False

supports = {"padding": ["pair", "same", "valid"], "unbatched": True}


def kernel(x, weight, bias, stride, padding, dilation, groups):
    """Stand for your own: tensors in, a tensor out."""
    return torch.nn.functional.conv2d(x, weight, bias, stride, padding, dilation, groups)


def conv2d(x, weight, bias, *parameters):
    """Return the output as an array."""
    tensors = [None if array is None else to_torch(array).to(DEVICE) for array in (x, weight, bias)]
    return from_torch(kernel(*tensors, *parameters))


def conv2d_backward(error, x, weight, stride, padding, dilation, groups, output_mask):
    """Return what autograd gives, None where the mask is False."""
    arrays = [to_torch(x).to(DEVICE), to_torch(weight).to(DEVICE)]
    bias = torch.zeros(len(weight), dtype=arrays[1].dtype, device=DEVICE)
    leaves = [tensor.detach().requires_grad_() for tensor in (*arrays, bias)]
    output = kernel(*leaves, stride, padding, dilation, groups)
    wanted = [leaf for leaf, on in zip(leaves, output_mask, strict=True) if on]
    if not wanted:
        return [None, None, None]
    gradients = iter(torch.autograd.grad(output, wanted, to_torch(error).to(DEVICE)))
    return [from_torch(next(gradients)) if on else None for on in output_mask]
