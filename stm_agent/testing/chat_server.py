"""An OpenAI-compatible server on loopback that gives scripted answers, whole or streamed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NotRequired, TypedDict

from stm_agent.testing.loopback import LoopbackServer, Reply, Request


class Choice(TypedDict):
    """An answer of a model, as OpenAI's protocol has it."""

    message: dict[str, object]
    finish_reason: str


class Completion(TypedDict):
    """The fields of a response that a script can set."""

    choices: list[Choice]
    usage: NotRequired[dict[str, int]]


ScriptedReply = str | tuple[int, str] | Completion
"""A text, an error's status and message, or fields of the answer."""
USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}


class ChatServer(LoopbackServer):
    """Answers in order, and with the last answer from then on; a context manager that serves inside its block.

    Attributes:
        answers: What to answer.
        bodies: The requests it got.
        url: Address to give as ``api_base``.
    """

    def __init__(self) -> None:
        """Take a free port."""
        self.answers: list[ScriptedReply] = []
        self.bodies: list[dict[str, object]] = []
        super().__init__(self._reply)
        self.url = f"{self.origin}/v1"

    def _reply(self, request: Request) -> Reply:
        status, kind, text = self.reply(json.loads(request.body))
        return Reply(status, text.encode(), kind)

    def reply(self, body: dict[str, object]) -> tuple[int, str, str]:
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
        fields: Completion = {"usage": USAGE, **answer}
        if body.get("stream"):
            return 200, "text/event-stream", _events(about, fields)
        choices = [
            {"index": number, **choice, "message": {"role": "assistant", **choice["message"]}}
            for number, choice in enumerate(fields["choices"])
        ]
        return 200, "application/json", json.dumps({**about, "object": "chat.completion", **fields, "choices": choices})


def _events(about: Mapping[str, object], fields: Completion) -> str:
    """Return an answer as server-sent events: one piece, its end, the usage."""
    chunks: list[dict[str, object]] = []
    for choice in fields["choices"]:
        delta = {"role": "assistant", **choice["message"]}
        chunks.append({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
        chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}]})
    chunks.append({"choices": [], "usage": fields["usage"]})
    lines = [f"data: {json.dumps({**about, 'object': 'chat.completion.chunk', **chunk})}\n\n" for chunk in chunks]
    return "".join([*lines, "data: [DONE]\n\n"])
