"""Let the first call to a provider go alone, so that a wrong key or model name costs one call and not many."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from stm_agent.errors import AnswerRejected, GenerationError


class FirstCall:
    """Holds back all calls but one until the provider has answered, or refused, one of them; safe between threads."""

    def __init__(self) -> None:
        """Begin before the first call."""
        self._passed = False
        self._running = False
        self._failures = 0
        self._error: GenerationError | None = None
        self._ended = threading.Condition()

    @contextmanager
    def ahead(self) -> Iterator[None]:
        """Run one call: alone if the provider has not answered yet, else at once.

        Raises:
            GenerationError: The call that this one waited for found that the provider cannot be used.
        """
        if self._passed:
            yield
            return
        with self._ended:
            failures = self._failures
            while self._running and not self._passed:
                self._ended.wait()
            if self._failures != failures and not self._passed and self._error is not None:
                raise GenerationError(str(self._error)) from self._error
            self._running = not self._passed
        passed, useless = False, None
        try:
            yield
            passed = True
        except AnswerRejected:
            passed = True
            raise
        except GenerationError as error:
            useless = error
            raise
        finally:
            self._end(passed=passed, error=useless)

    def _end(self, *, passed: bool, error: GenerationError | None) -> None:
        with self._ended:
            self._running = False
            self._passed = self._passed or passed
            if error is not None:
                self._failures, self._error = self._failures + 1, error
            self._ended.notify_all()
