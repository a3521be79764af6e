"""`python -m gcn_keras.summary`: the table, the file, and what it refuses."""

import json
import subprocess
import sys

import forks
import keras
import pytest
from places import REPOSITORY

from gcn_keras import gcn
from gcn_keras.models.costs import Block, table
from gcn_keras.summary import summary
from pipelines.base.errors import UsageError, UserError

TINY = dict(backbone="resnet14_tiny", kernel_size=(3,), num_classes=3)
ODD = "must be odd, so that the score map stays aligned with the image"


def test_table():
    blocks = [
        Block("stem", True, (64, 64, 32), 1_234, 1_500_000),
        Block("GCN P5, k = 3", False, (4, 4, 3), 56, 250_000),
        Block("BR P5", False, (4, 4, 3), 1_000_000, 0),
    ]
    assert table(blocks).splitlines() == [
        "block            output  parameters  multiply-adds",
        "stem           64×64×32       1,234          1.5 M",
        "GCN P5, k = 3     4×4×3          56          0.2 M",
        "BR P5             4×4×3   1,000,000          0.0 M",
        "backbone                      1,234          1.5 M",
        "head                      1,000,056          0.2 M",
        "total                     1,001,290          1.8 M",
    ]


@pytest.mark.slow
def test_a_configuration(capsys, tmp_path):
    summary(**TINY, size=(64, 96), json_file=tmp_path / "costs.json")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "gcn_resnet14_tiny at 64×96"
    parameters = gcn(3, "resnet14_tiny", 3).count_params()
    assert lines[-1].split()[:2] == ["total", f"{parameters:,}"]
    content = json.loads((tmp_path / "costs.json").read_text())
    assert content["model"] == "gcn_resnet14_tiny" and content["size"] == [64, 96]
    assert content["parameters"] == parameters
    assert [block["name"] for block in content["blocks"]][:2] == ["stem", "res-2"]
    total = sum(block["multiply_adds"] for block in content["blocks"])
    assert content["multiply_adds"] == total
    assert lines[-1].endswith(f"{total / 1e6:,.1f} M")
    # The deconvolution from P5: 2×3 positions of 4·4·3·3 weights.
    (up,) = [x for x in content["blocks"] if x["name"] == "deconvolution to P4"]
    assert (up["output"], up["multiply_adds"]) == ([4, 6, 3], 864)


@pytest.mark.slow
def test_a_file_and_a_size_that_is_padded(capsys, tmp_path):
    path = tmp_path / "model.keras"
    gcn(3, "small", 3).save(path)
    summary(**TINY | {"backbone": "small"}, size=(64, 96))
    expected = capsys.readouterr().out.splitlines()
    summary(path, size=(61, 65))
    found = capsys.readouterr().out.splitlines()
    assert found[0] == f"{path} at 61×65, padded to 64×96"
    assert found[1:] == expected[1:]


def test_options_that_change_the_network(capsys):
    summary(**TINY, block="stack", stack_width=8, boundary_refinement=False, size=(64, 64))
    shown = capsys.readouterr().out
    assert "3×3 P5" in shown and "BR" not in shown


@pytest.mark.slow
def test_a_file_of_another_size(tmp_path):
    path = tmp_path / "model.keras"
    gcn(3, "small", 3, input_shape=(64, 64, 3)).save(path)
    with pytest.raises(UserError) as caught:
        summary(path, size=(128, 64))
    assert str(caught.value) == f"{path} is for images of 64×64, not of 128×64: give --size 64 64"


@pytest.mark.slow
@pytest.mark.parametrize("size", [(48, 64), (30, 64), (48, 33)])
def test_a_fixed_size_is_what_images_are_padded_to(capsys, tmp_path, size):
    """As predictions do it, also where it is no multiple of 32, which no size could fit before."""
    path = tmp_path / "model.keras"
    gcn(3, "small", 3, input_shape=(48, None, 3)).save(path)
    summary(path, size=size, json_file=tmp_path / "costs.json")
    content = json.loads((tmp_path / "costs.json").read_text())
    assert content["size"] == [48, 64]
    assert content["blocks"][-1]["output"] == [48, 64, 3]
    padded = "" if size == (48, 64) else ", padded to 48×64"
    assert f"{path} at {size[0]}×{size[1]}{padded}\n" in capsys.readouterr().out
    with pytest.raises(UserError, match="is for images of 48×64, not of 49×64: give --size 48 64"):
        summary(path, size=(49, 64))


