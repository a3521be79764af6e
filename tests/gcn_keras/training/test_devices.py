"""One device, several, several processes, JAX: the same steps, the same confusion matrix."""

import contextlib
import dataclasses
import functools
import json
import math
import os
import socket
import types
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from addresses import free_addresses
from forks import Forked
from PIL import Image
from places import REPOSITORY

from gcn_keras import RECIPES
from gcn_keras.training.devices import Team, check_divisible, make_team
from pipelines import datasets
from pipelines.base.errors import ArgumentError, UsageError, in_options


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Its val has 41 images of three sizes: three runs of 16, the last one partial."""
    folder = tmp_path_factory.mktemp("distribution")
    random = np.random.default_rng(0)
    for split, count in (("train", 1), ("val", 41)):
        for number in range(count):
            size = [(33, 47), (33, 47), (64, 32)][number % 3]
            for part, pixels, ending in (
                ("images", random.integers(0, 256, (*size, 3)), "png"),
                ("labels", random.choice([0, 1, 2, 255], size), "png"),
            ):
                path = folder / "source" / split / part / f"{number}.{ending}"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels.astype(np.uint8)).save(path)
    (folder / "source" / "classes.txt").write_text("a\nb\nc\n")
    datasets.prepare("image_folder", folder / "source", folder / "data")
    return folder


def start(folder, name, environment=None, measure=False, **options) -> Forked:
    options["out"] = str(folder / f"{name}.npz")
    if measure:
        options["data_dir"] = str(folder / "data")
    kept = {key: value for key, value in os.environ.items() if key != "TF_CONFIG"}
    environment = {**kept, **(environment or {})}
    backend = options.get("backend", "tensorflow")
    program = REPOSITORY / "tests/support/ten_steps.py"
    return Forked(program, [json.dumps(options)], folder, environment, backend=backend)


def finish(folder, name, process) -> dict[str, np.ndarray]:
    status, _, stderr = process.finish()
    assert status == 0, stderr
    with np.load(folder / f"{name}.npz") as content:
        return dict(content)


def run(folder, name, *given, **options) -> dict[str, np.ndarray]:
    return finish(folder, name, start(folder, name, *given, **options))


@pytest.fixture(scope="module")
def one(folder) -> dict[str, np.ndarray]:
    """The reference: one device. The others begin from the weights that it leaves behind."""
    return run(folder, "one", measure=True)


def assert_same(result, expected, tolerance=1e-5):
    """`tolerance` is of the value, and absolute below 1: the losses begin at 15."""
    same = functools.partial(np.testing.assert_allclose, rtol=tolerance, atol=tolerance)
    same(result["answers"][:, :2], expected["answers"][:, :2])
    names = [name for name in expected if name.startswith("weight")]
    assert len(names) == 92
    for name in names:
        same(result[name], expected[name], err_msg=name)


@pytest.mark.slow
def test_the_reference_learns(one):
    losses, taken, stops = one["answers"].T
    assert losses[0] > 1 and losses[-1] < 0.9 * losses[0]
    assert taken.tolist() == [1] * 10
    assert stops.tolist() == [0] * 5 + [1] + [0] * 4


@pytest.mark.slow
def test_the_reference_measures_every_valid_pixel(folder, one):
    labels = (folder / "source" / "val" / "labels").iterdir()
    valid = sum(int((np.asarray(Image.open(path)) != 255).sum()) for path in labels)
    assert one["matrix"].sum() == valid
    # The bands share the same pixels out.
    np.testing.assert_array_equal(one["bands"].sum(axis=0), one["matrix"])
    assert one["bands"][:2].any() and one["contours"].all()


def assert_same_counts(result, one):
    for name in ("matrix", "bands", "contours"):
        np.testing.assert_array_equal(result[name], one[name])


@pytest.mark.slow
@pytest.mark.parametrize("devices", [2, 4])
def test_devices_of_one_machine(folder, one, devices):
    options = {"devices": devices, "strategy": "mirrored"}
    result = run(folder, f"mirrored{devices}", measure=True, **options)
    assert_same(result, one)
    assert_same_counts(result, one)
    assert result["answers"][5, 2] == devices


@pytest.mark.slow
def test_two_machines(folder, one):
    """Which are processes here; the variable that describes them is all that they are given."""
    addresses, names = free_addresses(2), ["worker0", "worker1"]
    processes = [
        start(
            folder,
            name,
            {
                "TF_CONFIG": json.dumps(
                    {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": i}}
                )
            },
            measure=True,
        )
        for i, name in enumerate(names)
    ]
    results = [finish(folder, name, p) for name, p in zip(names, processes, strict=True)]
    for result in results:
        assert_same(result, one)
        assert_same_counts(result, one)
        # The second one wanted to stop, and both know.
        assert result["answers"][:, 2].tolist() == [0] * 5 + [1] + [0] * 4
    for name in results[0]:
        np.testing.assert_array_equal(results[0][name], results[1][name])


# Of parts one after another batch norm sees one at a time.
FROZEN = {"freeze_batch_norm": True}


@pytest.fixture(scope="module")
def frozen(folder, one) -> dict[str, np.ndarray]:
    """The reference with frozen batch norms, from the same weights."""
    return run(folder, "frozen", recipe=FROZEN)


@pytest.mark.slow
def test_parts_one_after_another_are_one_batch(folder, frozen):
    """On two devices, too: four images each, two at a time."""
    options = {"devices": 2, "strategy": "mirrored", "recipe": FROZEN | {"accumulate": 2}}
    assert_same(run(folder, "accumulate", **options), frozen)


@pytest.mark.slow
def test_jax_takes_the_same_steps(folder, one):
    pytest.importorskip("jax")
    result = run(folder, "jax", backend="jax", measure=True)
    assert_same(result, one, tolerance=1e-3)
    # Which class a pixel gets may hang on the last bit; which pixels count does not.
    assert result["matrix"].sum() == one["matrix"].sum()
    assert np.abs(result["matrix"] - one["matrix"]).sum() <= 2e-3 * one["matrix"].sum()


@pytest.mark.slow
def test_parts_one_after_another_are_one_batch_on_jax(folder, frozen):
    pytest.importorskip("jax")
    whole = run(folder, "jax-frozen", quick=True, backend="jax", recipe=FROZEN)
    recipe = FROZEN | {"accumulate": 2}
    result = run(folder, "jax-accumulate", quick=True, backend="jax", recipe=recipe)
    assert_same(result, whole, tolerance=1e-4)
    # TensorFlow rounds otherwise, until a ReLU flips: on some machines in the fourth step.
    losses = result["answers"][:3, 0], frozen["answers"][:3, 0]
    np.testing.assert_allclose(*losses, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "precision"),
    [("tensorflow", "bfloat16"), ("mirrored", "float16"), ("jax", "float16")],
)
def test_mixed_precision_is_near(folder, one, backend, precision):
    pytest.importorskip("jax" if backend == "jax" else "tensorflow")
    options = {"recipe": {"mixed_precision": precision}}
    if backend == "mirrored":
        options |= {"devices": 2, "strategy": "mirrored"}
    else:
        options |= {"backend": backend}
    result = run(folder, f"{precision}-{backend}", quick=True, **options)
    losses, taken, _ = result["answers"].T
    assert taken.tolist() == [1] * 10
    # The scale of the loss does not show in it.
    np.testing.assert_allclose(losses[0], one["answers"][0, 0], rtol=0.02)
    if precision == "bfloat16":
        np.testing.assert_allclose(losses, one["answers"][:, 0], rtol=0.05)


# === What is refused ===


def recipe(**fields):
    return dataclasses.replace(RECIPES["shapes"], **fields)


def test_every_device_gets_the_same_share():
    check_divisible(recipe(batch=8, accumulate=2), 4)
    with pytest.raises(ArgumentError) as caught:
        check_divisible(recipe(batch=8, accumulate=2), 3)
    assert "--" not in str(caught.value)
    assert in_options(caught.value.template) == (
        "--batch is of all devices together and must be a multiple of 3 devices × --accumulate 2, "
        "got 8"
    )


def test_multiworker_without_a_cluster(monkeypatch):
    for name in ("TF_CONFIG", "SLURM_JOB_ID", "SLURM_JOBID"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match="needs the variable TF_CONFIG, or a task of Slurm's srun"):
        make_team(recipe(strategy="multiworker"))


def stand_for_strategy(monkeypatch, replicas):
    """Of workers that are not there."""
    strategy = types.SimpleNamespace(num_replicas_in_sync=replicas)
    monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", lambda resolver: strategy)


# What srun tells the second of two tasks, on machines with two GPUs.
SECOND_TASK = {
    "SLURM_JOB_ID": "11",
    "SLURM_PROCID": "1",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_STEP_NODELIST": "node[08-09]",
    "SLURM_STEP_TASKS_PER_NODE": "1(x2)",
}


def set_slurm(monkeypatch, variables):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    for name in (*SECOND_TASK, "SLURM_JOBID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {**variables, "CUDA_VISIBLE_DEVICES": "0,1"}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("job", ["SLURM_JOB_ID", "SLURM_JOBID"])
def test_tasks_of_slurm_are_workers(monkeypatch, job):
    """Which has the number of a job by two names, the second from older days."""
    others = {name: value for name, value in SECOND_TASK.items() if name != "SLURM_JOB_ID"}
    set_slurm(monkeypatch, {job: "11", **others})
    stand_for_strategy(monkeypatch, replicas=4)
    team = make_team(recipe(strategy="multiworker"))
    assert team.addresses == ("node08:8888", "node09:8888")
    assert (team.worker, team.is_chief, team.has_chief_job) == (1, False, False)
    assert (team.replicas, team.local_replicas) == (4, 2)


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        # As in a batch script, before srun.
        (
            {"SLURM_STEP_NUM_TASKS": None},
            "SLURM_STEP_NUM_TASKS not found in environment. Not running inside a SLURM step?",
        ),
        ({"SLURM_PROCID": "x"}, "invalid literal for int() with base 10: 'x'"),
        ({"SLURM_STEP_NUM_TASKS": "3"}, "Requested 3 tasks but only 2 were assigned."),
        # Three tasks have two GPUs between them.
        (
            {"SLURM_STEP_NUM_TASKS": "3", "SLURM_STEP_TASKS_PER_NODE": "3"},
            "range() arg 3 must not be zero",
        ),
    ],
)
def test_tasks_that_slurm_does_not_tell(monkeypatch, variables, reason):
    told = {name: value for name, value in (SECOND_TASK | variables).items() if value}
    set_slurm(monkeypatch, told)
    with pytest.raises(UsageError) as caught:
        make_team(recipe(strategy="multiworker"))
    assert str(caught.value) == (
        f"Slurm does not tell which tasks there are ({reason}): start this with srun, one task a "
        "node"
    )


def test_workers_share_batches_that_no_service_deals_out(monkeypatch):
    set_slurm(monkeypatch, SECOND_TASK)
    stand_for_strategy(monkeypatch, replicas=4)
    with pytest.raises(ArgumentError) as caught:
        make_team(recipe(strategy="multiworker", data_service="a:5050"))
    assert str(caught.value) == (
        "data_service excludes several workers, which share every batch: nobody knows which batch "
        "of the service is whose, got a:5050"
    )


WORKERS = {"worker": ["a:1", "b:2"]}
FIRST = {"type": "worker", "index": 0}


@pytest.mark.parametrize(
    "text",
    [
        *("{", "{}", "[]", '{"cluster": 3}'),
        *(
            json.dumps(dict(cluster=cluster, task=task))
            for cluster, task in (
                ({"ps": []}, FIRST),
                ({"worker": []}, FIRST),
                ({"worker": "a:1"}, FIRST),
                ({"chief": ["a:1"], "worker": "b:2"}, FIRST),
                ({"worker": [1, 2]}, FIRST),
                ({"worker": ["a", "b"]}, FIRST),
                ({"worker": ["a:1", ":2"]}, FIRST),
                ({"worker": ["a:1", "b:0"]}, FIRST),
                ({"worker": ["a:1", "b:65536"]}, FIRST),
                ({"worker": ["http://a:1", "b:2"]}, FIRST),
                ({"worker": ["a:1", "a:1"]}, FIRST),
                ({"chief": ["a:1"], "worker": ["a:1"]}, FIRST),
                (WORKERS, None),
                (WORKERS, {}),
                (WORKERS, {"type": "worker"}),
                (WORKERS, {"index": 0}),
                (WORKERS, {"type": 1, "index": 0}),
                (WORKERS, {"type": "worker", "index": "x"}),
                (WORKERS, {"type": "worker", "index": None}),
                (WORKERS, {"type": "worker", "index": -1}),
                (WORKERS, {"type": "worker", "index": 0.7}),
                (WORKERS, {"type": "worker", "index": math.inf}),
            )
        ),
        json.dumps({"cluster": WORKERS}),
    ],
)
def test_a_cluster_that_is_not_described(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(UsageError, match="TF_CONFIG must be .* got "):
        make_team(recipe(strategy="auto"))


@pytest.mark.parametrize(
    ("kind", "index", "worker"), [("chief", 0, 0), ("worker", 0, 1), ("worker", 1, 2)]
)
def test_workers_are_counted_from_the_chief(monkeypatch, kind, index, worker):
    cluster = {"chief": ["a:1"], "worker": ["b:2", "c:3"]}
    task = {"cluster": cluster, "task": {"type": kind, "index": index}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(task))
    stand_for_strategy(monkeypatch, replicas=6)
    team = make_team(recipe(strategy="auto"))
    assert (team.worker, team.workers, team.is_chief) == (worker, 3, worker == 0)
    assert (team.addresses, team.has_chief_job) == (("a:1", "b:2", "c:3"), True)
    assert (team.replicas, team.local_replicas) == (6, 2)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"backend": "jax"}, "backend jax trains on one device, got the 2 workers of TF_CONFIG"),
        (
            {"jit_compile": True},
            "jit_compile needs one device: devices exchange values within a step, got the 2 "
            "workers of TF_CONFIG",
        ),
    ],
)
def test_workers_of_what_needs_one_device(monkeypatch, fields, message):
    """Each would train on its share of a batch, and know nothing of the others."""
    cluster = {"worker": ["b:2", "c:3"]}
    task = {"cluster": cluster, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(task))
    with pytest.raises(ArgumentError) as caught:
        make_team(recipe(strategy="auto", **fields))
    assert str(caught.value) == message


@pytest.mark.parametrize("fields", [{"backend": "jax"}, {"jit_compile": True}])
def test_what_needs_one_device_takes_one_of_two(monkeypatch, fields):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    devices = [types.SimpleNamespace(name=f"GPU:{i}") for i in range(2)]
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: devices)
    assert make_team(recipe(strategy="auto", batch=1, **fields)).replicas == 1


def test_an_evaluator_is_no_worker(monkeypatch):
    config = {"cluster": WORKERS, "task": {"type": "evaluator", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    with pytest.raises(UsageError, match="^task evaluator 0 of TF_CONFIG is none of its workers$"):
        make_team(recipe(strategy="auto"))


def test_a_chief_alone(monkeypatch):
    """As clouds describe a single machine."""
    config = {"cluster": {"chief": ["a:1"]}, "task": {"type": "chief", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [])
    assert (make_team(recipe(strategy="auto", batch=1)).workers) == 1


@pytest.mark.parametrize(
    ("cluster", "kind", "index"),
    [
        ({"worker": ["b:2", "[::1]:3"]}, "worker", 2),
        ({"worker": ["b:2", "c:3"]}, "worker", 7),
        ({"worker": ["b:2"]}, "worker", 1),
        ({"chief": ["a:1"], "worker": ["b:2"]}, "worker", 1),
        ({"chief": ["a:1"], "worker": ["b:2"]}, "chief", 1),
        ({"worker": ["b:2", "c:3"]}, "chief", 0),
    ],
)
def test_a_task_that_is_none_of_the_cluster(monkeypatch, cluster, kind, index):
    task = {"cluster": cluster, "task": {"type": kind, "index": index}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(task))
    message = f"^task {kind} {index} of TF_CONFIG is none of its workers$"
    with pytest.raises(UsageError, match=message):
        make_team(recipe(strategy="auto"))


def test_one_device_is_tensorflows_default(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    team = make_team(recipe(strategy="one"))
    assert (team.replicas, team.workers, team.is_chief) == (1, 1, True)
    assert not tf.distribute.has_strategy()
    counts = np.arange(4, dtype=np.int64)
    assert team.sum_over_workers(counts) is counts
    assert team.lost_workers(tf.errors.InternalError(None, None, "unhealthy: x")) == []


@pytest.mark.parametrize(
    ("has_chief_job", "silent", "expected"),
    [
        (False, "/job:worker/replica:0/task:2\n", [2]),
        (False, "/job:worker/replica:0/task:2\n/job:worker/replica:0/task:1\n", [1, 2]),
        (True, "/job:worker/replica:0/task:1\n", [2]),
        (True, "/job:chief/replica:0/task:0\n", [0]),
        (False, None, []),
    ],
)
def test_lost_workers_are_named(has_chief_job, silent, expected, monkeypatch):
    """Those that TensorFlow calls silent, though their machines still take connections."""
    monkeypatch.setattr("gcn_keras.training.devices.time.sleep", lambda seconds: None)
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(4)]
        for one in sockets:
            one.bind(("localhost", 0))
            one.listen()
        addresses = tuple(f"localhost:{one.getsockname()[1]}" for one in sockets)
        team = Team(tf.distribute.get_strategy(), 3, addresses, has_chief_job)
        message = "The following tasks are unhealthy (stopped sending heartbeats):\n" + str(silent)
        error = tf.errors.UnavailableError(None, None, message if silent else "reset by peer")
        assert team.lost_workers(error) == [f"worker {n} ({addresses[n]})" for n in expected]
        sockets[1].close()
        gone = sorted({*expected, 1})
        assert team.lost_workers(error) == [f"worker {n} ({addresses[n]})" for n in gone]


def test_a_killed_worker_may_still_listen_for_a_moment(monkeypatch):
    """It breaks connections first, and closes its port later."""
    with socket.socket() as ours, socket.socket() as theirs:
        for one in (ours, theirs):
            one.bind(("localhost", 0))
            one.listen()
        addresses = tuple(f"localhost:{one.getsockname()[1]}" for one in (ours, theirs))
        team = Team(tf.distribute.get_strategy(), 0, addresses)
        monkeypatch.setattr("gcn_keras.training.devices.time.sleep", lambda _: theirs.close())
        error = tf.errors.UnavailableError(None, None, "reset by peer")
        assert team.lost_workers(error) == [f"worker 1 ({addresses[1]})"]
