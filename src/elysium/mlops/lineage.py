"""What a stage was made from: the hashes that DVC keeps, read from its files (DVC itself is never imported)."""

import subprocess
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml


@dataclass(frozen=True)
class TrackedPath:
    """A file or folder of `data.dvc` or `dvc.lock` with its MD5 (a folder's ends in `.dir`)."""

    path: str
    md5: str


def tracked_paths(root: Path = Path()) -> dict[str, TrackedPath]:
    """All outputs known to `*.dvc` files of the folder and to `dvc.lock`, by path."""
    entries: list[dict[str, Any]] = []
    for file in sorted(root.glob("*.dvc")):
        if file.is_file():
            entries += _yaml(file).get("outs", [])
    for stage in _yaml(root / "dvc.lock").get("stages", {}).values():
        entries += stage.get("outs", [])
    return {e["path"]: TrackedPath(e["path"], e["md5"]) for e in entries if "md5" in e}


def stage_inputs(stage: str, root: Path = Path()) -> list[TrackedPath]:
    """The tracked data among the dependencies of a stage of `dvc.yaml` (code is left out: the git commit says it)."""
    known = tracked_paths(root)
    found = {}
    for dep in _yaml(root / "dvc.yaml").get("stages", {}).get(stage, {}).get("deps", []):
        for parent in (PurePosixPath(dep), *PurePosixPath(dep).parents):
            if str(parent) in known:
                found[str(parent)] = known[str(parent)]
                break
    return list(found.values())


def stage_outputs(stage: str, root: Path = Path()) -> list[TrackedPath]:
    """The outputs of a stage as `dvc.lock` records them; empty if it never ran."""
    entries = _yaml(root / "dvc.lock").get("stages", {}).get(stage, {}).get("outs", [])
    return [TrackedPath(e["path"], e["md5"]) for e in entries if "md5" in e]


def stage_sections(stage: str, root: Path = Path()) -> list[str]:
    """The dotted sections of `params.yaml` that a stage of `dvc.yaml` depends on."""
    sections = _yaml(root / "dvc.yaml").get("stages", {}).get(stage, {}).get("params", [])
    return [section for section in sections if isinstance(section, str)]


def git_commit(root: Path = Path()) -> str:
    """The commit of the working tree, with `-dirty` if tracked files differ from it; empty outside a repository."""
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    content = yaml.safe_load(path.read_text())
    return content if isinstance(content, dict) else {}
