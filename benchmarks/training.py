"""Training steps of GCN on ResNet50: TensorFlow, JAX and PyTorch; and what `fit` adds to a step.

    python benchmarks/training.py [--json FILE] [--batches 1 4] [--steps N] [--rounds N] [--forms …]

k = 15, 21 classes, 512×512, random weights, SGD with momentum, the same layers everywhere. Each
form has a process of its own with all devices, in turns, `--rounds` of them; the turn with the
lowest median counts, as it was disturbed least. JAX and PyTorch run where they are installed
(extras groups `jax` and `bench`).
"""

import dataclasses
import importlib.util
import sys
import tempfile
import time
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro
from checks import check
from children import answered, in_child, memory_mib
from turns import best_turns

from pipelines.base.errors import run_command
from pipelines.base.files import write_json

SIDE = 512
CLASSES = 21
WARM_UP = 2
FORMS = {
    "TensorFlow": {},
    "TensorFlow, XLA": {"jit_compile": True},
    "TensorFlow, bfloat16": {"mixed_precision": "bfloat16"},
    "TensorFlow, frozen batch norm": {"freeze_batch_norm": True},
    "JAX": {"backend": "jax"},
    "PyTorch": {},
    "PyTorch, channels_last": {"channels_last": True},
    "PyTorch, channels_last, frozen batch norm": {"channels_last": True, "frozen": True},
    "PyTorch, channels_last, bfloat16": {"channels_last": True, "bfloat16": True},
}


