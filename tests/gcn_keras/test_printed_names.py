"""What commands print of names that they did not choose."""

import importlib
from types import SimpleNamespace

import numpy as np
import pytest
from miniatures import write_pairs

from gcn_keras.evaluation import measure
from gcn_keras.training import task
from pipelines import doctor, prepare

evaluate = importlib.import_module("gcn_keras.evaluate")


@pytest.mark.slow
def test_class_names_do_not_steer_the_terminal(tmp_path, monkeypatch, capsys):
    source, data, model = tmp_path / "source", tmp_path / "data", tmp_path / "model.keras"
    write_pairs(source, "abcdef", [0, 1, 2, 0, 1, 2])
    # What turns the direction of writing around; control characters are refused.
    (source / "classes.txt").write_text("sk\u202ey\nroad\ncar\u2066\n", encoding="utf-8")
    model.touch()
    constant = SimpleNamespace(
        segment=lambda images: np.zeros(images.shape[:3], np.uint8), num_classes=3, legend=None
    )
    monkeypatch.setattr(measure, "open_segmenter", lambda address: constant)
    for command in (
        lambda: prepare.prepare("image_folder/x", source, data),
        lambda: doctor.doctor("image_folder/x", data),
        lambda: evaluate.evaluate(str(model), "image_folder/x", data),
    ):
        command()
        printed = "".join(capsys.readouterr())
        assert r"sk\u202ey" in printed and r"car\u2066" in printed
        assert not {"\u202e", "\u2066"} & set(printed)


def test_a_warning_about_classes_does_not_steer_the_terminal(capsys):
    task.Task.warn(SimpleNamespace(_faults=["sk\x1b[2Jy never occurs"]))
    assert capsys.readouterr().err == "warning: sk\\x1b[2Jy never occurs\n"
