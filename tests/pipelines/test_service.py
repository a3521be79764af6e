"""A tf.data service: dispatcher and workers as processes of their own."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from miniatures import REPOSITORY, prepare_in_files, write_pairs

from pipelines import datasets, service
from pipelines.base import addresses
from pipelines.base.errors import UsageError, UserError, as_options
from pipelines.stream import crops, record_order
from pipelines.stream.options import SegmentationOptions
from pipelines.stream.segmentation import training_batches


def start(*arguments) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines.service", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def port_of(process) -> int:
    """Waits until it listens."""
    line = process.stdout.readline()
    assert line.startswith("listening on "), line + process.communicate()[1]
    return int(line.removeprefix("listening on "))


def run(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "pipelines.service", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )


@pytest.fixture
def cluster(tmp_path):
    """(address of a dispatcher, its process, its two workers)."""
    processes = [start("dispatcher", "--port", "0", "--work-dir", str(tmp_path / "state"))]
    try:
        address = f"localhost:{port_of(processes[0])}"
        processes += [start("worker", "--dispatcher", address) for _ in range(2)]
        for process in processes[1:]:
            port_of(process)
        yield address, processes[0], processes[1:]
    finally:
        for process in processes:
            process.kill()
            process.communicate()


@pytest.fixture(scope="module")
def hundred(tmp_path_factory):
    """A hundred examples in four files, each labelled with its own number throughout."""
    folder = tmp_path_factory.mktemp("hundred")
    write_pairs(folder / "source" / "train", [f"{i:03}" for i in range(100)], range(100))
    write_pairs(folder / "source" / "val", "abcd", [0, 1, 2, 3])
    (folder / "source" / "classes.txt").write_text("\n".join(f"c{i}" for i in range(100)))
    return prepare_in_files(folder / "source", folder / "data", 4)


@pytest.mark.parametrize(
    "address",
    ["localhost", "localhost:", ":5050", "localhost:0", "localhost:65536", "a b:1", "x:y"],
)
def test_an_address_is_host_and_port(address):
    with pytest.raises(UsageError, match=f"^data_service must be HOST:PORT.*got '{address}'"):
        addresses.check_address(address, "data_service")


def test_an_address_is_taken_apart():
    assert addresses.check_address("10.0.0.7:65535", "dispatcher") == ("10.0.0.7", 65535)
    assert addresses.check_address("data-1.example:5050", "dispatcher") == (
        "data-1.example",
        5050,
    )


def test_a_stream_without_a_dispatcher_is_refused_at_once(ten):
    with socket.socket() as closed:
        closed.bind(("localhost", 0))  # bound, so taken, but not listening
        address = f"localhost:{closed.getsockname()[1]}"
        with pytest.raises(UserError, match=f"no dispatcher answers at {address} .*; start one"):
            training_batches(ten, "train", crop=(4, 4), batch_size=1, data_service=address)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("localhost", True),
        ("LOCALHOST", True),
        ("0.0.0.0", False),
        ("10.0.0.7", False),
        ("data-1", False),
    ],
)
def test_which_hosts_are_this_machine_alone(host, expected):
    assert addresses.is_loopback(host) is expected


@pytest.mark.parametrize("host", ["", "::1", "no such host", "-"])
@pytest.mark.parametrize("command", [service.dispatcher, partial(service.worker, "localhost:1")])
def test_a_host_that_is_none_opens_no_port(host, command):
    message = "^--host and --port must be HOST:PORT with a port in 1…65535, got "
    with pytest.raises(UsageError, match=f"{message}'{host}:[0-9]+'$"), as_options():
        command(port=0, host=host)


@pytest.fixture
def open_port():
    """A port that this process listens on, at all addresses, as TensorFlow's servers do."""
    with socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        yield server.getsockname()[1]


def is_open(port) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except TimeoutError:
        return False
    return True


