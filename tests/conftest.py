"""Two workers share the tests by file (`make test`); the longest file goes first, or one worker would wait for it."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The flow's tests to the front; everything else keeps its order."""
    items.sort(key=lambda item: "tests/flows/" not in item.nodeid)
