"""An OpenAI-compatible server on loopback that gives scripted answers, whole or streamed."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ScriptedReply = str | tuple[int, str] | dict[str, Any]
"""A text, an error's status and message, or fields of the answer."""
USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}


class ChatServer:
    """Answers in order, and with the last answer from then on; a context manager that serves inside its block.

    Attributes:
        answers: What to answer.
        bodies: The requests it got.
        url: Address to give as ``api_base``.
    """

    def __init__(self) -> None:
        """Take a free port."""
        self.answers: list[ScriptedReply] = []
        self.bodies: list[dict[str, Any]] = []
        chat = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, kind, text = chat.reply(body)
                data = text.encode()
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *arguments: object) -> None:
                """Stay silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def reply(self, body: dict[str, Any]) -> tuple[int, str, str]:
        """Return status, content type and body of the next answer."""
        self.bodies.append(body)
        answer = self.answers[min(len(self.bodies), len(self.answers)) - 1]
        if isinstance(answer, tuple):
            status, message = answer
            error = {"error": {"message": message, "type": "scripted", "code": str(status)}}
            return status, "application/json", json.dumps(error)
        if isinstance(answer, str):
            answer = {"choices": [{"message": {"content": answer}, "finish_reason": "stop"}]}
        about = {"id": "1", "created": 1, "model": body["model"]}
        fields = {"usage": USAGE, **answer}
        if body.get("stream"):
            return 200, "text/event-stream", _events(about, fields)
        choices = [
            {"index": number, **choice, "message": {"role": "assistant", **choice["message"]}}
            for number, choice in enumerate(fields["choices"])
        ]
        return 200, "application/json", json.dumps({**about, "object": "chat.completion", **fields, "choices": choices})

    def __enter__(self) -> ChatServer:
        """Serve."""
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _events(about: dict[str, Any], fields: dict[str, Any]) -> str:
    """Return an answer as server-sent events: one piece, its end, the usage."""
    chunks: list[dict[str, Any]] = []
    for choice in fields["choices"]:
        delta = {"role": "assistant", **choice["message"]}
        chunks.append({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
        chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}]})
    chunks.append({"choices": [], "usage": fields["usage"]})
    lines = [f"data: {json.dumps({**about, 'object': 'chat.completion.chunk', **chunk})}\n\n" for chunk in chunks]
    return "".join([*lines, "data: [DONE]\n\n"])
