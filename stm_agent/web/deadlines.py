"""A connection that sends half a request is closed: a thousand of them would take every file that a process may open.

uvicorn closes idle connections only. h11 says what a client still owes: headers (``IDLE`` with some bytes of them), or
the rest of a body that nobody reads because the answer has been sent.
"""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_SECONDS = 20.0
"""Time for the headers of a request, or for the rest of a body after the answer."""


class DeadlineProtocol(H11Protocol):
    """HTTP/1.1 whose clients have a limited time to send a request, however slowly they send."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give a new connection its time."""
        super().connection_made(transport)
        self._deadline = self.loop.call_later(HEADER_SECONDS, self._close_late)

    def data_received(self, data: bytes) -> None:
        """Take what was sent; the deadline stays until the whole request has arrived."""
        super().data_received(data)
        self._set_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline with the connection."""
        self._cancel()
        super().connection_lost(exc)

    def _owes(self) -> bool:
        answered = self.cycle is not None and self.cycle.response_complete
        return self.conn.their_state is h11.IDLE or (answered and self.conn.their_state is h11.SEND_BODY)

    def _set_deadline(self) -> None:
        if not self._owes():
            self._cancel()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(HEADER_SECONDS, self._close_late)

    def _cancel(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _close_late(self) -> None:
        self._deadline = None
        if self._owes() and not self.transport.is_closing():
            self.transport.close()
