"""``stm-agent doctor``: the machine, the packages and the assets."""

from __future__ import annotations

from stm_agent.cli.output import JsonFlag, emit


def doctor(as_json: JsonFlag = False) -> None:
    """Check versions, memory, devices, network and assets; each problem is listed with its fix.

    Example: stm-agent doctor
    """
    import dataclasses

    from rich.table import Table
    from rich.text import Text

    from stm_agent.inspect.doctor import examine

    findings = examine()
    table = Table("", "what", "found", "fix", box=None)
    styles = {"ok": "green", "warn": "yellow", "fail": "red"}
    for finding in findings:
        table.add_row(Text(finding.state, style=styles[finding.state]), finding.what, finding.found, finding.fix)
    emit([dataclasses.asdict(finding) for finding in findings], table, as_json)
