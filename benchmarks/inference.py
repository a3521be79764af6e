"""Every form of a deployed model beside Keras and PyTorch: latency, throughput, memory, size.

    python benchmarks/inference.py [--json FILE] [--seconds S] [--rounds N] [--models …] [--forms …]
        [--num-classes N]

GCN on ResNet50 and on MobileNetV3, k = 15, with random weights, 21 classes unless others are asked
for, 512×512; and the model in saved_models/shapes at 128×128. Every form takes the same uint8
images and gives the same thing, a label map for each; each runs in a process of its own with all
cores, in turns, `--rounds` of them; the turn with the lowest median counts, as it was disturbed
least. PyTorch runs where it is installed (extras group `bench`), with the same layers on ResNet50
alone, and ONNX Runtime likewise (`onnx`); bfloat16 where the CPU does not emulate it.
"""

import importlib.util
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

from pipelines.base.bfloat16 import emulates_bfloat16
from pipelines.base.errors import ArgumentError, run_command
from pipelines.base.files import write_json
from pipelines.base.labels import IGNORE

MODELS = {  # side of the images; after "gcn_" the backbone
    "gcn_resnet50": 512,
    "gcn_mobilenet_v3_small": 512,
    "gcn_mobilenet_v3_large": 512,
    "shapes": 128,
}
BOXED = Path(__file__).parents[1] / "saved_models" / "shapes"
EXPORTED = {
    "Keras predict": "model.keras",
    "SavedModel of model.export": "keras_export",
    "SavedModel of this project": "versions/1",
    "SavedModel in bfloat16": "bfloat16/1",
    "TFLite fp32": "model.tflite",
    "TFLite fp16": "model-fp16.tflite",
    "TFLite int8": "model-int8.tflite",
    "ONNX Runtime": "model.onnx",
}
TORCH = {
    "PyTorch": {},
    "PyTorch channels_last": {"channels_last": True},
    "PyTorch channels_last, compiled": {"channels_last": True, "compiled": True},
}
FORMS = (*EXPORTED, *TORCH)
CLASSES = 21  # of VOC


def make_deployable(name: str, num_classes: int = CLASSES):
    """A model of `MODELS`, as a `Deployable`; with random weights it has so many classes."""
    import keras

    from gcn_keras import gcn
    from gcn_keras.deployment.deployable import Deployable
    from gcn_keras.inference.keras_model import load_model
    from gcn_keras.inference.legend import Legend

    if name == "shapes":
        model = load_model(BOXED / "shapes.keras")
    else:
        keras.utils.set_random_seed(0)
        model = gcn(num_classes=num_classes, backbone=name.removeprefix("gcn_"), kernel_size=15)
        draw_statistics(model)
    return Deployable(model, Legend.unnamed(model.output.shape[-1]))


def int8_file(name: str, deployable) -> bytes:
    """The content of a model's int8 file."""
    from gcn_keras.deployment import tflite

    representative = [image[None] for image in images_for(name, 8)]
    size = (MODELS[name],) * 2
    return tflite.convert(deployable.folded, "tflite-int8", size, representative=representative)


def write_forms(name: str, num_classes: int, folder: str) -> None:
    """Makes every form of a model in a folder."""
    forms = Path(folder)
    from gcn_keras.deployment import tflite
    from gcn_keras.deployment.deployable import Deployable
    from gcn_keras.deployment.onnx_file import onnx_content
    from gcn_keras.deployment.saved_model import export_saved_model

    deployable = make_deployable(name, num_classes)
    model, size = deployable.network, (MODELS[name],) * 2
    model.save(forms / EXPORTED["Keras predict"])
    model.export(forms / EXPORTED["SavedModel of model.export"], verbose=False)
    export_saved_model(deployable, forms / "versions")
    if not emulates_bfloat16():
        shorter = Deployable(model, deployable.legend, precision="bfloat16")
        export_saved_model(shorter, forms / "bfloat16")
    for kind, path in (("tflite", "model.tflite"), ("tflite-fp16", "model-fp16.tflite")):
        (forms / path).write_bytes(tflite.convert(deployable.folded, kind, size))
    (forms / EXPORTED["TFLite int8"]).write_bytes(int8_file(name, deployable))
    if has("tf2onnx") and has("onnxruntime"):
        (forms / EXPORTED["ONNX Runtime"]).write_bytes(onnx_content(deployable))


def draw_statistics(model) -> None:
    """Gives batch norms statistics as of training: fresh ones fold to biases of zero, which are
    dropped, and a convolution without a bias runs through other kernels."""
    random = np.random.default_rng(0)
    for layer in model.layers:
        if layer.__class__.__name__ == "BatchNormalization":
            (channels,) = layer.gamma.shape
            gamma, variance = random.uniform(0.8, 1.2, (2, channels))
            beta, mean = random.normal(0, 0.1, (2, channels))
            layer.set_weights([gamma, beta, mean, variance])


def images_for(name: str, count: int) -> np.ndarray:
    """uint8 `[count, side, side, 3]`: scenes of the embedded data set."""
    from pipelines.datasets.shapes import scenes

    side = MODELS[name]
    return np.stack([scenes.render_scene(np.random.default_rng(i), side)[0] for i in range(count)])


def open_form(form: str, num_classes: int, folder: str):
    """A function from uint8 `[B, H, W, 3]` to uint8 `[B, H, W]`, ready to be called."""
    if form in TORCH:
        return open_torch(num_classes, **TORCH[form])
    path = Path(folder, EXPORTED[form])
    if form == "SavedModel of model.export":
        import tensorflow as tf

        serve = tf.saved_model.load(str(path)).signatures["serving_default"]
        (key,) = serve.structured_input_signature[1]

        def segment(images):
            (logits,) = serve(**{key: tf.constant(images, tf.float32)}).values()
            return np.argmax(logits, axis=-1).astype(np.uint8)

        segment.owner = serve
        return segment
    if form == "ONNX Runtime":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return lambda images: session.run(["labels"], {"images": images})[0]
    from gcn_keras.inference.segmenters import open_segmenter

    return open_segmenter(path).segment


