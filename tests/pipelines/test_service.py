"""A tf.data service: dispatcher and workers as processes of their own."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest
from miniatures import REPOSITORY, prepare_in_files, write_pairs

from pipelines import datasets, service
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


@pytest.mark.parametrize("host", ["", "::1", "no such host", "-"])
@pytest.mark.parametrize("command", [service.dispatcher, partial(service.worker, "localhost:1")])
def test_a_host_that_is_none_opens_no_port(host, command):
    message = "^--host and --port must be HOST:PORT with a port in 1…65535, got "
    with pytest.raises(UsageError, match=f"{message}'{host}:[0-9]+'$"), as_options():
        command(port=0, host=host)


def test_a_port_that_is_taken_meanwhile(monkeypatch):
    """Between the search for a free one and the start of a server."""
    monkeypatch.setattr(service, "free_port", lambda port: port)
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