class TestRestriction:
    def test_what_comes_through_the_loopback_is_taken(self, open_port):
        addresses.restrict(open_port, "127.0.0.1")
        assert is_open(open_port)

    def test_what_comes_through_another_interface_is_not(self, open_port, monkeypatch):
        monkeypatch.setattr(socket, "if_nametoindex", lambda name: 4321)  # that of no interface
        addresses.restrict(open_port, "localhost")
        assert not is_open(open_port)

    def test_other_ports_of_the_process_stay(self, open_port, monkeypatch):
        monkeypatch.setattr(socket, "if_nametoindex", lambda name: 4321)
        with socket.create_server(("", 0)) as other:
            addresses.restrict(open_port, "127.0.0.1")
            assert is_open(other.getsockname()[1])

    def test_nothing_is_left_open_or_closed(self, open_port, tmp_path):
        with socket.socket(socket.AF_UNIX) as other, open(tmp_path / "file", "w") as file:
            other.bind(str(tmp_path / "socket"))
            other.listen()
            before = sorted(os.listdir("/proc/self/fd"))
            addresses.restrict(open_port, "127.0.0.1")
            assert sorted(os.listdir("/proc/self/fd")) == before
            assert other.getsockname() == str(tmp_path / "socket")
            file.write("still open")

    def test_another_host_leaves_it_open_and_says_so(self, open_port, monkeypatch, capsys):
        monkeypatch.setattr(socket, "if_nametoindex", lambda name: 4321)
        addresses.restrict(open_port, "0.0.0.0")
        assert is_open(open_port)
        said = f"port {open_port} is open: whoever reaches it runs code here\n"
        assert capsys.readouterr().err == said

    def test_elsewhere_than_on_linux_it_is_refused(self, open_port, monkeypatch):
        monkeypatch.setattr(sys, "platform", "darwin")
        with pytest.raises(UserError) as caught, as_options():
            addresses.restrict(open_port, "127.0.0.1")
        assert str(caught.value) == (
            "--host 127.0.0.1 cannot be kept here, as TensorFlow listens on all addresses: close "
            "the port with a firewall, and give --host 0.0.0.0"
        )


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
    def test_those_that_answer_are_found(self, dispatcher_of, open_port):
        with socket.socket() as closed:
            closed.bind(("localhost", 0))
            silent = f"localhost:{closed.getsockname()[1]}"
            here = f"localhost:{open_port}"
            assert addresses.reachable_workers(dispatcher_of()) == []
            assert addresses.reachable_workers(dispatcher_of(silent)) == []
            assert addresses.reachable_workers(dispatcher_of(silent, here, here)) == [here, here]

    def test_a_stream_without_a_worker_says_so_and_ends(
        self, dispatcher_of, ten, monkeypatch, capsys
    ):
        monkeypatch.setattr(addresses, "SECONDS_TO_WAIT_FOR_WORKER", 0.5)
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
            addresses.wait_for_worker(f"localhost:{port}")
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

        monkeypatch.setattr(addresses, "reachable_workers", look)
        monkeypatch.setattr(addresses.time, "sleep", lambda seconds: None)
        wanted = iter([True] * len(looks) + [False])
        before = set(threading.enumerate())
        addresses.watch_workers("localhost:5050", lambda: next(wanted))
        for thread in set(threading.enumerate()) - before:
            thread.join()
        said = "no worker at localhost:5050 is left: waiting for one\n"
        assert capsys.readouterr().err == said * 2

    def test_one_that_comes_late_is_waited_for(self, monkeypatch, capsys):
        found = iter([[], [], ["localhost:1"]])
        monkeypatch.setattr(addresses, "reachable_workers", lambda address: next(found))
        monkeypatch.setattr(addresses.time, "sleep", lambda seconds: None)
        addresses.wait_for_worker("localhost:5050")
        assert capsys.readouterr().err.count("waiting for one") == 1


def test_a_port_that_is_taken_is_refused_and_a_free_one_found():
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        message = f"cannot listen on port {port}: .*give another --port"
        with pytest.raises(UserError, match=message), as_options():
            addresses.free_port(port)
    assert 1 <= addresses.free_port(0) <= 65535
    with pytest.raises(UsageError, match=r"--port must be in 0…65535, got 65536$"), as_options():
        addresses.free_port(65536)


def test_a_port_that_is_taken_meanwhile(monkeypatch):
    """Between the search for a free one and the start of a server."""
    monkeypatch.setattr(addresses, "free_port", lambda port: port)
    monkeypatch.setattr(service, "_stop_signals", threading.Event)
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"^cannot start on port {port}: Could not "):
            service.dispatcher(port)


