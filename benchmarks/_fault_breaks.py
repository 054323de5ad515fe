"""What breaks beneath a run: artefacts on disk, the LLM, memory, the disk itself."""

from __future__ import annotations

import random
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

from _fault_job import FIRST_STAGE, Mini, folder_of, half_written, has_model, mini_domain, scores
from _fault_process import POLL, Running
from _fault_server import CountingServer
from _record import claim

Claims = list[dict[str, Any]]
DAMAGES_A_ROUND = 5
OWN_STAGES = {"export", "prove"} | {".partial", ".damaged", ".checkpoints", ".locks"}
"""First parts of names: stages that belong to one run alone, and what is no stage."""
GONE_AFTER = (12, 17)
"""Answers after which the LLM goes: 2 reflections, 12 queries, 6 negatives are asked for, in this order."""
MEBIBYTE = 2**20
DISK = 256
"""MiB of the small disk: the whole mini run needs less than a tenth."""
FULL_AT = (
    FIRST_STAGE,
    "scoring the untouched backbone",
    "seed instructions",
    "writes queries",
    "mining negatives",
    "writes hard negatives",
    "training expert plain",
    "scoring expert plain",
    "probing expert hard?FT+SHN",
    "training expert hard",
    "searching merge weights",
    "writing the model",
    "opening the test queries",
)


def damage(path: Path, draws: random.Random) -> str:
    """Change, cut or delete a file; return which."""
    data = path.read_bytes()
    kind = draws.choice(("edited", "cut", "deleted") if data else ("deleted",))
    if kind == "deleted":
        path.unlink()
    elif kind == "cut":
        path.write_bytes(data[: draws.randrange(len(data))])
    else:
        position = draws.randrange(len(data))
        path.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
    return kind


def damaged(mini: Mini, count: int, seed: int) -> tuple[dict[str, Any], Claims]:
    """Damage artefacts in finished stages; a fresh run over them must find, name and rebuild each."""
    from stm_agent.execute.manifest import folder_fault

    workspace, asked = mini.workspace("damaged")
    mini.run(workspace)
    draws, rows, worst = random.Random(seed), [], 0.0
    stages = workspace / "runs" / ".stages"
    while len(rows) < count:
        # The card of an exported model has its run's name, so the fresh run opens no export or proof of another one.
        names = sorted(path.name for path in stages.glob("*") if path.name.partition("-")[0] not in OWN_STAGES)
        chosen = draws.sample(names, min(DAMAGES_A_ROUND, count - len(rows)))
        broken = []
        for name in chosen:
            path = draws.choice(sorted(path for path in (stages / name).rglob("*") if path.is_file()))
            broken.append({"stage": name, "file": str(path.relative_to(stages / name)), "how": damage(path, draws)})
        running = mini.run(workspace, "--fresh")
        worst = max(worst, mini.off(running))
        for row in broken:
            row["named"] = f"stage {row['stage']} is damaged" in running.screen
            row["set_aside"] = any(stages.glob(f".damaged-{row['stage']}-*"))
            row["whole_again"] = folder_fault(stages / row["stage"]) is None
        rows += broken
    found = sum(row["named"] and row["set_aside"] and row["whole_again"] for row in rows)
    return {"damages": rows, "llm": asked.to_json()}, [
        claim("damaged artefacts named, set aside and built again, all of", found, len(rows) - 1, "artefacts"),
        claim("damaged artefacts: largest difference of a test score", worst, 1e-6, "nDCG@10", lower=True),
        claim("damaged artefacts: LLM calls paid twice", asked.stored_repeats, 0, "calls", lower=True),
    ]


def llm_gone(mini: Mini) -> tuple[dict[str, Any], Claims]:
    """Let the LLM go for good in the middle of two levers."""
    rows = []
    for number in GONE_AFTER:
        with CountingServer(lives_for=number) as server:
            workspace, _ = mini.workspace(f"gone-{number}", server)
            running = mini.start(workspace, mini.command(workspace, base=server.base))
            status = running.wait()
        report = running.result if status == 0 else {"failures": [], "rows": {}}
        written = [line for line in running.lines if " written" in line and " of " in line and line.startswith("! ")]
        rows.append(
            {
                "answers": number,
                "status": status,
                "model": has_model(folder_of(workspace)),
                "failures": {failure["lever"]: failure["kind"] for failure in report["failures"]},
                "written": written,
                "used": any(f"{number - 2} of 12 queries" in line for line in written)
                or any(f"{number - 14} of 6 hard negatives" in line for line in written),
                "rows": scores(report),
            }
        )
    whole = [row for row in rows if row["status"] == 0 and row["model"] and "llm" in row["failures"].values()]
    return {"runs": rows}, [
        claim("LLM gone: runs that end with a model and the loss in the report", len(whole), len(rows) - 1, "runs"),
        claim("LLM gone: runs that use what was written before", sum(r["used"] for r in rows), len(rows) - 1, "runs"),
    ]


