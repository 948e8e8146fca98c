"""torch: a channels-last convolution whose windows all miss the image along its width kills Python.

Seen with torch 2.13.0+cpu (oneDNN 3.12.0) on an x86-64 processor with AVX-512, in float32 with a
bias and in bfloat16 with and without one, in images and kernels of ``torch.channels_last``. The
stack ends in oneDNN's ``brgemm_convolution_fwd_t::perform_outwork``.

Expected, by hand: the image has one column. With a kernel of two columns, dilation 2, stride 2 and
padding 3 the windows' taps stand at columns -3 and -1, -1 and 1, 1 and 3: none at column 0. All see
padding alone, zeros, so each output is its bias. The documentation of torch.nn.functional.conv2d
allows any stride and any padding, and pads with zeros on both sides:
https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.conv2d.html

Reported: https://github.com/uxlfoundation/oneDNN/issues/5942, which names
https://github.com/pytorch/pytorch/issues/195394; mended in oneDNN since.
"""

import subprocess
import sys

CODE = """
import torch
x = torch.ones(3, 4, 7, 1).to(memory_format=torch.channels_last)
w = torch.ones(6, 4, 3, 2).to(memory_format=torch.channels_last)
b = torch.arange(6.0)
y = torch.nn.functional.conv2d(x, w, b, stride=(2, 2), padding=(0, 3), dilation=(2, 2))
print(torch.equal(y, b.reshape(1, 6, 1, 1).expand(3, 6, 2, 3)))
"""

if __name__ == "__main__":
    import torch

    # In a process of its own, which it ends.
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    got = done.stdout.strip() if done.returncode == 0 else f"exit status {done.returncode}"
    print(f"torch {torch.__version__}")
    print(f"the outputs are the biases: got {got}, expected True")
    sys.exit(got != "True")
