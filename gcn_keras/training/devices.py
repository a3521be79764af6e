"""Devices and machines: the replicas that train on one batch together, and what they exchange.

A *worker* is a process; it has one *replica* of the model for each of its devices. All replicas
hold the same weights and take part in every step, each with its share of the batch. The first
worker is the chief, and the only one that writes.
"""

import contextlib
import json
import operator
import os
import re
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from gcn_keras.recipes.checks import check_takes_several_devices, needs_one_device
from gcn_keras.recipes.recipe import Recipe
from pipelines.base.addresses import answers, split_address
from pipelines.base.errors import ArgumentError, UsageError, UserError, argument

SECONDS_TO_DIE = 5  # what a killed process may need to close its port


class Team:
    """The replicas of a run, on this machine and on others.

    Attributes:
        strategy: `tf.distribute.Strategy`; TensorFlow's default one for a single device.
        worker, workers: this process's number, and how many there are.
        replicas: of all workers together.
        local_replicas: of this worker.
        addresses: "HOST:PORT" of every worker; empty where there is only one.
    """

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        worker: int = 0,
        addresses: tuple[str, ...] = (),
        has_chief_job: bool = False,
    ):
        self.strategy, self.has_chief_job = strategy, has_chief_job
        self.worker, self.addresses = worker, addresses
        self.workers = max(1, len(addresses))
        self.replicas = strategy.num_replicas_in_sync
        self.local_replicas = self.replicas // self.workers
        self._sum = tf.function(
            lambda value: strategy.reduce("sum", value, axis=None), autograph=False
        )

    @property
    def is_chief(self) -> bool:
        """Whether this worker writes."""
        return self.worker == 0

    def split(self, array: tf.Tensor) -> Any:
        """This worker's part of a batch for `strategy.run`: equal shares, a local replica each."""
        return self.deal(tf.split(array, self.local_replicas))

    def deal(self, values: Sequence) -> Any:
        """One value for each local replica, for `strategy.run`."""
        if self.replicas == 1:
            return tf.convert_to_tensor(values[0])
        first = self.worker * self.local_replicas
        return self.strategy.experimental_distribute_values_from_function(
            lambda context: tf.convert_to_tensor(values[context.replica_id_in_sync_group - first])
        )

    def sum_over_workers(self, array: np.ndarray) -> np.ndarray:
        """Adds up an int64 array of every worker; all must call it, and all get the sum."""
        if self.workers == 1:
            return array
        # One replica of each worker speaks for it.
        others = [np.zeros_like(array)] * (self.local_replicas - 1)
        return self._sum(self.deal([array, *others])).numpy()

    def any_of(self, value: bool) -> bool:
        """Whether any worker says yes; all must call it."""
        return bool(self.sum_over_workers(np.array([value], np.int64))[0])

    def wait_for_all(self) -> None:
        """Waits until all workers are here, so that none leaves while others still read from it.

        A worker may still be fetching the last part of a sum from one that already has it.
        """
        with contextlib.suppress(tf.errors.OpError):  # a worker that has the sum may be gone
            self.sum_over_workers(np.zeros(1, np.int64))

    def check_same(self, number: int, message: str) -> None:
        """Raises a UserError, with the message, if workers have another number; all must call."""
        numbers = np.zeros(self.workers, np.int64)
        numbers[self.worker] = number
        numbers = self.sum_over_workers(numbers)
        if len(set(numbers.tolist())) > 1:
            raise UserError(f"{message}: {', '.join(map(str, numbers))}")

    def lost_workers(self, error: tf.errors.OpError) -> list[str]:
        """Names of the other workers that are gone, or no longer give a sign of life.

        TensorFlow's error names machines that have fallen silent (after ten seconds); a process
        that has ended just breaks connections.
        """
        if self.workers == 1:
            return []
        silent = re.search(r"unhealthy.*?:\s((?:/job:\w+/replica:\d+/task:\d+\s)+)", error.message)
        tasks = re.findall(r"/job:(\w+)/replica:\d+/task:(\d+)", silent[1]) if silent else ()
        lost = {int(number) + (job == "worker" and self.has_chief_job) for job, number in tasks}
        if "CoordinationService/Heartbeat" in error.message:  # which worker 0 answers
            lost.add(0)
        for _ in range(SECONDS_TO_DIE):
            lost |= {n for n, address in enumerate(self.addresses) if not answers(address)}
            if lost - {self.worker}:
                break
            time.sleep(1)  # a process that ends breaks connections before it closes its port
        return [f"worker {n} ({self.addresses[n]})" for n in sorted(lost - {self.worker})]


