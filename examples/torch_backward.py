"""A kernel on torch tensors with a backward written by hand."""

from torch.nn.functional import fold, unfold

from npconv.adapters import from_torch, to_torch

supports = {"groups": False}


def conv2d(x, weight, bias, stride, padding, dilation, _groups):
    """Return the product of the weight and the columns."""
    windows = {"dilation": dilation, "padding": padding, "stride": stride}
    columns = unfold(to_torch(x), weight.shape[2:], **windows)
    out = to_torch(weight).flatten(1) @ columns
    if bias is not None:
        out += to_torch(bias)[:, None]
    return from_torch(out.reshape(len(x), len(weight), *_extents(x, weight, **windows)))


def conv2d_backward(error, x, weight, stride, padding, dilation, _groups, output_mask):
    """Return the gradients, None where the mask is False."""
    windows = {"dilation": dilation, "padding": padding, "stride": stride}
    size, kernel = x.shape[2:], weight.shape[2:]
    columns = unfold(to_torch(x), kernel, **windows)
    errors, matrix = to_torch(error).flatten(2), to_torch(weight).flatten(1)
    if error.shape[2:] != _extents(x, weight, **windows):
        raise ValueError("grad_output must have the output's shape")
    gradients = (
        lambda: fold(matrix.T @ errors, size, kernel, **windows),
        lambda: (errors @ columns.transpose(1, 2)).sum(0).reshape(weight.shape),
        lambda: errors.sum((0, 2)),
    )
    return tuple(
        from_torch(gradient().contiguous()) if on else None
        for gradient, on in zip(gradients, output_mask, strict=True)
    )


def _extents(x, weight, dilation, padding, stride):
    """Return the output's extents; refuse what torch's unfold lets pass."""
    if min(weight.shape) < 1:
        raise ValueError("all sizes of the weight start at 1")
    axes = zip(x.shape[2:], weight.shape[2:], dilation, padding, stride, strict=True)
    return tuple((e + 2 * p - d * (k - 1) - 1) // s + 1 for e, k, d, p, s in axes)
