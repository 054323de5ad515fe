"""An OpenAI-compatible server on loopback that answers the same request alike, counts every one, and can go away."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

WORDS = ("pain", "swelling", "itch", "cold", "weakness", "pressure", "redness", "fever", "cough", "numbness")
SECONDS = 0.1
"""What one answer takes: long enough for a kill to come in the middle of one."""


def answer_to(body: dict[str, Any]) -> str:
    """Return a text that differs from request to request and repeats nothing of it; the seed changes nothing."""
    digest = hashlib.sha256(json.dumps(body["messages"], sort_keys=True).encode()).digest()
    first, second, third = (WORDS[digest[number] % len(WORDS)] for number in range(3))
    return f"a note about {first} with {second} and without {third}, number {digest[3]}"


@dataclass
class Asked:
    """What one client asked for.

    Attributes:
        answers: Folder of the client's stored answers, to see at a repeated request whether its answer was there.
        times: Request -> how often it came.
        stored_repeats: Repeated requests whose answer was stored when they came: paid twice.
        unstored_repeats: Repeated requests whose answer had not been stored: it was under way when the kill came.
    """

    answers: Path
    times: dict[str, int] = field(default_factory=dict)
    stored_repeats: int = 0
    unstored_repeats: int = 0

    def note(self, body: dict[str, Any]) -> None:
        """Count one request. The engine's seed is made of the request's key, which names the stored answer."""
        key = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        self.times[key] = self.times.get(key, 0) + 1
        if self.times[key] > 1:
            stored = {int(path.stem[:8], 16) % 2**31 for path in self.answers.glob("??/*.json")}
            if body["seed"] in stored:
                self.stored_repeats += 1
            else:
                self.unstored_repeats += 1

    def to_json(self) -> dict[str, int]:
        """Return the counts."""
        return {
            "requests": sum(self.times.values()),
            "distinct": len(self.times),
            "paid_twice": self.stored_repeats,
            "under_way_at_a_kill": self.unstored_repeats,
        }


class CountingServer:
    """A context manager; clients are told apart by their API key."""

    def __init__(self, *, lives_for: int | None = None) -> None:
        """Take the number of answers after which the server closes for good; None: never."""
        self.asked: dict[str, Asked] = {}
        self.lives_for, self.answered = lives_for, 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def base(self) -> str:
        """Address for ``--api-base``."""
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def expect(self, key: str, answers: Path) -> Asked:
        """Return the counts of the client with an API key, from now on."""
        self.asked[key] = Asked(answers)
        return self.asked[key]

    def __enter__(self) -> CountingServer:
        """Begin to answer."""
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close, if that has not happened."""
        self.close()

    def close(self) -> None:
        """Close the port: nobody can connect any more."""
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                key = self.headers["authorization"].removeprefix("Bearer ")
                with outer._lock:
                    outer.asked[key].note(body)
                    outer.answered += 1
                    last = outer.answered == outer.lives_for
                time.sleep(SECONDS)
                # The client may have been killed meanwhile.
                try:
                    self._send(body)
                except OSError:
                    return
                if last:
                    threading.Thread(target=outer.close, daemon=True).start()

            def _send(self, body: dict[str, Any]) -> None:
                text = answer_to(body)
                message = {"role": "assistant", "content": text}
                usage = {"prompt_tokens": 50, "completion_tokens": len(text.split()), "total_tokens": 60}
                sent = {
                    "id": "fault",
                    "object": "chat.completion",
                    "created": 0,
                    "model": body["model"],
                    "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                    "usage": usage,
                }
                data = json.dumps(sent).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *parts: object) -> None:
                pass

        return Handler
