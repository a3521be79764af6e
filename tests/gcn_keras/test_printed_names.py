"""What commands print of names that they did not choose."""

import importlib
from types import SimpleNamespace

import numpy as np
from miniatures import write_pairs

from gcn_keras.evaluation import measure
from gcn_keras.training import task
from pipelines import doctor, prepare

evaluate = importlib.import_module("gcn_keras.evaluate")


def test_class_names_do_not_steer_the_terminal(tmp_path, monkeypatch, capsys):
    source, data, model = tmp_path / "source", tmp_path / "data", tmp_path / "model.keras"
    write_pairs(source, "abcdef", [0, 1, 2, 0, 1, 2])
    (source / "classes.txt").write_text("sk\x1b[2Jy\nroad\ncar\x07\n")
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
        assert r"sk\x1b[2Jy" in printed and r"car\x07" in printed
        assert not {"\x1b", "\x07"} & set(printed)


def test_a_warning_about_classes_does_not_steer_the_terminal(capsys):
    task.Task.warn(SimpleNamespace(_faults=["sk\x1b[2Jy never occurs"]))
    assert capsys.readouterr().err == "warning: sk\\x1b[2Jy never occurs\n"
