"""Is what is served the model that was scored, and is it fast enough to be worth more than ten lines of FastAPI?

    python benchmarks/deploy.py --run runs/ID               # about 15 minutes on two idle cores
    python benchmarks/deploy.py --run runs/ID --seconds 2 --requests 50 --flat-seconds 5   # a trial

One run, served by ``stm-agent serve`` and by a plain FastAPI + ``SentenceTransformer.encode``
(``_plain_server.py``), one after the other on the same machine: texts a second and p95 with 1, 8 and 32 clients that
each send one query at a time. Then 1,000 requests at once, memory over a minute of load, the time from command to first
answer, and exports against float32. Writes ``benchmarks/results/deploy.json``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
from _record import claim, machine, save, show, versions

HERE = Path(__file__).parent
CLIENTS = (1, 8, 32)
FORMATS = ("onnx", "openvino", "int8", "fp16", "bf16", "gguf")
FASTER, NO_WORSE, LOSS, SPEEDUP, START, FLAT_MIB = 1.5, 1.05, 0.005, 2.0, 5.0, 64.0
QUEUE = 256
"""Texts that may wait while a thousand requests come at once."""


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def server(command: list[str], port: int, ends: list[int]) -> Iterator[tuple[psutil.Process, float]]:
    """Start a server; yield its process and the seconds from command to first answer; add the status it ended with."""
    started = time.monotonic()
    running = subprocess.Popen(command)
    body = {"model": "none", "input": ["a"]}
    try:
        while True:
            try:
                # 404 is an answer too: the plain server does not look at the model's name.
                httpx.post(f"http://127.0.0.1:{port}/v1/embeddings", json=body, timeout=5)
                break
            except httpx.TransportError:
                if running.poll() is not None:
                    sys.exit(f"{' '.join(command)} ended with status {running.returncode}")
                time.sleep(0.02)
        yield psutil.Process(running.pid), time.monotonic() - started
    finally:
        running.terminate()
        ends.append(running.wait(60))


def serve_command(run: Path, port: int, queue: int = 4096) -> list[str]:
    """Return the command of ``stm-agent serve`` without a corpus to index beside it."""
    flags = ["--port", str(port), "--queue", str(queue), "--input-type", "query"]
    return [sys.executable, "-m", "stm_agent", "serve", str(run / "model"), *flags]


def load(url: str, model: str, texts: list[str], clients: int, seconds: float) -> dict[str, float]:
    """Send one query at a time from each client for some seconds; return texts a second, p50 and p95 in ms."""
    times: list[float] = []
    end = time.monotonic() + seconds

    def client(number: int) -> None:
        position = number
        with httpx.Client(timeout=120) as connection:
            while time.monotonic() < end:
                begun = time.monotonic()
                body = {"model": model, "input": [texts[position % len(texts)]]}
                connection.post(f"{url}/v1/embeddings", json=body).raise_for_status()
                times.append(time.monotonic() - begun)
                position += clients

    started = time.monotonic()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(client, range(clients)))
    elapsed = time.monotonic() - started
    ordered = sorted(times)
    return {
        "clients": clients,
        "texts_per_second": len(times) / elapsed,
        "p50_ms": 1000 * ordered[len(ordered) // 2],
        "p95_ms": 1000 * ordered[min(int(len(ordered) * 0.95), len(ordered) - 1)],
    }


def measure(url: str, texts: list[str], seconds: float, model: str) -> list[dict[str, float]]:
    """Measure every number of clients, after a warm-up."""
    load(url, model, texts, 8, min(seconds, 3))
    return [load(url, model, texts, clients, seconds) for clients in CLIENTS]


def burst(url: str, texts: list[str], requests: int) -> dict[str, Any]:
    """Send many requests at the same time; a refused one is sent again. Return what became of them."""
    refused, waiting, lock = 0, 0, threading.Lock()

    def ask(number: int) -> bool:
        nonlocal refused
        with httpx.Client(timeout=300) as connection:
            for _ in range(1000):
                body = {"model": "model", "input": [texts[number % len(texts)]] * 4}
                answer = connection.post(f"{url}/v1/embeddings", json=body)
                if answer.status_code == 200:
                    return len(answer.json()["data"]) == 4
                with lock:
                    refused += 1
                time.sleep(float(answer.headers.get("retry-after", "1")))
        return False

    watching = threading.Event()

    def watch() -> None:
        nonlocal waiting
        while not watching.wait(0.05):
            state = httpx.get(f"{url}/health", timeout=60).json()
            waiting = max(waiting, *state["waiting_texts"].values())

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(requests) as pool:
        answered = sum(pool.map(ask, range(requests)))
    watching.set()
    watcher.join()
    return {"requests": requests, "answered": answered, "refused_first": refused, "most_waiting_texts": waiting}


def memory(process: psutil.Process, url: str, texts: list[str], seconds: float) -> dict[str, float]:
    """Return the resident MiB after a warm-up and after some seconds of load."""
    load(url, "model", texts, 8, min(seconds / 2, 10))
    before = process.memory_info().rss / 2**20
    load(url, "model", texts, 8, seconds)
    return {"seconds": seconds, "before_mib": before, "after_mib": process.memory_info().rss / 2**20}


def exports(run: Path, work: Path) -> list[dict[str, Any]]:
    """Export the run in every format whose library is installed."""
    made = []
    for name in FORMATS:
        command = [sys.executable, "-m", "stm_agent", "export", str(run), "--format", name, "--json"]
        done = subprocess.run(
            [*command, "--output", str(work / name), "--max-loss", "1"], capture_output=True, text=True, check=False
        )
        if done.returncode:
            made.append({"format": name, "failed": done.stderr.strip().splitlines()[-1]})
            continue
        made.append({**json.loads(done.stdout), "folder": name})
    return made


def claims(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Hold the numbers against the targets."""
    ours = {row["clients"]: row for row in record["served"]}
    plain = {row["clients"]: row for row in record["plain"]}
    ratio = {clients: ours[clients]["texts_per_second"] / plain[clients]["texts_per_second"] for clients in CLIENTS}
    done = [row for row in record["exports"] if row.get("loss", 1.0) < LOSS]
    fastest = max((row["texts_per_second"] / row["source_texts_per_second"] for row in done), default=0.0)
    grown = record["memory"]["after_mib"] - record["memory"]["before_mib"]
    lost = record["burst"]["requests"] - record["burst"]["answered"]
    return [
        claim("texts a second at 8 clients, against plain FastAPI", ratio[8], FASTER, "times", ratios=ratio),
        claim(
            "p95 at 1 client, against plain FastAPI (no worse, within 5 % of noise)",
            ours[1]["p95_ms"] / plain[1]["p95_ms"],
            NO_WORSE,
            "times",
            lower=True,
        ),
        claim("command to first answer", record["start_seconds"], START, "seconds", lower=True),
        claim(f"requests lost of {record['burst']['requests']} at once", lost, 0, "requests", lower=True),
        claim("texts that waited at most", record["burst"]["most_waiting_texts"], QUEUE, "texts", lower=True),
        claim("memory gained under load", grown, FLAT_MIB, "MiB", lower=True),
        claim("fastest export under 0.005 nDCG@10 loss, against float32", fastest, SPEEDUP, "times"),
        claim(
            "servers that did not end with status 0 after SIGTERM", record["unclean_stops"], 0, "servers", lower=True
        ),
    ]