def make_team(recipe: Recipe) -> Team:
    """The team that a recipe asks for. Call it before anything else of TensorFlow is used.

    Raises:
        UsageError: no cluster is described, or a recipe that needs one device is one worker of
            several.
    """
    name, tasks = recipe.strategy, _tasks_of_tf_config()
    if name == "auto" and len(tasks) > 1:
        check_takes_several_devices(recipe, f"the {len(tasks)} workers of TF_CONFIG")
        name = "multiworker"
    elif name == "auto" and not needs_one_device(recipe):
        name = "mirrored" if len(tf.config.list_logical_devices("GPU")) > 1 else "one"
    if name == "multiworker":
        team = _team_of_workers(tasks)
    elif name == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        team = Team(tf.distribute.MirroredStrategy([device.name for device in devices]))
    else:
        team = Team(tf.distribute.get_strategy())
    if team.workers > 1 and recipe.data_service:
        raise ArgumentError(
            "data_service",
            "excludes several workers, which share every batch: nobody knows which batch of the "
            f"service is whose, got {recipe.data_service}",
        )
    return team


def check_divisible(recipe: Recipe, replicas: int) -> None:
    """Raises an ArgumentError unless every replica gets the same share of every batch."""
    if recipe.batch % (replicas * recipe.accumulate):
        accumulated = (
            f" × {argument('accumulate')} {recipe.accumulate}" if recipe.accumulate > 1 else ""
        )
        raise ArgumentError(
            "batch",
            f"is of all devices together and must be a multiple of {replicas} "
            f"devices{accumulated}, got {recipe.batch}",
        )


def _tasks_of_tf_config() -> list[str]:
    """Addresses of the workers that TF_CONFIG names, the chief first; [] without one."""
    text = os.environ.get("TF_CONFIG")
    if not text:
        return []
    try:
        config = json.loads(text)
        jobs = {job: config["cluster"].get(job, []) for job in ("chief", "worker")}
        kind, index = config["task"]["type"], config["task"]["index"]
        index = int(index) if isinstance(index, str) else operator.index(index)
        addresses = [address for job in jobs.values() for address in job]
        if not (addresses and all(isinstance(job, list) for job in jobs.values()) and index >= 0):
            raise ValueError
        # TensorFlow waits without end for one that cannot be.
        if not isinstance(kind, str) or None in map(split_address, addresses):
            raise ValueError
        if len(set(addresses)) < len(addresses):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f'TF_CONFIG must be {{"cluster": {{"worker": ["HOST:PORT", …]}}, "task": {{"type": '
            f'"worker", "index": N}}}}, got {text!r}'
        ) from error
    if index >= len(jobs.get(kind, [])):
        raise UsageError(f"task {kind} {index} of TF_CONFIG is none of its workers")
    return addresses


def _team_of_workers(tasks: list[str]) -> Team:
    if tasks:
        resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    elif "SLURM_JOB_ID" in os.environ or "SLURM_JOBID" in os.environ:
        try:
            resolver = tf.distribute.cluster_resolver.SlurmClusterResolver()
            resolver.cluster_spec()  # which also sets this task's number
        except (RuntimeError, KeyError, ValueError, OSError) as error:
            raise UsageError(
                f"Slurm does not tell which tasks there are ({error}): start this with srun, one "
                "task a node"
            ) from error
    else:
        raise ArgumentError(
            "strategy",
            "multiworker needs the variable TF_CONFIG, or a task of Slurm's srun, to tell which "
            "machines there are; found neither",
        )
    spec = resolver.cluster_spec().as_dict()
    chief = tuple(spec.get("chief", ()))
    addresses = (*chief, *spec.get("worker", ()))
    worker = resolver.task_id + (len(chief) if resolver.task_type == "worker" else 0)
    strategy = tf.distribute.MultiWorkerMirroredStrategy(resolver)
    return Team(strategy, worker, addresses, has_chief_job=bool(chief))