def out_of_memory(mini: Mini) -> tuple[dict[str, Any], Claims]:
    """Limit the address space of a run: while its batch is tried, while half of it is tried too, and for good."""
    from stm_agent.testing.pico import pico_decoder

    if not (mini.work / "deep").exists():
        pico_decoder(mini.work / "deep", layers=24, hidden=128)
    mini_domain(
        mini.work,
        name="deep",
        backbone={"model": str(mini.work / "deep"), "max_length": 32},
        experts=[{"name": "plain", "sources": ["train"], "steps": 3}],
        train={"batch_size": 48, "learning_rate": 0.01, "scale": 20.0, "checkpoint_every": 0},
        instruct={"reflections": 0},
    )
    before, peak = _address_space(mini)
    halved = _with_limit(mini, before + (peak - before) // 2, "is halved from 48 to 24")
    lost = _with_limit(mini, before + (peak - before) // 5, "expert plain failed")
    always = _with_limit(mini, before + (peak - before) * 4 // 5, None)
    rows = [halved, lost, always]
    in_a_line = [row for row in rows if row["status"] == 0 or (row["status"] == 2 and row["errors"] == 1)]
    record = {"before_mib": before // MEBIBYTE, "peak_mib": peak // MEBIBYTE, "runs": rows}
    return record, [
        claim("a batch too large for the memory: halved, recorded and trained", float(halved["trained"]), 0, "runs"),
        claim(
            "half of it too large as well: the expert is lost, recorded, and the run ends with a model",
            float(lost["status"] == 0 and lost["model"] and lost["lost"] == ["expert plain"]),
            0,
            "runs",
        ),
        claim("memory limited: runs that end in a report or one line, all of", len(in_a_line), len(rows) - 1, "runs"),
    ]


def _with_limit(mini: Mini, limit: int, until: str | None) -> dict[str, Any]:
    """Run with a limit from the start of the training until a text is on the screen; None: to the end."""
    workspace, _ = mini.workspace("memory")
    running = mini.start(workspace, mini.command(workspace, domain="deep"))
    running.wait_for("training expert plain")
    resource.prlimit(running.pid, resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    while until is not None and until not in running.screen and running.alive():
        running.sleep(POLL)
    if until is not None and running.alive():
        resource.prlimit(running.pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    status = running.wait()
    report = running.result if status == 0 else {"warnings": [], "failures": [], "rows": {}}
    was_halved = any("halved" in warning for warning in report["warnings"])
    return {
        "limit_mib": limit // MEBIBYTE,
        "until": until,
        "status": status,
        "model": has_model(folder_of(workspace)),
        "trained": was_halved and "expert plain" in report["rows"],
        "lost": [failure["lever"] for failure in report["failures"] if failure["kind"] == "memory"],
        "errors": sum(line.startswith("error: ") for line in running.lines),
        "screen": [line.replace(str(mini.work), "") for line in running.lines if "memory" in line][:4],
    }


def _address_space(mini: Mini) -> tuple[int, int]:
    """Return the address space before training and the most that training takes, in bytes."""
    workspace, _ = mini.workspace("memory")
    running = mini.start(workspace, mini.command(workspace, domain="deep"))
    if not running.wait_for("training expert plain"):
        raise SystemExit(f"the run with memory enough failed: {running.screen[-2000:]}")
    before = peak = _status(running, "VmSize")
    while running.alive() and "scoring expert plain" not in running.screen:
        peak = max(peak, _status(running, "VmPeak"))
        running.sleep(0.02)
    running.wait()
    return before, peak


def _status(running: Running, name: str) -> int:
    try:
        lines = Path(f"/proc/{running.pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), 0)


def mount(folder: Path) -> bool:
    """Mount a small disk; return whether that is possible here."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK}m", "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True).returncode == 0


def fill(path: Path) -> None:
    """Write into a file until the disk is full."""
    piece = bytes(MEBIBYTE)
    with path.open("ab", buffering=0) as stream:
        while len(piece):
            try:
                stream.write(piece)
            except OSError:
                piece = piece[: len(piece) // 2]


def full_disk(mini: Mini) -> tuple[dict[str, Any], Claims]:
    """Fill the disk as each stage begins; free it and go on by the same command, up to the next stage."""
    disk = mini.work / "spaces"
    if not mount(disk):
        sys.stderr.write("no disk can be mounted here (root only): the full disk is left out\n")
        return {"left_out": "no tmpfs can be mounted"}, []
    try:
        return _fill_at_stages(mini, disk)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)  # noqa: S607


def _fill_at_stages(mini: Mini, disk: Path) -> tuple[dict[str, Any], Claims]:
    workspace, asked = mini.workspace("full")
    rows, filler = [], disk / "filler"
    for stage in FULL_AT:
        running = mini.start(workspace, mini.command(workspace))
        reached = running.wait_for(stage)
        if reached:
            fill(filler)
        status = running.wait()
        rows.append(
            {
                "stage": stage,
                "filled": reached,
                "status": status,
                "last_line": running.lines[-1].replace(str(mini.work), "") if running.lines else "",
                "errors": sum(line.startswith("error: ") for line in running.lines),
                "traceback": "Traceback" in running.screen,
                "half_written": half_written(workspace),
            }
        )
        filler.unlink(missing_ok=True)
        if not reached:
            break
    off = mini.off(mini.run(workspace))
    clean = [row for row in rows if row["status"] == 2 and row["errors"] == 1 and not row["traceback"]]
    broken = sum(len(row["half_written"]) for row in rows)
    return {"stages": rows, "llm": asked.to_json()}, [
        claim("full disk: stages that end in one line and exit 2, all of", len(clean), len(FULL_AT) - 1, "stages"),
        claim("full disk: half-written files under a good name", broken, 0, "files", lower=True),
        claim("full disk: difference of a test score after it was freed", off, 1e-6, "nDCG@10", lower=True),
        claim("full disk: LLM calls paid twice", asked.stored_repeats, 0, "calls", lower=True),
    ]
