"""An OpenAI-compatible server in a process of its own: slow by a fixed time, and faulty for a share of the requests.

    python benchmarks/_llm_stub.py --seconds 0.2 --faults 0.3

Its address is the first line it prints; ``GET /counts`` returns how many requests came and which faults were given.
What a request meets is decided by a hash of the request and of how often it came, so that every run meets the same;
with ``--same``, by the request alone, so that several runs that ask one server get the same answers.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import sys
from collections import Counter
from typing import Any

WORDS = ("pain", "swelling", "itch", "cold", "weakness", "pressure", "redness", "fever", "cough", "numbness")
KINDS = ("429", "500", "silence", "cut", "malformed", "empty", "refusal", "language", "copy")
REFUSAL = "I'm sorry, but I can't help with that request."
FOREIGN = "肘关节是上肢的重要关节之一。"


def draw(body: dict[str, Any], times: int) -> tuple[float, int]:
    """Return a number from 0 to 1 and a whole number, the same for the same request at the same try."""
    digest = hashlib.sha256(json.dumps([body["messages"], body.get("seed"), times], sort_keys=True).encode()).digest()
    return int.from_bytes(digest[:4]) / 2**32, int.from_bytes(digest[4:8])


def text_of(number: int) -> str:
    """Return a passage that repeats nothing of its request."""
    first, second, third = (WORDS[number // 10**place % 10] for place in (0, 1, 2))
    return f"A note about {first} that comes with {second} but never with {third}, and has the number {number}."


class Stub:
    """The server's counts and answers."""

    def __init__(self, seconds: float, faults: float, silence: float, *, same: bool = False) -> None:
        """Take the time of an answer, the share of faulty ones, how long a silent one takes, and ``--same``."""
        self.seconds, self.faults, self.silence, self.same = seconds, faults, silence, same
        self.times: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.at_a_time = self.most = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        try:
            while await self._answer(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        length = next(
            (int(line.split(":")[1]) for line in head.splitlines() if line.lower().startswith("content-length:")), 0
        )
        data = await reader.readexactly(length)
        if head.startswith("GET"):
            counts = {**self.counts, "most at a time": self.most}
            return await send(writer, 200, json.dumps(counts))
        body = json.loads(data)
        key = hashlib.sha256(data).hexdigest()
        self.times[key] += 1
        share, number = draw(body, 1 if self.same else self.times[key])
        kind = KINDS[number % len(KINDS)] if share < self.faults else "good"
        self.counts[kind] += 1
        self.counts["requests"] += 1
        self.at_a_time += 1
        self.most = max(self.most, self.at_a_time)
        try:
            await asyncio.sleep(self.silence if kind == "silence" else self.seconds)
        finally:
            self.at_a_time -= 1
        return await self._reply(writer, kind, body, number)

    async def _reply(self, writer: asyncio.StreamWriter, kind: str, body: dict[str, Any], number: int) -> bool:
        if kind == "429":
            return await send(writer, 429, json.dumps(error("slow down", 429)), "retry-after: 0.2\r\n")
        if kind == "500":
            return await send(writer, 500, json.dumps(error("broken", 500)))
        if kind == "silence":
            return False
        asked = body["messages"][-1]["content"]
        texts = {"empty": "", "refusal": REFUSAL, "language": FOREIGN, "copy": asked.rsplit("Passage: ", 1)[-1]}
        whole = json.dumps(completion(body["model"], texts.get(kind, text_of(number))))
        if kind == "malformed":
            return await send(writer, 200, whole[: len(whole) // 2])
        if kind == "cut":
            # Announced whole, and cut in the middle.
            writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {len(whole)}\r\n\r\n{whole[:40]}".encode())
            await writer.drain()
            return False
        return await send(writer, 200, whole)


def error(message: str, code: int) -> dict[str, Any]:
    """Return an error as OpenAI writes it."""
    return {"error": {"message": message, "type": "stub", "code": str(code)}}


def completion(model: str, text: str) -> dict[str, Any]:
    """Return an answer as OpenAI writes it."""
    message = {"role": "assistant", "content": text}
    return {
        "id": "stub",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 30, "total_tokens": 130},
    }


async def send(writer: asyncio.StreamWriter, status: int, text: str, headers: str = "") -> bool:
    """Send one reply; the connection stays open."""
    data = text.encode()
    head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{headers}content-length: {len(data)}\r\n\r\n"
    writer.write(head.encode() + data)
    await writer.drain()
    return True


async def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.2, help="time of an answer")
    parser.add_argument("--faults", type=float, default=0.0, help="share of faulty answers")
    parser.add_argument("--silence", type=float, default=10.0, help="seconds until a silent request is dropped")
    parser.add_argument("--same", action="store_true", help="answer a repeated request as the first time")
    options = parser.parse_args()
    stub = Stub(options.seconds, options.faults, options.silence, same=options.same)
    server = await asyncio.start_server(stub.serve, "127.0.0.1", 0, backlog=256)
    sys.stdout.write(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
