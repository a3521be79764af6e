"""What a stream knows of the dispatcher and the workers that make its batches."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from pipelines.base.errors import UserError
from pipelines.stream import data_service
from pipelines.stream.segmentation import training_batches


def test_a_stream_without_a_dispatcher_is_refused_at_once(ten):
    with socket.socket() as closed:
        closed.bind(("localhost", 0))  # bound, so taken, but not listening
        address = f"localhost:{closed.getsockname()[1]}"
        with pytest.raises(UserError, match=f"no dispatcher answers at {address} .*; start one"):
            training_batches(ten, "train", crop=(4, 4), batch_size=1, data_service=address)


@pytest.fixture
def dispatcher_of():
    """A function that starts a dispatcher which knows the given workers; gives its address."""
    servers = []

    def dispatcher(*workers):
        known = FileDescriptorSet(file=[{"name": worker} for worker in workers])
        answer = grpc.unary_unary_rpc_method_handler(lambda *_: known.SerializeToString())
        handler = grpc.method_handlers_generic_handler(
            "tensorflow.data.DispatcherService", {"GetWorkers": answer}
        )
        server = grpc.server(ThreadPoolExecutor(1), handlers=[handler])
        servers.append(server)
        port = server.add_insecure_port("localhost:0")
        server.start()
        return f"localhost:{port}"

    yield dispatcher
    for server in servers:
        server.stop(None)


class TestWorkers:
    def test_those_that_answer_are_found(self, dispatcher_of):
        with socket.socket() as closed, socket.create_server(("localhost", 0)) as server:
            closed.bind(("localhost", 0))
            silent = f"localhost:{closed.getsockname()[1]}"
            here = f"localhost:{server.getsockname()[1]}"
            assert data_service.reachable_workers(dispatcher_of()) == []
            assert data_service.reachable_workers(dispatcher_of(silent)) == []
            assert data_service.reachable_workers(dispatcher_of(silent, here, here)) == [here, here]

    def test_a_stream_without_a_worker_says_so_and_ends(
        self, dispatcher_of, ten, monkeypatch, capsys
    ):
        monkeypatch.setattr(data_service, "SECONDS_TO_WAIT_FOR_WORKER", 0.5)
        address = dispatcher_of()
        with pytest.raises(UserError) as caught:
            training_batches(ten, "train", crop=(4, 4), batch_size=1, data_service=address)
        missing = f"no worker of the dispatcher at {address} can be reached"
        assert str(caught.value) == (
            f"{missing}; start one where training can reach it with: python -m pipelines.service "
            f"worker --dispatcher {address}"
        )
        assert capsys.readouterr().err == f"{missing}: waiting for one\n"

    def test_what_listens_may_be_no_dispatcher(self):
        server = grpc.server(ThreadPoolExecutor(1))
        port = server.add_insecure_port("localhost:0")
        server.start()
        with pytest.raises(UserError) as caught:
            data_service.wait_for_worker(f"localhost:{port}")
        assert str(caught.value) == (
            f"what listens at localhost:{port} is no dispatcher (UNIMPLEMENTED)"
        )
        server.stop(None)

    def test_the_loss_of_the_last_one_is_said_once(self, monkeypatch, capsys):
        looks = [["localhost:1"], [], [], UserError("restarted"), ["localhost:1"], []]
        found = iter(looks)

        def look(address):
            workers = next(found)
            if isinstance(workers, Exception):
                raise workers
            return workers

        monkeypatch.setattr(data_service, "reachable_workers", look)
        monkeypatch.setattr(data_service.time, "sleep", lambda seconds: None)
        wanted = iter([True] * len(looks) + [False])
        before = set(threading.enumerate())
        data_service.watch_workers("localhost:5050", lambda: next(wanted))
        for thread in set(threading.enumerate()) - before:
            thread.join()
        said = "no worker at localhost:5050 is left: waiting for one\n"
        assert capsys.readouterr().err == said * 2

    def test_one_that_comes_late_is_waited_for(self, monkeypatch, capsys):
        found = iter([[], [], ["localhost:1"]])
        monkeypatch.setattr(data_service, "reachable_workers", lambda address: next(found))
        monkeypatch.setattr(data_service.time, "sleep", lambda seconds: None)
        data_service.wait_for_worker("localhost:5050")
        assert capsys.readouterr().err.count("waiting for one") == 1
