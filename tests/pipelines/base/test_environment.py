"""What TensorFlow writes when it starts: nothing, in any command and what a command starts.

And what it imports: no Keras, which commands that need it import themselves.
"""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from places import REPOSITORY
from small_runs import fit_options, prepare_halves

from pipelines.base.environment import cores

# What an import writes shows in a process of its own only.
pytestmark = pytest.mark.slow
# The library's own log, whatever it says: "I0000 00:00:1795656123.559212    5380 port.cc:153] …".
NOTES = re.compile(
    r"^[IWEF]\d{4} .*|.*absl::InitializeLog.*|.*cuInit.*|.*oneDNN.*|.*cuda drivers.*"
    r"|.*TensorFlow binary.*|.*Created TensorFlow Lite.*",
    re.M,
)


def environment(**variables) -> dict[str, str]:
    """This process's, without what tests set for TensorFlow."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("TF_")}
    return {**kept, "PYTHONPATH": str(REPOSITORY), **variables}


def run(*arguments, **variables) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=REPOSITORY,
        env=environment(**variables),
        capture_output=True,
        text=True,
    )


IMPORTS = """
import importlib.util, os, sys, warnings
from pipelines.base.environment import prepare_tensorflow
prepare_tensorflow()
prepare_tensorflow()
assert importlib.util.find_spec("tensorflow") and "tensorflow" not in sys.modules
import tensorflow as tf
print(float(tf.constant(1.0) + 1), os.environ["TF_CPP_MIN_LOG_LEVEL"])
os.write(2, b"from here on\\n")
"""


def test_an_import_and_a_first_operation_are_silent():
    done = run("-c", IMPORTS)
    assert (done.stdout, done.stderr) == ("2.0 2\n", "from here on\n")


def test_a_users_own_level_wins():
    done = run("-c", IMPORTS, TF_CPP_MIN_LOG_LEVEL="0")
    assert done.stdout == "2.0 0\n" and NOTES.search(done.stderr)
    done = run("-c", IMPORTS, TF_CPP_MIN_LOG_LEVEL="3")
    assert (done.stdout, done.stderr) == ("2.0 3\n", "from here on\n")


def test_what_else_is_written_meanwhile_is_kept(tmp_path):
    (tmp_path / "tensorflow.py").write_text(
        "import os, sys\n"
        "os.write(2, b'I0000 a note\\nW0000 a warning\\nE0000 failed call to cuInit: x\\n')\n"
        "print('E0000 an error', file=sys.stderr)\n"
        "class config: list_physical_devices = lambda: print('looked', file=sys.stderr)\n"
        "raise ImportError('this CPU is too old')\n"
    )
    path = f"{tmp_path}{os.pathsep}{REPOSITORY}"
    done = run("-c", IMPORTS, PYTHONPATH=path)
    assert done.stderr.startswith("W0000 a warning\nE0000 an error\nTraceback")
    assert done.stderr.endswith("ImportError: this CPU is too old\n")


def test_keras_is_imported_with_tensorflow_no_more_and_works_after_it():
    done = run(
        "-c",
        IMPORTS
        + """
assert not [name for name in sys.modules if name.split(".")[0] == "keras"]
import tensorflow.keras
from tensorflow.keras import layers
import keras
assert layers.Dense is keras.layers.Dense is tf.keras.layers.Dense
print(keras.Sequential([layers.Dense(2)]).predict(tf.ones([1, 3]), verbose=0).shape)
""",
    )
    assert (done.stdout, done.stderr) == ("2.0 2\n(1, 2)\n", "from here on\n")


def test_a_saved_model_is_asked_without_keras(files):
    command = (
        f"gcn_keras.predict saved_models/shapes {files['image']} --out {files['folder']}/saved"
    )
    done = run("-X", "importtime", "-m", *command.split())
    assert done.returncode == 0, done.stderr
    assert (files["folder"] / "saved" / "image_labels.png").is_file()
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert "tensorflow" in imported and "keras.src.backend" not in imported  # as far as it tries


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    """A prepared data set, a model for it, and an image."""
    from gcn_keras import gcn

    folder = tmp_path_factory.mktemp("silent")
    data = prepare_halves(folder)
    gcn(num_classes=2, backbone="small", kernel_size=3).save(folder / "model.keras")
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(folder / "image.png")
    return {
        "folder": folder, "data": data, "source": folder / "source",
        "model": folder / "model.keras", "image": folder / "image.png",
    }  # fmt: skip


COMMANDS = {
    "prepare": "pipelines.prepare image_folder --from {source} --data-dir {folder}/again",
    "doctor": "pipelines.doctor image_folder --data-dir {data}",
    "summary": "gcn_keras.summary",
    "predict": "gcn_keras.predict {model} {image} --out {folder}/predicted",
    "predict-tflite": "gcn_keras.predict saved_models/shapes/shapes.tflite {image} --out {folder}",
    "evaluate": "gcn_keras.evaluate {model} --dataset image_folder --data-dir {data} --split val",
    "export": "gcn_keras.export {model} --out {folder}/out --formats savedmodel tflite-int8 "
    "--size 64 64 --dataset image_folder --data-dir {data}",
    "receptive_field": "gcn_keras.receptive_field {model} {image} --out {folder}/fields --patch 33 "
    "--stride 32",
    "crf": "gcn_keras.crf search {model} --dataset image_folder --data-dir {data} --split val "
    "--limit 1 --sigma 1 --bilateral-weight 3 --bilateral-xy 49 --bilateral-rgb 3",
}


class TestCommands:
    @pytest.mark.parametrize("name", COMMANDS)
    def test_is_silent(self, name, files):
        done = run("-m", *(word.format(**files) for word in COMMANDS[name].split()))
        assert done.returncode == 0, done.stderr
        assert NOTES.findall(done.stdout + done.stderr) == []

    @pytest.mark.parametrize("backend", ["tensorflow", "jax"])
    def test_fit_is_silent_and_the_process_that_exports_its_model(self, backend, files):
        pytest.importorskip(backend)
        out = files["folder"] / backend
        options = fit_options(files["data"], out, backbone="resnet_nearsighted", epochs=1)
        options += ["--block", "conv1x1", "--no-boundary-refinement", "--backend", backend]
        # Optimizing takes JAX a minute.
        done = run("-m", "gcn_keras.fit", *options, JAX_DISABLE_MOST_OPTIMIZATIONS="1")
        assert done.returncode == 0, done.stderr
        assert out.with_name(f"{backend}-saved-model").is_dir()
        assert json.loads((out / "metrics.json").read_text())["backend"] == backend
        assert NOTES.findall(done.stdout + done.stderr) == []

    @pytest.mark.parametrize(
        ("arguments", "begins"),
        [
            (("pipelines.service", "dispatcher", "--port", "0"), "listening on"),
            (("gcn_keras.demo", "--port", "0"), "http://127.0.0.1"),
        ],
    )
    def test_a_server_is_silent(self, arguments, begins, tmp_path):
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=REPOSITORY,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        line = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        stdout, stderr = process.communicate(timeout=60)
        assert line.startswith(begins), stderr
        assert NOTES.findall(stdout + stderr) == []


@pytest.mark.parametrize("count, expected", [(7, 7), (None, 1)])
def test_cores(monkeypatch, count, expected):
    """Those that this process may use; where that is not told, as on macOS, all of the machine."""
    monkeypatch.setattr(os, "cpu_count", lambda: count)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {2, 3, 5}, raising=False)
    assert cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    assert cores() == expected
