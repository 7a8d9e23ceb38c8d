"""Nothing outlives the command that started it."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path


def test_a_process_of_the_flow_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    """`python -m elysium.processes` asks the kernel for it, so even SIGKILL of the parent leaves nothing behind."""
    code = (
        "import subprocess, sys, time; c = subprocess.Popen([sys.executable, '-m', 'elysium.processes', 'http.server',"
        " '0', '--bind', '127.0.0.1'], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL);"
        " print(c.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    _wait_for(lambda: "http.server" in Path(f"/proc/{child}/cmdline").read_text() and _execed(child))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    _wait_for(lambda: not Path(f"/proc/{child}").exists() or "State:\tZ" in Path(f"/proc/{child}/status").read_text())


def _execed(pid: int) -> bool:
    return "elysium.processes" not in Path(f"/proc/{pid}/cmdline").read_text()


def _wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
