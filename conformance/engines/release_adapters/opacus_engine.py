"""Opacus: the gradients of weight and bias for each image, added up over the images."""

import opacus
import torch
import torch_engine
from opacus import GradSampleModule


def engine():
    """Return functions, what they support, and the version."""
    return dict(
        torch_engine.engine(),
        functions={"conv2d_backward": backward},
        supports={"ops": ("grad_weight", "grad_bias"), "layouts": torch_engine.LAYOUTS},
        version=f"opacus {opacus.__version__}, torch {torch.__version__}",
    )


def backward(grad_output, x, weight, stride, padding, dilation, groups, output_mask):
    """Return the sums of the gradients of a Conv2d layer's samples, None where not asked."""
    error, tensors = torch.from_numpy(grad_output), (torch.from_numpy(x), torch.from_numpy(weight))
    features, kernel = weight.shape[0], weight.shape[2:]
    layer = torch.nn.Conv2d(
        x.shape[1], features, kernel, stride, padding, dilation, groups, bias=True
    ).to(error.dtype)
    layer.weight.data = tensors[1]
    layer.bias.data.zero_()
    samples = GradSampleModule(layer, loss_reduction="sum")
    samples(tensors[0]).backward(error)
    gradients = None, layer.weight.grad_sample.sum(0), layer.bias.grad_sample.sum(0)
    return [
        gradient.numpy() if on and gradient is not None else None
        for gradient, on in zip(gradients, output_mask)  # noqa: B905  # Python 3.6 has no strict
    ]
