"""The environment of the embedded default: no telemetry, no downloads, quiet libraries.

Set in one place and inherited by every subprocess. A user who wants a hub or telemetry sets the variable himself:
what is already set is never overwritten. `python -m elysium.offline COMMAND [ARGUMENTS]` runs a command under it,
found beside this interpreter first.
"""

import os
import sys
from pathlib import Path

OFFLINE_ENV = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DVC_NO_ANALYTICS": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "TRANSFORMERS_VERBOSITY": "error",
    "PYTHONWARNINGS": "ignore::FutureWarning:torch.distributed.c10d_logger",
    "TOKENIZERS_PARALLELISM": "false",
    "DS_ACCELERATOR": "cpu",
}


def apply() -> None:
    """Set the variables of `OFFLINE_ENV` that are not set yet; the accelerator is forced to the CPU only without CUDA.

    The folder of this interpreter joins PATH, so `dvc` and `elysium` are found though no environment is active.
    """
    for name, value in OFFLINE_ENV.items():
        if name == "DS_ACCELERATOR" and os.path.exists("/dev/nvidiactl"):
            continue
        os.environ.setdefault(name, value)
    bin_dir = str(Path(sys.executable).parent)
    if bin_dir not in os.environ.get("PATH", "").split(os.pathsep):
        os.environ["PATH"] = bin_dir + os.pathsep + os.environ.get("PATH", os.defpath)


if __name__ == "__main__":
    apply()
    os.execvp(sys.argv[1], sys.argv[1:])