def test_a_file_of_something_else(tmp_path):
    path = tmp_path / "model.keras"
    x = keras.Input((7,))
    keras.Model(x, keras.layers.Dense(3)(x)).save(path)
    with pytest.raises(UserError) as caught:
        summary(path)
    assert str(caught.value) == f"{path} takes no images: its input is (None, 7)"


def test_a_size_that_a_model_has_no_output_for(tmp_path):
    path = tmp_path / "model.keras"
    x = keras.Input((None, None, 3))
    keras.Model(x, keras.layers.Conv2D(3, 40)(x)).save(path)
    with pytest.raises(UserError, match=f"^{path} cannot be taken apart: Computed output size "):
        summary(path, size=(32, 32))


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(kernel_size=(8,)), f"--kernel-size {ODD}, got 8"),
        (dict(kernel_size=(3, 5)), "--kernel-size takes one number or four (P2 to P5), got 2"),
        (
            dict(kernel_size=(1,), block="stack"),
            "--block stack needs a --kernel-size of at least 3, got 1",
        ),
        (dict(num_classes=1), "--num-classes must be in 2…255, got 1"),
        (dict(stack_width=0, block="stack"), "--stack-width must be at least 1, got 0"),
        (dict(stack_width=3), "--stack-width means nothing for --block gcn: leave it out"),
        (
            dict(kernel_size=(3,), block="conv1x1"),
            "--kernel-size means nothing for --block conv1x1: leave it out",
        ),
        (dict(size=(0, 64)), "--size must be at least 1 1, got 0 64"),
    ],
)
def test_invalid_options(options, message):
    with pytest.raises(UsageError) as caught:
        summary(**options)
    assert str(caught.value) == message


def test_a_model_and_a_description_of_one(tmp_path):
    path = tmp_path / "model.keras"
    path.touch()
    with pytest.raises(UsageError) as caught:
        summary(path, num_classes=3)
    assert str(caught.value) == (
        f"--num-classes describes a network to build, but {path} is one: give one of both"
    )


def test_no_model(tmp_path):
    with pytest.raises(UserError) as caught:
        summary(tmp_path / "none.keras")
    assert str(caught.value) == (
        f"there is no model at {tmp_path}/none.keras: expected a .keras file, as `fit` writes"
    )
    with pytest.raises(UserError) as caught:
        summary(json_file=tmp_path / "none" / "costs.json")
    path = tmp_path / "none"
    assert str(caught.value) == f"--json {path}/costs.json: there is no folder {path}"


def test_a_model_in_another_form(tmp_path):
    (tmp_path / "model.tflite").touch()
    for path in (tmp_path / "model.tflite", tmp_path):
        with pytest.raises(UserError) as caught:
            summary(path)
        assert str(caught.value) == f"this takes a .keras file, as `fit` writes, not {path}"
    for name in ("model.keras", "best.keras"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=f"not {tmp_path}: name a model in it, best.keras, model"):
        summary(tmp_path)


@pytest.mark.parametrize("name", ["model.keras", "labels.json"])
def test_costs_over_the_model(tmp_path, name):
    (tmp_path / "model.keras").touch()
    with pytest.raises(UsageError) as caught:
        summary(tmp_path / "model.keras", json_file=tmp_path / name)
    assert str(caught.value) == f"--json {tmp_path / name} would be written over: name another file"


@pytest.mark.slow
class TestProcess:
    def test_a_table(self):
        options = "--backbone resnet14_tiny --kernel-size 3 --classes 3 --size 64 64"
        done = forks.run("gcn_keras.summary", *options.split())
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[0] == "gcn_resnet14_tiny at 64×64"
        assert len({len(line) for line in done.stdout.splitlines()[1:]}) == 1

    @pytest.mark.parametrize(
        "options, status, message",
        [
            ("--help", 0, ""),
            ("--kernel-size 8", 2, f"error: --kernel-size {ODD}, got 8\n"),
        ],
    )
    def test_help_and_errors_import_nothing_heavy(self, options, status, message):
        program = f"""
import sys
from gcn_keras import summary
from pipelines.base.errors import run_command
sys.argv[1:] = {options.split()}
try:
    run_command(summary.main)
finally:
    assert not {{"tensorflow", "keras"}} & set(sys.modules)
"""
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (status, message)
        assert ("--boundary-refinement" in done.stdout) == (status == 0)