@pytest.mark.slow
class TestProcesses:
    def test_mistakes_end_in_one_line(self):
        with socket.socket() as taken:
            taken.bind(("", 0))
            taken.listen()
            port = taken.getsockname()[1]
            for arguments in (["dispatcher"], ["worker", "--dispatcher", "localhost:1"]):
                done = run(*arguments, "--port", str(port))
                assert done.returncode == 1 and done.stdout == ""
                assert done.stderr.startswith(f"error: cannot listen on port {port}: ")
                assert done.stderr.count("\n") == 1
        done = run("worker", "--dispatcher", "data-1:5050")
        assert done.returncode == 2
        assert done.stderr == (
            "error: --host must be this machine as data-1 and training see it, got 127.0.0.1\n"
        )
        done = run("worker", "--dispatcher", "localhost")
        assert done.returncode == 2
        assert done.stderr.startswith("error: --dispatcher must be HOST:PORT")

    def test_every_example_of_an_epoch_arrives_once(self, cluster, hundred):
        """What two workers deliver is what one process makes of the same visits, reordered."""
        address, _, _ = cluster
        options = {"crop": (7, 9), "jitter": 0.5}
        stream = SegmentationOptions(batch_size=7, seed=1, data_service=address, **options)
        batches = training_batches(hundred, "train", stream)
        assert batches.element_spec[0].shape == (7, 7, 9, 3)
        arrived = [
            contents(*pair)
            for batch in batches.take(800 // 7).as_numpy_iterator()
            for pair in zip(*batch, strict=True)
        ]

        def example(seeds, record):
            parsed = hundred.parse(record)
            return crops.random_crop(parsed["image"], parsed["label"], seeds, **options)

        made = record_order.visited_records(hundred, "train", stream).map(example)
        # Place, flip and colours are drawn anew in every visit: no two examples are alike.
        made = [contents(*pair) for pair in made.take(2000).as_numpy_iterator()]
        assert len(set(arrived)) == len(arrived) and set(arrived) <= set(made)
        assert set(made[:100]) <= set(arrived)  # the first epoch, all of it
        assert sorted(label for _, label in made[:100]) == list(range(100))

    def test_workers_skip_what_is_damaged(self, cluster, hundred, tmp_path):
        shutil.copytree(Path(hundred.files["train"][0]).parents[3], tmp_path / "data")
        prepared = datasets.load("image_folder", tmp_path / "data")
        file = Path(prepared.files["train"][0])
        file.write_bytes(file.read_bytes()[:-10])  # the last of its records
        batches = training_batches(
            prepared, "train", crop=(6, 8), batch_size=1, data_service=cluster[0], skip_errors=True
        )
        numbers = [int(n) for _, (n,) in batches.map(lambda x, y: (0, y[:, 0, 0])).take(400)]
        assert len(set(numbers)) == 99
        for process in cluster[2]:
            process.terminate()
        said = [process.communicate()[1] for process in cluster[2]]
        assert any("train: damaged examples skipped so far: 1 of " in text for text in said)

    def test_neither_a_killed_worker_nor_a_new_dispatcher_stops_the_stream(
        self, cluster, hundred, tmp_path
    ):
        address, dispatcher, workers = cluster
        batches = training_batches(
            hundred, "train", crop=(6, 8), batch_size=5, seed=1, data_service=address
        )
        stream = batches.as_numpy_iterator()

        def numbers(count):
            return {int(n) for _ in range(count) for n in next(stream)[1][:, 0, 0]}

        numbers(6)  # into the middle of the first epoch
        workers[0].kill()
        workers[0].wait()
        assert numbers(60) == set(range(100))

        dispatcher.kill()
        dispatcher.wait()
        again = start(
            *("dispatcher", "--port", address.split(":")[1], "--work-dir", str(tmp_path / "state"))
        )
        try:
            port_of(again)
            assert numbers(60) == set(range(100))
            # Those that are left end cleanly, by either signal.
            for process, number in ((workers[1], signal.SIGTERM), (again, signal.SIGINT)):
                process.send_signal(number)
                assert process.wait(60) == 0
                assert "Traceback" not in process.stderr.read()
        finally:
            again.kill()
            again.communicate()


def contents(image, label):
    """(bytes of the image, number of the example)."""
    return image.tobytes(), int(label[label != 255][0])