def open_torch(num_classes: int, channels_last: bool = False, compiled: bool = False):
    """PyTorch's GCN, with the same work around it: normalisation before, argmax after."""
    import torch
    from torch_gcn import GCN

    from pipelines.base.imagenet import MEAN_RGB, STD_RGB

    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = GCN(num_classes).eval().to(memory_format=layout)
    network = torch.compile(model) if compiled else model
    mean, std = (torch.tensor(v, dtype=torch.float32)[:, None, None] for v in (MEAN_RGB, STD_RGB))

    @torch.inference_mode()
    def segment(images):
        given = torch.from_numpy(images).permute(0, 3, 1, 2).float()
        logits = network(((given - mean) / std).contiguous(memory_format=layout))
        return logits.argmax(1).to(torch.uint8).numpy()

    return segment


def measure(name: str, form: str, num_classes: int, folder: str, seconds: float) -> dict:
    """Runs in a process of its own: load, latencies of one image, throughput of eight."""
    images = images_for(name, 8)
    start = time.perf_counter()
    segment = open_form(form, num_classes, folder)
    labels = segment(images[:1])
    first = time.perf_counter() - start
    assert labels.shape == (1, *images.shape[1:3]) and labels.dtype == np.uint8
    one = latencies(lambda: segment(images[:1]), seconds)
    eight = latencies(lambda: segment(images), seconds)
    return {
        "first_answer_s": first,
        "median_ms": 1000 * float(np.median(one)),
        "p95_ms": 1000 * float(np.percentile(one, 95)),
        "images_per_s": 1 / float(np.median(one)),
        "images_per_s_batch_8": 8 / float(np.median(eight)),
        "peak_mib": memory_mib(),
        "file_mib": file_mib(Path(folder, EXPORTED[form])) if form in EXPORTED else None,
    }


def latencies(call, seconds: float) -> list[float]:
    """Seconds of each call, at least five, for about `seconds`; the first two do not count."""
    times, end = [], time.perf_counter() + seconds
    while len(times) < 7 or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times[2:]


def file_mib(path: Path) -> float:
    """Size of a file, or of all files in a folder."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files) / 2**20


def has(package: str) -> bool:
    """Whether a package is installed."""
    return importlib.util.find_spec(package) is not None


def compare(
    json_file: Annotated[Path | None, tyro.conf.arg(name="json", metavar="FILE")] = None,
    seconds: float = 5.0,
    rounds: int = 2,
    models: tuple[Literal[tuple(MODELS)], ...] = tuple(MODELS),
    forms: tuple[Literal[FORMS], ...] = FORMS,
    num_classes: int = CLASSES,
) -> None:
    """Compare the forms of deployed models: latency, images a second, memory, file size.

    Args:
        json_file: Write the rows there, too.
        seconds: Length of a measurement.
        rounds: Turns of each form; that with the lowest median counts.
        models: Only these.
        forms: Only these.
        num_classes: Of the models with random weights.
    """
    check(json_file, seconds=seconds, rounds=rounds)
    if not 2 <= num_classes <= IGNORE:
        raise ArgumentError("num_classes", f"must be in 2…{IGNORE}, got {num_classes}")
    rows, wanted = [], forms
    for name in models:
        with tempfile.TemporaryDirectory() as scratch:
            given = {"name": name, "num_classes": num_classes, "folder": scratch}
            in_child("write_forms", **given)
            forms = [form for form, path in EXPORTED.items() if Path(scratch, path).exists()]
            if name == "gcn_resnet50":
                forms += [form for form in TORCH if has("torch")]
            forms = [form for form in forms if form in wanted]
            run = partial(in_child, "measure", **given, seconds=seconds)
            ways = {form: partial(run, form=form) for form in forms}
            best = best_turns(ways, rounds, itemgetter("median_ms"))
            rows += [{"model": name, "form": form, **turn} for form, turn in best.items()]
    for package, group in (("torch", "bench"), ("onnxruntime", "onnx")):
        if not has(package):
            print(f"{package} is not installed (extras group {group}): left out")
    print(table(rows), end="")
    if json_file:
        write_json(json_file, rows)


def table(rows: list[dict]) -> str:
    """The rows in Markdown; the ratio is the speed beside PyTorch channels_last, or Keras."""
    lines = [
        "| model | form | median ms | p95 ms | images/s | batch 8 | speed ratio | first answer s "
        "| peak MiB | file MiB |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        same = {r["form"]: r["median_ms"] for r in rows if r["model"] == row["model"]}
        reference = same.get("PyTorch channels_last", same.get("Keras predict", row["median_ms"]))
        size = "" if row["file_mib"] is None else f"{row['file_mib']:.1f}"
        lines.append(
            f"| {row['model']} | {row['form']} | {row['median_ms']:.1f} | {row['p95_ms']:.1f} | "
            f"{row['images_per_s']:.1f} | {row['images_per_s_batch_8']:.1f} | "
            f"{reference / row['median_ms']:.2f} | {row['first_answer_s']:.2f} | "
            f"{row['peak_mib']:,} | {size} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Entry point of the command."""
    if not answered(measure=measure, write_forms=write_forms):
        tyro.cli(compare, prog="python benchmarks/inference.py")


if __name__ == "__main__":
    run_command(main)
