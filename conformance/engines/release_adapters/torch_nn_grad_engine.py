"""PyTorch's ``torch.nn.grad``: gradients by functions of their own."""

import torch
import torch_engine
from torch.nn.grad import conv2d_input, conv2d_weight


def engine():
    """Return functions, what they support, and the version."""
    return dict(
        torch_engine.engine(),
        functions={"conv2d_input": input_gradient, "conv2d_weight": weight_gradient},
    )


def input_gradient(input_size, weight, grad_output, *parameters):
    """Return the gradient of the input."""
    tensors = torch.from_numpy(weight), torch.from_numpy(grad_output)
    return conv2d_input(input_size, *tensors, *parameters).numpy()


def weight_gradient(x, weight_size, grad_output, *parameters):
    """Return the gradient of the weight."""
    tensors = torch.from_numpy(x), torch.from_numpy(grad_output)
    return conv2d_weight(tensors[0], weight_size, tensors[1], *parameters).numpy()
