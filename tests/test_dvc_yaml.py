"""dvc.yaml reruns what changed: no stage imports code, or reads a section of params.yaml, that it does not declare."""

import ast
from pathlib import Path, PurePosixPath

import pytest
import yaml

from elysium.config import STAGES, TRAINING_STAGES

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
DVC = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
ENTRIES = {
    "world": ["elysium.data.world"],
    "curate": ["elysium.curation.pipeline"],
    "evaluate": ["elysium.evaluation.run"],
    **{stage: ["elysium.training.stage", "elysium.training.worker"] for stage in STAGES if stage in TRAINING_STAGES},
}
# What these say reaches a stage through its params, or does not change what a stage makes.
NEUTRAL = {"elysium", "elysium.config", "elysium.errors", "elysium.files", "elysium.offline", "elysium.processes"}


def test_there_is_one_dvc_stage_per_stage_of_the_pipeline() -> None:
    assert tuple(DVC) == STAGES
    assert [stage["cmd"] for stage in DVC.values()] == [f"exec elysium stage {name}" for name in STAGES]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_all_the_code_that_it_imports(stage: str) -> None:
    declared = [PurePosixPath(dep) for dep in DVC[stage]["deps"]]
    undeclared = []
    for module in sorted(_closure(ENTRIES[stage]) - NEUTRAL):
        path = PurePosixPath(_file(module).relative_to(ROOT))  # type: ignore[union-attr]
        if not any(parent in declared for parent in (path, *path.parents)):
            undeclared.append(str(path))
    assert not undeclared


@pytest.mark.parametrize("stage", STAGES)
def test_code_that_a_stage_declares_exists(stage: str) -> None:
    assert not [dep for dep in DVC[stage]["deps"] if dep.startswith("src/") and not (ROOT / dep).exists()]


def test_a_training_stage_depends_on_the_stage_it_starts_from() -> None:
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    for stage in STAGES:
        start = params["train"].get(stage, {}).get("init_from")
        if start:
            assert f"artifacts/{start}/model" in DVC[stage]["deps"]
    assert f"artifacts/{params['eval']['model']}/model" in DVC["evaluate"]["deps"]


def test_a_stage_depends_on_the_folders_of_its_mixture_and_inputs() -> None:
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    for stage in STAGES:
        for source in params["train"].get(stage, {}).get("mixture", {}).values():
            assert source["folder"] in DVC[stage]["deps"]
    for source in params["curation"]["inputs"].values():
        parents = map(str, (PurePosixPath(source["videos"]), *PurePosixPath(source["videos"]).parents))
        assert set(parents) & set(DVC["curate"]["deps"])


def _file(module: str) -> Path | None:
    base = SOURCE / Path(*module.split("."))
    candidates = [base.with_suffix(".py"), base / "__init__.py"]
    return next((path for path in candidates if path.is_file()), None)


def _closure(modules: list[str]) -> set[str]:
    """Every module of the project that these import, directly or not, at the top or inside a function."""
    seen: set[str] = set()
    todo = list(modules)
    while todo:
        module = todo.pop()
        path = _file(module)
        if module in seen or path is None:
            continue
        seen.add(module)
        parts = module.split(".")
        todo += [".".join(parts[:n]) for n in range(1, len(parts))]  # the packages' __init__
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("elysium"):
                todo += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.Import):
                todo += [alias.name for alias in node.names if alias.name.startswith("elysium")]
    assert set(modules) <= seen, f"no such module among {modules}"
    return seen
