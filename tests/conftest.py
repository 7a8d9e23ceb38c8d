"""Two workers share the tests by file (`make test`); the longest file goes first, or one worker would wait for it."""

from pathlib import Path

import hypothesis
import pytest

# How long an example takes depends on the machine's load, not on what is tested.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The flow's tests to the front; everything else keeps its order."""
    items.sort(key=lambda item: "tests/flows/" not in item.nodeid)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the smallest model, random weights, and its processor; to be read only."""
    from tests.model.tiny import CONV, tiny_config, tiny_model, tiny_processor

    path = tmp_path_factory.mktemp("checkpoint") / "model"
    tiny_model(tiny_config(CONV)).save_pretrained(path)
    tiny_processor().save_pretrained(path)
    return path
