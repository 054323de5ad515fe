"""Samples of one prompt share a slot; other prompts go where most of them has been read."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from stm_agent.llm.embedded import EmbeddedProvider
from stm_agent.llm.slots import Slots


def chat(text: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": "Write a query."}, {"role": "user", "content": text}]


def test_a_prompt_goes_to_the_slot_that_has_read_most_of_it() -> None:
    slots = Slots(2)
    with slots.take(chat("Passage: knees")) as first, slots.take(chat("Title: elbows")) as second:
        assert {first, second} == {0, 1}
    with slots.take(chat("Title: wrists")) as slot:
        assert slot == second
    with slots.take(chat("Passage: knees")) as slot:
        assert slot == first


def test_another_sample_of_a_prompt_waits_for_its_slot_though_others_are_free() -> None:
    slots, taken = Slots(4), []
    waiting = threading.Event()

    def sample() -> None:
        waiting.set()
        with slots.take(chat("Passage: knees")) as slot:
            taken.append(slot)

    with slots.take(chat("Passage: knees")) as slot:
        thread = threading.Thread(target=sample)
        thread.start()
        assert waiting.wait(10)
        assert taken == []
    thread.join(10)
    assert taken == [slot]


def test_more_requests_than_slots_wait() -> None:
    slots, lock = Slots(2), threading.Lock()
    busy: set[int] = set()
    clashes: list[int] = []

    def write(number: int) -> None:
        with slots.take(chat(f"Passage: {number}")) as slot:
            with lock:
                clashes.extend(busy & {slot})
                busy.add(slot)
            with lock:
                busy.remove(slot)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert clashes == []
    assert not any(thread.is_alive() for thread in threads)


def test_who_came_first_goes_first() -> None:
    slots, order = Slots(1), []

    def write(number: int) -> None:
        with slots.take(chat(f"Passage: {number}")):
            order.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    with slots.take(chat("Passage: before")):
        for number, thread in enumerate(threads, 1):
            thread.start()
            while len(slots._waiting) < number:
                time.sleep(0.001)
    for thread in threads:
        thread.join(10)
    assert order == list(range(8))


def test_a_model_that_computes_one_token_at_a_time_writes_one_text_at_a_time(tmp_path: Path) -> None:
    file = tmp_path / "other.gguf"
    file.write_bytes(b"GGUF")
    assert EmbeddedProvider(str(file), slots=4).slots == 1
