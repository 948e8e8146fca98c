"""An output that the caller allocates."""

from shift_and_add import conv2d


def conv2d_out(out, *arguments):
    """Write the output."""
    out[...] = conv2d(*arguments)
