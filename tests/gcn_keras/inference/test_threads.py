"""Threads beside the model: what comes ahead, what is done behind, and how their errors arrive."""

import threading
from contextlib import suppress

import pytest

from gcn_keras.inference.threads import done_behind, read_ahead

WAIT = 30  # seconds for a thread that is at work: nothing waits that long


class TestReadAhead:
    def test_the_same_items_in_their_order(self):
        with read_ahead(range(1000)) as items:
            assert list(items) == list(range(1000))
        with read_ahead([]) as items:
            assert list(items) == []

    def test_one_item_is_made_while_another_is_at_work(self):
        made, threads, second = [], set(), threading.Event()

        def items():
            for number in range(10):
                made.append(number)
                threads.add(threading.get_ident())
                if number == 1:
                    second.set()
                yield number

        with read_ahead(items()) as ahead:
            assert next(ahead) == 0
            assert second.wait(WAIT)  # although nobody asks for it
            for number in ahead:
                assert len(made) <= number + 2
        assert threading.get_ident() not in threads and len(threads) == 1

    def test_an_error_comes_at_its_place(self):
        def items():
            yield from "ab"
            raise OSError("the disk is gone")

        given = []
        with pytest.raises(OSError, match="the disk is gone"), read_ahead(items()) as ahead:
            for item in ahead:
                given.append(item)
        assert given == ["a", "b"]

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
    def test_a_block_that_fails_ends_the_thread(self, error):
        made, before = [], threading.active_count()

        def items():
            for number in range(1000):
                made.append(number)
                yield number

        with pytest.raises(error), read_ahead(items()) as ahead:
            next(ahead)
            raise error
        assert len(made) <= 2 and threading.active_count() == before


class TestDoneBehind:
    def test_calls_in_their_order_in_one_thread(self):
        done, threads = [], set()

        def call(number, name):
            done.append((number, name))
            threads.add(threading.get_ident())

        with done_behind() as behind:
            for number in range(1000):
                behind(call, number, "x")
        assert done == [(number, "x") for number in range(1000)]
        assert threading.get_ident() not in threads and len(threads) == 1

    def test_a_call_runs_while_the_block_goes_on_and_the_next_waits_for_it(self):
        started, go_on, ended = threading.Event(), threading.Event(), []

        def slow():
            started.set()
            assert go_on.wait(WAIT)
            ended.append("slow")

        with done_behind() as behind:
            behind(slow)
            assert started.wait(WAIT) and not ended
            go_on.set()
            behind(lambda: None)
            assert ended == ["slow"]

    def test_an_error_is_that_of_the_next_call_or_of_the_end(self):
        def fail():
            raise OSError("the disk is full")

        done = []
        with pytest.raises(OSError, match="the disk is full"), done_behind() as behind:
            behind(fail)
            with suppress(OSError):
                behind(done.append, 1)
            behind(fail)
        assert done == []

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
    def test_a_block_that_fails_waits_for_the_last_call(self, error):
        done, before = [], threading.active_count()
        with pytest.raises(error), done_behind() as behind:
            behind(done.append, 1)
            raise error
        assert done == [1] and threading.active_count() == before
