"""`Turns`: one thread at a time for one key."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary


if TYPE_CHECKING:
    from collections.abc import Iterator


class _Turn:
    """A lock that can be referred to weakly."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


class Turns:
    """Locks by key, kept for as long as somebody holds or awaits them."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._turns: WeakValueDictionary[str, _Turn] = WeakValueDictionary()

    @contextmanager
    def take(self, key: str) -> Iterator[None]:
        """Wait until no other thread works on a key, and keep others from it meanwhile."""
        with self._guard:
            turn = self._turns.setdefault(key, _Turn())
        with turn.lock:
            yield
