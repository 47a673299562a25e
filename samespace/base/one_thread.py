"""Keep the threads that numpy multiplies matrices in out of the way of ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import Any

_lock = Lock()
_holders = 0  # blocks that are open
_limit: Any = None  # what is in force while there are some


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Let every thread multiply matrices alone while this block is open, in any thread.

    Several that share one product mostly wait for each other: a search in two threads takes twelve times as long.
    """
    global _holders, _limit
    with _lock:
        if not _holders:
            _limit = _controller().limit(limits=1, user_api="blas")
        _holders += 1
    try:
        yield
    finally:
        with _lock:
            _holders -= 1
            if not _holders:
                _limit.restore_original_limits()


@cache
def _controller() -> Any:
    import numpy  # noqa: F401 - only what is loaded by now is controlled
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
