"""Where the time of a TFLite file goes, block by block of Figure 2.

    python benchmarks/tflite_parts.py FILE.tflite [--repeats N] [--json FILE]
    python benchmarks/tflite_parts.py --model gcn_resnet50 [--repeats N] [--json FILE]

With a name the int8 file of `benchmarks/inference.py` is made and measured. TFLite's kernels tell
no times, so the file is cut behind each block: what a block takes is what the file up to its end
takes longer than the file up to its beginning, in processor time of one core, the least of a few
calls. An operation counts for the layer whose name its result bears.
"""

import collections
import itertools
import time
from pathlib import Path
from typing import Annotated

import inference
import numpy as np
import tyro
from checks import check

from gcn_keras.deployment.tflite_file import operations, packed, read
from gcn_keras.models.layer_names import BACKBONE, FIGURE, GCN, Place, block_of_operation
from pipelines.base.errors import UsageError, UserError, run_command
from pipelines.base.files import write_json
from pipelines.base.plurals import count_of

PIXELS_IN, LABELS_OUT = "pixels in", "argmax, labels out"


def part_of(name: str) -> str | None:
    """The part of the figure that a tensor's name tells; None where it bears no layer's name."""
    place = block_of_operation(name)
    return place and _title(place)


def _title(place: Place) -> str:
    if place.block in (BACKBONE, GCN):
        return f"{place.block}, {place.level}"
    return "BR, deconvolutions and sums, " + ("P5 to P2" if place.level[0] == "P" else place.level)


def parts_of(content: bytes) -> list[tuple[str, int]]:
    """Part and number of operations of each row of neighbours that are of one part.

    Raises:
        UserError: no operation is of a layer of the figure.
    """
    found = [part_of(outputs[0].name.decode()) for *_, outputs in operations(read(content))]
    first = next((i for i, part in enumerate(found) if part), None)
    if first is None:
        raise UserError(
            f"none of the {count_of(len(found), 'operation')} bears the name of a layer of "
            "Figure 2: name a .tflite file that export wrote of a GCN"
        )
    named = [part or (PIXELS_IN if i < first else LABELS_OUT) for i, part in enumerate(found)]
    return [(part, len(list(row))) for part, row in itertools.groupby(named)]


def up_to(content: bytes, count: int) -> bytes:
    """A file of the first operations alone, which gives what they make and do not take."""
    model = read(content)
    graph = model.subgraphs[0]
    graph.operators = graph.operators[:count]
    taken = {index for operator in graph.operators for index in operator.inputs}
    made = [index for operator in graph.operators for index in operator.outputs]
    graph.outputs = [index for index in made if index not in taken]
    model.signatureDefs = []
    return packed(model)


def milliseconds(content: bytes, repeats: int) -> float:
    """Processor time of one core for one image, the least of some calls after one more."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    [taken] = interpreter.get_input_details()
    interpreter.set_tensor(
        taken["index"], np.random.default_rng(0).integers(0, 256, taken["shape"], np.uint8)
    )
    interpreter.invoke()
    seconds = []
    for _ in range(repeats):
        begin = time.thread_time()
        interpreter.invoke()
        seconds.append(time.thread_time() - begin)
    return 1000 * min(seconds)


def measure(
    file: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")] = None,
    model: str | None = None,
    repeats: int = 10,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json", metavar="FILE")] = None,
) -> None:
    """Measure how much of an image's time each block of a TFLite file takes.

    Args:
        file: The file; its images are uint8.
        model: A model of benchmarks/inference.py instead, such as gcn_resnet50.
        repeats: Calls of which the fastest counts.
        json_file: JSON file for the result.
    """
    check(json_file, repeats=repeats)
    if (file is None) == (model is None):
        raise UsageError("name a .tflite file, or a model by --model")
    if model not in (None, *inference.MODELS):
        raise UsageError(f"--model knows {', '.join(inference.MODELS)}, got {model!r}")
    if file is not None and not (file.is_file() and file.suffix == ".tflite"):
        raise UserError(f"there is no .tflite file at {file}: name one that export wrote")
    if model:
        content = inference.int8_file(model, inference.make_deployable(model))
    else:
        content = file.read_bytes()
    spent: dict[str, float] = collections.Counter()
    before, count = 0.0, 0
    for part, operators in parts_of(content):
        count += operators
        now = milliseconds(up_to(content, count), repeats)
        spent[part] += now - before
        before = now
    print(f"{before:.1f} ms of one core")
    print("| part | ms | share % |\n|---|---:|---:|")
    order = [PIXELS_IN, *dict.fromkeys(map(_title, FIGURE)), LABELS_OUT]
    for part in order:
        if part in spent:
            print(f"| {part} | {spent[part]:.1f} | {100 * spent[part] / before:.1f} |")
    if json_file:
        write_json(json_file, {"model": model or str(file), "ms": spent})


def main() -> None:
    """Entry point of the command."""
    tyro.cli(measure, prog="python benchmarks/tflite_parts.py")


if __name__ == "__main__":
    run_command(main)
