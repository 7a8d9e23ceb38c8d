"""Decoding ahead: a thread makes the next item while the present one is worked on."""

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TypeVar

T = TypeVar("T")


def ahead(items: Generator[T, None, None]) -> Generator[T, None, None]:
    """The items in order, one more than asked for being made in a thread; an error comes where it would have come.

    When it ends or is closed, the item being made is waited for, the thread ends and `items` is closed.
    """
    end = object()
    with closing(items), ThreadPoolExecutor(1, "ahead") as pool:
        coming = pool.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = pool.submit(next, items, end)
            yield item  # type: ignore[misc]