def main() -> None:
    """Measure, write the record, print the claims."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder of a finished run")
    parser.add_argument("--seconds", type=float, default=20.0, help="seconds of each load")
    parser.add_argument("--requests", type=int, default=1000, help="requests at once")
    parser.add_argument("--flat-seconds", type=float, default=60.0, help="seconds over which memory is watched")
    parser.add_argument("--work", type=Path, default=HERE / "work" / "deploy", help="emptied first")
    options = parser.parse_args()
    shutil.rmtree(options.work, ignore_errors=True)
    options.work.mkdir(parents=True)
    lines = (options.run / "dev" / "queries.jsonl").read_text(encoding="utf-8").split("\n")
    texts = [json.loads(line)["text"] for line in lines if line]
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    record: dict[str, Any] = {
        "name": "deploy",
        "command": f"python benchmarks/deploy.py --run RUN --seconds {options.seconds:g} --requests {options.requests}",
        "machine": machine(),
        "versions": versions(),
        "seeds": [],
        "run": options.run.name,
    }
    ends: list[int] = []
    with server([sys.executable, str(HERE / "_plain_server.py"), str(options.run / "model"), str(port)], port, []):
        record["plain"] = measure(url, texts, options.seconds, "model")
    with server(serve_command(options.run, port), port, ends) as (process, _):
        record["served"] = measure(url, texts, options.seconds, "model")
        record["memory"] = memory(process, url, texts, options.flat_seconds)
    with server(serve_command(options.run, port, QUEUE), port, ends) as (_, seconds):
        # Its files are in the page cache now, as on a machine that serves.
        record["start_seconds"] = seconds
        record["burst"] = burst(url, texts, options.requests)
    record["unclean_stops"] = sum(status != 0 for status in ends)
    record["exports"] = exports(options.run, options.work)
    record["claims"] = claims(record)
    save(record)
    show(record["claims"])


if __name__ == "__main__":
    main()
