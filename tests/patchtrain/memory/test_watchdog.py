"""The thread that looks at a process's memory."""

from __future__ import annotations

import threading
import time

from patchtrain.memory.watchdog import Sighting, Watchdog


class Process:
    """Stands in for a driver's answers about a process."""

    def __init__(self, process_bytes=100, outside_bytes=10):
        self.process_bytes = process_bytes
        self.outside_bytes = outside_bytes
        self.num_looks = 0
        self.looked_from: set[str] = set()
        self.is_broken = False

    def look(self):
        if self.is_broken:
            raise OSError("driver gone")
        self.num_looks += 1
        self.looked_from.add(threading.current_thread().name)
        return Sighting(
            process_bytes=self.process_bytes, outside_bytes=self.outside_bytes, phase="fill"
        )

    def wait_for_looks(self, number=3):
        """Wait until the thread has looked `number` times more."""
        wanted = self.num_looks + number
        deadline = time.monotonic() + 20
        while self.num_looks < wanted:
            assert time.monotonic() < deadline, "the thread does not look"
            time.sleep(0.001)


def watch(process, **changes):
    return Watchdog(process.look, interval_s=0.001, **changes)


def watchdog_threads():
    return [thread for thread in threading.enumerate() if thread.name == "memory watchdog"]


def test_the_highest_is_kept_and_a_new_peak_starts_from_what_is_held():
    process = Process(100)
    watchdog = watch(process)
    watchdog.start()
    process.process_bytes = 300
    process.wait_for_looks()
    process.process_bytes = 200
    process.wait_for_looks()
    assert watchdog.highest.process_bytes == 300
    watchdog.start_peak()
    assert watchdog.highest.process_bytes == 200
    watchdog.stop()


def test_a_stopped_watchdog_has_no_thread_and_can_start_again():
    process = Process()
    watchdog = watch(process)
    for _ in range(2):
        watchdog.start()
        watchdog.start()
        assert len(watchdog_threads()) == 1
        process.wait_for_looks()
        watchdog.stop()
        watchdog.stop()
        assert not watchdog_threads()
    assert process.looked_from == {threading.current_thread().name, "memory watchdog"}


def test_even_a_block_shorter_than_the_interval_is_looked_at_first_and_last():
    process = Process(100)
    watchdog = Watchdog(process.look, interval_s=3600)
    watchdog.start()
    process.process_bytes = 200
    watchdog.stop()
    assert process.num_looks == 2
    assert watchdog.highest.process_bytes == 200


def test_what_was_over_the_limit_outlasts_a_new_peak():
    process = Process()
    watchdog = watch(process, limit_bytes=100)
    for process.process_bytes in (101, 103, 102):
        watchdog.look()
    process.process_bytes = 50
    watchdog.start_peak()
    assert watchdog.highest.process_bytes == 50
    assert watchdog.over.process_bytes == 103


def test_a_process_at_its_limit_is_not_over():
    watchdog = watch(Process(100), limit_bytes=100)
    watchdog.look()
    assert watchdog.over is None


def test_an_error_ends_the_watch_quietly_and_for_good():
    process = Process(100)
    watchdog = watch(process)
    watchdog.start()
    process.is_broken = True
    watchdog._thread.join(timeout=20)
    assert not watchdog_threads()
    process.is_broken = False
    watchdog.look()
    watchdog.stop()
    assert watchdog.failed
    assert watchdog.highest.process_bytes == 100


def test_what_is_outside_counts_once_two_looks_agree():
    process = Process(outside_bytes=10)
    watchdog = watch(process)
    watchdog.look()
    assert watchdog.outside_bytes is None
    seen = []
    for outside_bytes in (10, 900, 20, None, 30, 15):
        process.outside_bytes = outside_bytes
        watchdog.look()
        seen.append(watchdog.outside_bytes)
    assert seen == [10, 10, 20, 20, 20, 20]
