"""Serve an engine's functions over stdin and stdout: ``python server.py ENGINE``.

Runs in the engine's own Python, 3.6 or later, and imports nothing but this folder and the engine.
The first message sent is what the engine's module declares; then each call gets its answer.
"""

import contextlib
import ctypes
import importlib
import os
import signal
import sys

from frames import receive, send

_PR_SET_PDEATHSIG = 1


def main(engine):
    """Answer calls until the other end closes."""
    with contextlib.suppress(OSError, AttributeError):  # outside of Linux
        # An engine that hangs does not see that nobody waits for it any more.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    calls, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what an engine prints is no message
    served = importlib.import_module(engine + "_engine").engine()
    send(
        answers,
        {
            "functions": list(served["functions"]),
            "supports": served["supports"],
            "version": served["version"],
        },
    )
    while True:
        try:
            name, arguments = receive(calls)
        except EOFError:
            return
        try:
            answer = {"result": served["functions"][name](*arguments)}
        except Exception as error:  # noqa: BLE001  # the other end judges it
            answer = {"raised": type(error).__name__, "says": str(error)}
        send(answers, answer)


if __name__ == "__main__":
    main(sys.argv[1])
