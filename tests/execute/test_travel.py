"""A job arrives on another machine with its paths there, and what decides its result is compared."""

from __future__ import annotations

import pickle
from dataclasses import replace

from stm_agent.errors import CheckFailed
from stm_agent.execute.travel import difference, pack, unpack
from stm_agent.execute.worker import differing_versions
from stm_agent.testing.jobs import NumberJob


def test_paths_below_the_runs_folder_are_those_of_the_machine_that_reads(tmp_path):
    here, there = tmp_path / "here" / ".stages", tmp_path / "there" / ".stages"
    outside = tmp_path / "elsewhere"
    job = NumberJob(3, log=outside, reads=(here / "number-12ab" / "deep", here.parent / ".cache" / "vectors"))
    packed = pack(job, here)
    arrived = unpack(packed, there)
    assert arrived.reads == (there / "number-12ab" / "deep", there.parent / ".cache" / "vectors")
    assert arrived.log == outside
    assert packed.stages == ("number-12ab",)
    assert arrived.key() == job.key()


def test_what_decides_the_result_is_named_if_it_is_another_there(tmp_path):
    job = NumberJob(3)
    packed = pack(job, tmp_path / ".stages")
    assert difference(packed, job, tmp_path / "there" / ".stages") is None
    found = difference(packed, replace(job, number=4), tmp_path / "there" / ".stages")
    assert found == "number: 3 in the run, 4 there"


def test_versions_that_differ_are_named_both():
    wanted = {"python": "3.11.4", "torch": "2.13.0"}
    assert differing_versions({"python": "3.11.9", "torch": "2.13.0"}, wanted) == ""
    assert differing_versions({"python": "3.12.0", "torch": "2.12.1"}, wanted) == (
        "python 3.12.0 instead of 3.11.4, torch 2.12.1 instead of 2.13.0"
    )


def test_a_failed_check_survives_the_way_between_processes():
    error = pickle.loads(pickle.dumps(CheckFailed("reload", 0.5, "do not use it")))  # noqa: S301 - our own
    assert (error.check, error.measured, str(error)) == (
        "reload",
        0.5,
        "check 'reload' failed (0.5): do not use it",
    )
