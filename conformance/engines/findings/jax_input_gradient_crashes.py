"""JAX: compiling the input gradient of a small strided convolution kills Python.

Seen in jax and jaxlib 0.10.2 on the CPU, Linux x86-64. XLA's algebraic simplifier checks a
convolution that it has made itself, whose window has the wrong size: "Window dimensions do not
match RHS shape".

Expected, by hand: a kernel of 2 x 3 ones walks over 4 x 4 pixels by steps of 2, with one row of
padding above and below. Its windows cover rows -1 and 0, 1 and 2, 3 and 4, and columns 0 to 2: of
the sum of all outputs each pixel has the gradient 1, those of column 3, which no window meets, 0.

The gradient of jax.lax.conv_general_dilated is one that JAX has a rule for:
https://docs.jax.dev/en/latest/_autosummary/jax.lax.conv_general_dilated.html

No public report found (searched 2026-11-21). Another check of the simplifier fails likewise on a
window of ones: https://github.com/openxla/xla/issues/48719
"""

import subprocess
import sys

CODE = """
import jax
import jax.numpy as jnp

x, weight = jnp.ones((1, 1, 4, 4)), jnp.ones((1, 1, 2, 3))

def total(x):
    return jax.lax.conv_general_dilated(x, weight, (2, 2), [(1, 1), (0, 0)]).sum()

print(jax.grad(total)(x).ravel().tolist() == [1.0, 1.0, 1.0, 0.0] * 4)
"""

if __name__ == "__main__":
    import jax

    # In a process of its own, which it ends.
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    got = done.stdout.strip() if done.returncode == 0 else f"exit status {done.returncode}"
    print(f"jax {jax.__version__}")
    print(f"the gradient is 1 in three columns and 0 in the last: got {got}, expected True")
    sys.exit(got != "True")
