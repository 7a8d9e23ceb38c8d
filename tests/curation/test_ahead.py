"""The decoding thread: order, errors, and never more than one item ahead."""

import threading
from collections.abc import Generator

import pytest

from elysium.curation.ahead import ahead


def test_items_come_in_order_and_the_error_where_it_was() -> None:
    def items() -> Generator[int, None, None]:
        yield from range(3)
        raise ValueError("broken")

    seen = []
    with pytest.raises(ValueError, match="broken"):
        for item in ahead(items()):
            seen.append(item)
    assert seen == [0, 1, 2]
    assert list(ahead(i for i in ())) == []


def test_one_item_is_made_ahead_in_a_thread_that_ends_with_its_reader() -> None:
    made: list[int] = []
    threads: set[threading.Thread] = set()
    third, closed = threading.Event(), threading.Event()

    def items() -> Generator[int, None, None]:
        try:
            for i in range(100):
                made.append(i)
                threads.add(threading.current_thread())
                if i == 2:
                    third.set()
                yield i
        finally:
            closed.set()

    reader = ahead(items())
    assert [next(reader), next(reader)] == [0, 1]
    assert third.wait(60)  # nobody has asked for it yet
    reader.close()
    assert made == [0, 1, 2] and closed.is_set()
    assert threading.current_thread() not in threads and not any(thread.is_alive() for thread in threads)
