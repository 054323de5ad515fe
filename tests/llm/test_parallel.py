"""Many calls at a time: order, width, and what an exception leaves."""

from __future__ import annotations

import threading

import pytest

from stm_agent.llm.parallel import in_parallel


def test_results_come_in_the_order_of_the_items():
    gate = threading.Event()

    def ask(item):
        if item == 0:
            gate.wait(10)
        if item == 3:
            gate.set()
        return item * item

    assert list(in_parallel(ask, range(8), width=4)) == [item * item for item in range(8)]


def test_no_more_calls_than_asked_for_run_at_a_time():
    lock, running, most = threading.Lock(), set(), []

    def ask(item):
        with lock:
            running.add(item)
            most.append(len(running))
        with lock:
            running.discard(item)

    list(in_parallel(ask, range(50), width=3))
    assert max(most) <= 3


def test_an_exception_ends_the_work_and_begun_calls_are_waited_for():
    begun, ended = [], []

    def ask(item):
        begun.append(item)
        if item == 1:
            raise RuntimeError("no more")
        ended.append(item)
        return item

    with pytest.raises(RuntimeError, match="no more"):
        list(in_parallel(ask, range(100), width=2))
    assert set(begun) - {1} == set(ended)
    assert len(begun) < 10


def test_a_width_of_one_uses_the_callers_thread():
    assert set(in_parallel(lambda _: threading.current_thread(), range(3), width=1)) == {threading.current_thread()}


def test_a_slow_first_call_leaves_the_others_at_work():
    gate, done = threading.Event(), []

    def ask(item):
        if item == 0:
            assert gate.wait(10)
            return item
        done.append(item)
        if len(done) == 6:
            gate.set()
        return item

    assert list(in_parallel(ask, range(20), width=2)) == list(range(20))


def test_no_call_begins_after_one_that_failed():
    gate, begun = threading.Event(), []

    def ask(item):
        begun.append(item)
        if item == 0:
            gate.wait(10)
        if item == 1:
            raise RuntimeError("gone")
        return item

    results = in_parallel(ask, range(100), width=2)
    threading.Timer(0.05, gate.set).start()
    assert next(results) == 0
    with pytest.raises(RuntimeError, match="gone"):
        next(results)
    assert begun == [0, 1]


def test_a_closed_generator_begins_no_further_call():
    begun = []
    results = in_parallel(lambda item: begun.append(item), range(1000), width=2)
    next(results)
    results.close()
    assert len(begun) < 20