def batch_of(size: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 `[size, 512, 512, 3]` and `[size, 512, 512]`, a tenth of it void."""
    random = np.random.default_rng(0)
    labels = random.integers(0, CLASSES, (size, SIDE, SIDE)).astype(np.uint8)
    labels[:, : SIDE // 10] = 255
    return random.integers(0, 256, (size, SIDE, SIDE, 3)).astype(np.uint8), labels


def keras_step(size: int, **fields):
    """A function that takes one step and waits for it."""
    import keras

    from gcn_keras.recipes.catalogue import RECIPES
    from gcn_keras.training.optimizers import compile_model
    from gcn_keras.training.segmentation import Segmentation

    recipe = dataclasses.replace(
        RECIPES["paper"], weights=None, **{"freeze_batch_norm": False, "batch": size, **fields}
    )
    keras.utils.set_random_seed(0)
    policies = {"none": "float32", "bfloat16": "mixed_bfloat16"}
    keras.mixed_precision.set_global_policy(policies[recipe.mixed_precision])
    model = Segmentation.build(recipe, CLASSES)
    compile_model(model, recipe, 1000)
    images, labels = batch_of(size)
    if recipe.backend == "jax":
        from gcn_keras.training.jax_step import JaxStep

        step = JaxStep(model)
    else:
        import tensorflow as tf

        from gcn_keras.training.devices import make_team
        from gcn_keras.training.tensorflow_step import TensorFlowStep

        step = TensorFlowStep(model, make_team(recipe), jit_compile=recipe.jit_compile)
        images, labels = tf.constant(images), tf.constant(labels)
    return lambda: np.asarray(step(images, labels))


def torch_step(
    size: int, channels_last: bool = False, bfloat16: bool = False, frozen: bool = False
):
    """The same in PyTorch."""
    import torch
    from torch_gcn import GCN

    from pipelines.base.imagenet import MEAN_RGB, STD_RGB

    device = "cuda" if torch.cuda.is_available() else "cpu"
    layout = torch.channels_last if channels_last else torch.contiguous_format
    torch.manual_seed(0)
    model = GCN(CLASSES).to(device, memory_format=layout).train()
    if frozen:
        for layer in model.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.eval().requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters(), 2.6e-5, momentum=0.99, weight_decay=5e-4)
    loss = torch.nn.CrossEntropyLoss(ignore_index=255)
    mean, std = (
        torch.tensor(v, dtype=torch.float32, device=device)[:, None, None]
        for v in (MEAN_RGB, STD_RGB)
    )
    images, labels = (torch.from_numpy(array) for array in batch_of(size))

    def step():
        given = images.to(device).permute(0, 3, 1, 2).float()
        given = ((given - mean) / std).contiguous(memory_format=layout)
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled=bfloat16):
            logits = model(given)
        value = loss(logits.float(), labels.to(device).long())
        value.backward()
        optimizer.step()
        return value.item()

    return step


def measure(form: str, size: int, steps: int) -> dict:
    """Runs in a process of its own."""
    make = torch_step if form.startswith("PyTorch") else keras_step
    step = make(size, **FORMS[form])
    before = memory_mib("VmRSS")
    times = []
    for _ in range(WARM_UP + steps):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    memory = {"before_mib": before, "peak_mib": memory_mib()}
    return {"seconds": float(np.median(times[WARM_UP:])), **memory}


def fit_beside_the_step(steps: int, rounds: int) -> dict:
    """Runs in a process of its own: steps of `fit`, from record files and with all that is done
    between steps, in turn with the same steps on a batch that is always the same."""
    import tensorflow as tf
    from input_pipeline import KINDS, write_images

    from gcn_keras.evaluation.metrics import ConfusionMatrix
    from gcn_keras.recipes.catalogue import RECIPES
    from gcn_keras.training.devices import make_team
    from gcn_keras.training.optimizers import compile_model
    from gcn_keras.training.run import make_loop
    from gcn_keras.training.run_folder import RunFolder
    from gcn_keras.training.segmentation import Segmentation
    from pipelines import datasets

    recipe = dataclasses.replace(
        RECIPES["paper"], weights=None, freeze_batch_norm=False, scale=(0.75, 1.25), epochs=rounds
    )
    with tempfile.TemporaryDirectory() as scratch:
        write_images(KINDS["cityscapes"], Path(scratch, "images"))
        dataset = datasets.prepare(
            "image_folder/large", Path(scratch, "images"), Path(scratch, "data")
        )
        model = Segmentation.build(recipe, dataset.num_classes)
        compile_model(model, recipe, 1000)
        run = RunFolder(Path(scratch, "run"))
        run.path.mkdir()
        task = Segmentation(recipe, dataset)
        # One more than steps are timed: within `fit`, a step ends where the next one begins.
        loop = make_loop(task, model, WARM_UP + steps + 1, run, make_team(recipe))
        step, starts = loop.step, []
        bare, within = [], []

        def timed(*batch):
            starts.append(time.perf_counter())
            return step(*batch)

        timed.push, timed.pull = step.push, step.pull
        loop.step = timed
        images, labels = (tf.constant(array) for array in batch_of(recipe.batch))
        labels = tf.where(labels == 255, labels, labels % dataset.num_classes)

        def validate(check_stop):
            """In place of a validation: the bare steps."""
            within.extend(np.diff(starts)[WARM_UP:])
            starts.clear()
            times = []
            for _ in range(WARM_UP + steps):
                start = time.perf_counter()
                np.asarray(step(images, labels))
                times.append(time.perf_counter() - start)
            bare.extend(times[WARM_UP:])
            return ConfusionMatrix(dataset.num_classes)

        loop.validate = validate
        loop.state.save = lambda: None
        loop()
    return {"bare_seconds": float(np.median(bare)), "fit_seconds": float(np.median(within))}


def measured(form: str, size: int, steps: int) -> dict:
    """What `measure` gives in a process of its own."""
    variables = {"KERAS_BACKEND": FORMS[form].get("backend", "tensorflow")}
    result = in_child("measure", variables, form=form, size=size, steps=steps)
    print(f"{form}, batch {size}: {result['seconds']:.2f} s a step", file=sys.stderr)
    return result


def has(form: str) -> bool:
    """Whether what a form needs is installed."""
    needed = {"PyTorch": "torch", "JAX": "jax"}.get(form.split(",")[0], "keras")
    return importlib.util.find_spec(needed) is not None


def compare(
    json_file: Annotated[Path | None, tyro.conf.arg(name="json", metavar="FILE")] = None,
    batches: tuple[int, ...] = (1, 4),
    steps: int = 5,
    rounds: int = 2,
    forms: tuple[Literal[tuple(FORMS)], ...] = tuple(FORMS),
    fit: bool = True,
) -> None:
    """Compare training steps: images a second and peak memory.

    Args:
        json_file: JSON file for the rows.
        batches: Numbers of images in a step.
        steps: Steps of a turn, after two that do not count.
        rounds: Turns of each form; that with the lowest median counts.
        forms: Forms that are measured.
        fit: Also what `fit` adds to a step.
    """
    check(json_file, batches=min(batches, default=1), steps=steps, rounds=rounds)
    rows = []
    usable = [form for form in forms if has(form)]
    for size in batches:
        ways = {form: partial(measured, form, size, steps) for form in usable}
        best = best_turns(ways, rounds, itemgetter("seconds"))
        rows += [
            {"form": form, "batch": size, "images_per_s": size / turn["seconds"], **turn}
            for form, turn in best.items()
        ]
    for form in sorted(set(forms) - set(usable)):
        print(f"{form}: not installed, left out")
    print(table(rows), end="")
    added = None
    if fit:
        turns = dict(steps=2 * steps, rounds=rounds)
        variables = {"KERAS_BACKEND": "tensorflow"}
        added = in_child("fit_beside_the_step", variables, **turns)
        percent = 100 * (added["fit_seconds"] / added["bare_seconds"] - 1)
        print(
            f"a step within `fit` takes {added['fit_seconds']:.3f} s and alone "
            f"{added['bare_seconds']:.3f} s: {percent:+.1f} % (batch 1, 512² crops of 2048×1024 "
            "images)"
        )
    if json_file:
        write_json(json_file, {"steps": rows, "fit": added})


def table(rows: list[dict]) -> str:
    """The rows in Markdown; the ratio is the speed beside PyTorch channels_last, same batch.

    The last column is the memory once packages are imported and the model is built.
    """
    lines = [
        "| form | batch | s a step | images/s | speed ratio | peak MiB | before the steps |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        same = {r["form"]: r["seconds"] for r in rows if r["batch"] == row["batch"]}
        reference = same.get("PyTorch, channels_last", same.get("TensorFlow", row["seconds"]))
        figures = f"{row['seconds']:.2f} | {row['images_per_s']:.2f}"
        lines.append(
            f"| {row['form']} | {row['batch']} | {figures} | {reference / row['seconds']:.2f} | "
            f"{row['peak_mib']:,} | {row['before_mib']:,} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Entry point of the command."""
    if not answered(measure=measure, fit_beside_the_step=fit_beside_the_step):
        tyro.cli(compare, prog="python benchmarks/training.py")


if __name__ == "__main__":
    run_command(main)
