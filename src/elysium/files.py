"""Files that are whole or not there."""

import os
from pathlib import Path


def write_atomic(path: Path, text: str) -> None:
    """Write a text file beside its place, then rename it; the folder is made if it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(text)
    os.replace(part, path)
