"""BackPACK: the input's gradient as a product with the layer's transposed Jacobian."""

import pkg_resources
import torch
import torch_engine
from backpack import extend
from backpack.core.derivatives.conv2d import Conv2DDerivatives


def engine():
    """Return functions, what they support, and the version."""
    version = pkg_resources.get_distribution("backpack-for-pytorch").version
    return dict(
        torch_engine.engine(),
        functions={"conv2d_input": input_gradient},
        version=f"backpack {version}, torch {torch.__version__}",
    )


def input_gradient(input_size, weight, grad_output, stride, padding, dilation, groups):
    """Return the gradient of the input; a forward pass on zeros tells the layer its sizes."""
    error = torch.from_numpy(grad_output)
    features, kernel = weight.shape[0], weight.shape[2:]
    layer = torch.nn.Conv2d(
        input_size[1], features, kernel, stride, padding, dilation, groups, bias=False
    ).to(error.dtype)
    layer.weight.data = torch.from_numpy(weight)
    extend(layer)(error.new_zeros(input_size))
    return Conv2DDerivatives().jac_t_mat_prod(layer, None, None, error).detach().numpy()
