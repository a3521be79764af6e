"""docs/phone.md: what it says of a file, and what its snippets call, is in an exported one."""

import dataclasses
import json
import re

import keras
import numpy as np
import pytest
from ai_edge_litert.compiled_model import CompiledModel
from ai_edge_litert.hardware_accelerator import HardwareAccelerator
from ai_edge_litert.interpreter import Interpreter
from documented import commands, parsed
from PIL import Image
from places import REPOSITORY

from gcn_keras.deployment.export import export_model
from gcn_keras.inference.legend import FILE, Legend
from gcn_keras.inference.segmenters import open_segmenter
from gcn_keras.inference.tflite_model import _metadata
from pipelines import datasets

TEXT = (REPOSITORY / "docs" / "phone.md").read_text()
KOTLIN = "\n".join(re.findall(r"```kotlin\n(.*?)```", TEXT, re.DOTALL))
SWIFT = "\n".join(re.findall(r"```swift\n(.*?)```", TEXT, re.DOTALL))
[EXPORT] = [command for command in commands(TEXT) if "gcn_keras.export" in command]


def only(pattern: str, text: str):
    """What a pattern's groups hold wherever it occurs, which is the same everywhere."""
    [found] = set(re.findall(pattern, text))
    return found


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The folder of an export with the formats that the page's command names."""
    folder = tmp_path_factory.mktemp("phone")
    random = np.random.default_rng(0)
    for number in range(4):
        part = folder / "source" / ("train" if number < 3 else "val")
        pixels = random.integers(0, 256, (32, 32, 3)).astype(np.uint8)
        for name, content in (("images", pixels), ("labels", pixels.argmax(axis=-1))):
            (part / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(content.astype(np.uint8)).save(part / name / f"{number}.png")
    (folder / "source" / "classes.txt").write_text("red\ngreen\nblue")
    datasets.prepare("image_folder", folder / "source", folder / "data")
    prepared = datasets.load("image_folder", folder / "data")
    x = keras.Input((None, None, 3))
    identity = keras.layers.Conv2D(3, 1, use_bias=False)
    model = keras.Model(x, identity(x))
    identity.set_weights([np.eye(3).reshape(1, 1, 3, 3) / 255])
    model.save(folder / "best.keras")
    options = parsed(EXPORT)
    out = folder / options["out"]
    smaller = dataclasses.replace(options["options"], size=(32, 40))
    export_model(folder / "best.keras", out, smaller, prepared, say=lambda line: None)
    return out


@pytest.mark.parametrize("command", commands(TEXT), ids=lambda command: command.split()[2])
def test_commands(command):
    parsed(command)


def test_sizes_are_those_of_the_command():
    height, width = parsed(EXPORT)["options"].size
    for text, declared in ((KOTLIN, r"val {} = (\d+)"), (SWIFT, r"let {} = (\d+)")):
        names = ("HEIGHT", "WIDTH") if text is KOTLIN else ("height", "width")
        assert [int(only(declared.format(name), text)) for name in names] == [height, width]


@pytest.mark.slow
class TestExported:
    def test_files(self, exported):
        names = {path.name for path in exported.iterdir()}
        shown = re.findall(rf"^ {{4}}{parsed(EXPORT)['out']}/(\S+) ", TEXT, re.MULTILINE)
        assert names == set(shown) == {"street-int8.tflite", "street-int8.json"}
        for text in (KOTLIN, SWIFT):
            assert only(r'name: String = "(.+?)"', text) == "street-int8"

    def test_signature(self, exported):
        """Names and types as in the table, and as Kotlin calls them."""
        interpreter = Interpreter(str(exported / "street-int8.tflite"))
        [(key, names)] = interpreter.get_signature_list().items()
        [given], [output] = names["inputs"], names["outputs"]
        assert f"| signature | `{key}`, the only one |" in TEXT
        assert only(r'createInputBuffer\("(\w+)", "(\w+)"\)', KOTLIN) == (given, key)
        assert only(r'createOutputBuffer\("(\w+)", "(\w+)"\)', KOTLIN) == (output, key)
        assert (
            f'model.run(mapOf("{given}" to image), mapOf("{output}" to labels), "{key}")' in KOTLIN
        )
        for name, form, [tensor] in (
            (given, r"\[1, H, W, 3\]", interpreter.get_input_details()),
            (output, r"\[1, H, W\]", interpreter.get_output_details()),
        ):
            assert re.search(rf"`{name}`, {np.dtype(tensor['dtype']).name} `{form}`", TEXT)
        assert interpreter.get_input_details()[0]["shape"].tolist() == [1, 32, 40, 3]
        assert interpreter.get_output_details()[0]["shape"].tolist() == [1, 32, 40]

    def test_legend(self, exported):
        beside = json.loads((exported / "street-int8.json").read_text())
        assert json.loads(_metadata(exported / "street-int8.tflite")) == beside
        assert f"| metadata | `{FILE}`" in TEXT
        [example] = re.findall(r"^ {4}(\{.+\})$", TEXT, re.MULTILINE)
        assert Legend.parse(example, "docs/phone.md").class_names == ("road", "car")
        assert json.loads(example).keys() == beside.keys()
        assert set(re.findall(r'legend\.getJSONArray\("(\w+)"\)', KOTLIN)) == beside.keys()
        members = re.search(r"struct Legend: Decodable \{(.*?)\}", SWIFT, re.DOTALL)[1]
        assert set(re.findall(r"let (\w+):", members)) == beside.keys()

    def test_the_runtime_that_kotlin_calls(self, exported):
        """Unsigned bytes go in and come out as signed ones, as Kotlin hands them over."""
        path = exported / "street-int8.tflite"
        model = CompiledModel.from_file(str(path), HardwareAccelerator.CPU)
        image = model.create_input_buffer_by_name("serving_default", "image")
        labels = model.create_output_buffer_by_name("serving_default", "labels")
        pixels = np.random.default_rng(1).integers(0, 256, (1, 32, 40, 3)).astype(np.uint8)
        image.write(pixels.view(np.int8).ravel())
        model.run_by_name("serving_default", {"image": image}, {"labels": labels})
        found = labels.read(32 * 40, np.int8).view(np.uint8).reshape(1, 32, 40)
        np.testing.assert_array_equal(found, pixels.argmax(axis=-1))
        np.testing.assert_array_equal(found, open_segmenter(path).segment(pixels))
