"""What the benchmarks work out, of input made by hand."""

import functools
import itertools

import children
import input_pipeline
import pytest
import step_parts
import tflite_parts
import traces
import waiting
from turns import best_turns

from gcn_keras.deployment.tflite_file import packed
from pipelines.base.errors import UserError


def write_trace(folder, *threads):
    """A profiler's trace of threads: (start in ns, [(name, offset in ps, duration in ps), …])."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    space = xplane_pb2.XSpace()
    space.planes.add(name="/device:GPU:0").lines.add(timestamp_ns=1).events.add(metadata_id=1)
    host = space.planes.add(name="/host:CPU")
    numbers = {}
    for start, found in threads:
        line = host.lines.add(timestamp_ns=start)
        for name, offset, duration in found:
            number = numbers.setdefault(name, len(numbers) + 1)
            host.event_metadata[number].name = name
            line.events.add(metadata_id=number, offset_ps=offset, duration_ps=duration)
    file = folder / "plugins" / "profile" / "run" / "host.xplane.pb"
    file.parent.mkdir(parents=True)
    file.write_bytes(space.SerializeToString())


def test_events_of_a_trace(tmp_path):
    write_trace(tmp_path, (2, [("a:A", 5, 7), ("b:B", 20, 1)]), (3, [("a:A", 0, 9)]))
    assert list(traces.events(tmp_path)) == [
        (0, "a:A", 2005, 7),
        (0, "b:B", 2020, 1),
        (1, "a:A", 3000, 9),
    ]


def test_waiting_counts_whole_steps(tmp_path):
    """Steps from 1 s to 2 s and from 2 s to 4 s, which wait for 0.25 s and 0.5 s."""
    second, wait = 10**12, waiting.WAITING
    write_trace(
        tmp_path,
        (10**9, [(wait, 3 * second, second), ("other", 0, second)]),
        (2 * 10**9, [(wait, 0, second // 2), (wait, -second, second // 4)]),
    )
    assert waiting.waiting_share(tmp_path) == (0.75, 3.0)


def test_one_step_has_no_end(tmp_path):
    write_trace(tmp_path, (0, [(waiting.WAITING, 0, 1)]))
    with pytest.raises(UserError, match="^the trace has 1 event IteratorGetNext.*: no steps were"):
        waiting.waiting_share(tmp_path)


def test_an_operation_counts_without_those_within_it():
    trace = [
        traces.Event(0, "a:A", 0, 100),
        traces.Event(0, "b:B", 10, 20),
        traces.Event(0, "c:C", 12, 8),  # in b
        traces.Event(0, "d:D", 40, 30),
        traces.Event(0, "e:E", 100, 10),  # when a has ended
        traces.Event(1, "b:B", 15, 10),  # of another thread: within nothing
        traces.Event(0, "no operation", 0, 500),
    ]
    expected = {"a:A": 100 - 20 - 30, "b:B": 20 - 8 + 10, "c:C": 8, "d:D": 30, "e:E": 10}
    assert step_parts.operations(trace[::-1]) == expected


def test_parts_of_a_tflite_file():
    content = tflite_file(
        "image/Cast",
        "gcn/conv1_conv_1/convolution",
        "gcn/conv1_relu_1/Relu",
        "gcn/gcn_p2_left_1_1/convolution",
        "gcn/br_p4_sum_conv1_1/convolution",
        "gcn/deconv_p3_1/conv_transpose",
        "gcn/deconv_up1_1/conv_transpose",
        "ArgMax",
        "labels",
    )
    assert tflite_parts.parts_of(content) == [
        ("pixels in", 1),
        ("backbone, stem", 2),
        ("GCN, P2", 1),
        ("BR, deconvolutions and sums, P5 to P2", 2),
        ("BR, deconvolutions and sums, up 1", 1),
        ("argmax, labels out", 2),
    ]


def test_a_tflite_file_of_another_network():
    with pytest.raises(UserError, match="^none of the 2 operations bears the name of a layer"):
        tflite_parts.parts_of(tflite_file("dense/MatMul", "softmax"))


def tflite_file(*names):
    """A file of operations that follow each other, named as what they give."""
    from ai_edge_litert import schema_py_generated as schema

    model, graph, code = schema.ModelT(), schema.SubGraphT(), schema.OperatorCodeT()
    graph.tensors, graph.operators = [], []
    for number, name in enumerate(("given", *names)):
        tensor, operator = schema.TensorT(), schema.OperatorT()
        tensor.name = name
        operator.inputs, operator.outputs = [number - 1], [number]
        graph.tensors.append(tensor)
        graph.operators.append(operator)
    del graph.operators[0]  # what is given comes from nowhere
    model.subgraphs, model.operatorCodes = [graph], [code]
    return packed(model)


def test_memory_of_a_process_and_its_descendants(tmp_path):
    """A child of each of two threads, of which one has a child, and one that has ended."""
    kib = {1: 2000, 2: 1000, 3: 500, 4: 572}
    threads = {(1, 1): "2 9", (1, 5): "3 ", (2, 2): "4", (3, 3): "", (4, 4): ""}
    for process, pss in kib.items():
        (tmp_path / f"{process}").mkdir()
        (tmp_path / f"{process}/smaps_rollup").write_text(
            f"5 ---p 0 [rollup]\nRss:  9999 kB\nPss:  {pss} kB\nPss_Dirty:  7 kB\n"
        )
    for (process, thread), found in threads.items():
        folder = tmp_path / f"{process}/task/{thread}"
        folder.mkdir(parents=True)
        (folder / "children").write_text(found)
    assert children.memory_with_children_mib(tmp_path / "1") == 3  # 4072 / 1024
    assert children.memory_with_children_mib(tmp_path / "2") == 1  # 1572 / 1024


def test_the_best_of_turns_that_alternate():
    calls = []
    found = {"a": iter([(3, "x"), (1, "y"), (2, "z")]), "b": iter([(5, ""), (6, ""), (4, "")])}

    def way(name):
        calls.append(name)
        return next(found[name])

    ways = {name: functools.partial(way, name) for name in "ab"}
    assert best_turns(ways, 3, lambda turn: turn[0]) == {"a": (1, "y"), "b": (4, "")}
    assert calls == [*"ababab"]
    found = {"a": iter([(2, 0), (1, 9)]), "b": iter([(1, 1), (1, 0)])}
    assert best_turns(ways, 2) == {"a": (1, 9), "b": (1, 0)}


def test_the_peak_of_the_memory_while_batches_are_made(monkeypatch):
    found = itertools.cycle([3, 7, 5])
    monkeypatch.setattr(input_pipeline, "memory_with_children_mib", lambda: next(found))
    batches = iter(range(100))
    assert input_pipeline.peak_mib(batches) == 7
    assert next(batches) == input_pipeline.MEMORY_READINGS
