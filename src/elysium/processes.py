"""Nothing outlives the command that started it.

A run that is killed must not leave a trainer or a DVC lock behind, or the next run could not take over.
`python -m elysium.processes MODULE [ARGUMENTS]` runs a module of this environment that ends with its parent.
"""

import ctypes
import os
import signal
import sys
from types import FrameType

import psutil

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Ask the kernel to send SIGTERM to this process when its parent ends, however it ends (Linux; else no effect).

    To be called at the start of a command; it outlasts `exec`.
    """
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def take_children_along() -> None:
    """On SIGTERM, send it to every process below this one, then end with 143."""

    def end(number: int, frame: FrameType | None) -> None:
        for child in psutil.Process().children(recursive=True):
            try:
                child.terminate()
            except psutil.NoSuchProcess:
                continue
        os._exit(128 + number)

    signal.signal(signal.SIGTERM, end)


if __name__ == "__main__":
    die_with_parent()
    os.execv(sys.executable, [sys.executable, "-m", *sys.argv[1:]])
