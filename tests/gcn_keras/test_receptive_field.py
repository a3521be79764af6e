"""The command that draws and measures receptive fields."""

import json
from pathlib import Path

import forks
import pytest
from known_fields import IMAGE
from miniatures import save

from gcn_keras import gcn
from gcn_keras.experiments.receptive_fields.effective import effective_receptive_field
from gcn_keras.experiments.receptive_fields.squares import square_side
from gcn_keras.experiments.receptive_fields.valid import valid_receptive_field
from gcn_keras.inference.images import load_image
from gcn_keras.inference.legend import Legend
from pipelines.base.labels import voc_colour_map


def command(*arguments):
    return forks.run("gcn_keras.receptive_field", *arguments)


@pytest.fixture
def folder(tmp_path) -> Path:
    save(tmp_path / "photo.png", IMAGE)
    (tmp_path / "broken.png").write_bytes(b"no image")
    (tmp_path / "model.keras").write_bytes(b"not looked into")
    (tmp_path / "out").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["model.keras"], 2, "name at least one image or folder of images"),
        (
            ["none.keras", "photo.png"],
            1,
            "there is no model at {}/none.keras: expected a .keras file, as `fit` writes",
        ),
        (
            ["out", "photo.png"],
            1,
            "this takes a .keras file, as `fit` writes, not {}/out",
        ),
        (["model.keras", "none.png"], 2, "{}/none.png does not exist"),
        (
            ["model.keras", "broken.png"],
            1,
            "{}/broken.png is not an image in a format that can be read",
        ),
        (
            ["model.keras", "photo.png", "--at", "4,32"],
            2,
            "the point 4,32 lies outside of {}/photo.png: Y must be in 0…31 and X in 0…31",
        ),
        (
            ["model.keras", "photo.png", "--at", "centre"],
            2,
            "--at takes Y,X in pixels from the top left, such as 64,80, got 'centre'",
        ),
        (
            ["model.keras", "photo.png", "--patch", "4"],
            2,
            "--patch must be odd, so that it has a centre, got 4",
        ),
        (
            ["model.keras", "photo.png", "--stride", "4"],
            2,
            "--stride must be at most the patch's side 1, so that every pixel is covered, got 4",
        ),
        (
            ["model.keras", "photo.png", "--patch", "41"],
            2,
            "--patch must fit into the image of 32×32 pixels, got 41",
        ),
        (
            ["model.keras", "photo.png", "--json", "none/x.json"],
            1,
            "--json {}/none/x.json: there is no folder {}/none",
        ),
        *(
            (
                ["model.keras", "photo.png", "--out", "out", "--json", file],
                2,
                f"--json {{}}/{file} would be written over: name another file",
            )
            for file in ("model.keras", "labels.json", "photo.png", "out/photo_receptive_field.png")
        ),
        (
            ["model.keras", "photo.png", "copy.png", "third.png", "--at", "1,1", "--at", "2,2"],
            2,
            "give --at once for all images or once for each: there are 3 images and 2 points",
        ),
    ],
)
def test_bad_arguments(folder, arguments, status, message):
    save(folder / "copy.png", IMAGE)
    save(folder / "third.png", IMAGE)
    files = (".keras", ".png", ".json")
    done = command(*(folder / a if a.endswith(files) or a == "out" else a for a in arguments))
    assert done.returncode == status
    assert done.stderr == f"error: {message.replace('{}', str(folder))}\n"


@pytest.mark.slow
def test_end_to_end(folder):
    model = gcn(num_classes=2, backbone="small", kernel_size=3)
    model.save(folder / "model.keras")
    Legend(("ground", "sky"), voc_colour_map()).write(folder / "labels.json")
    fields = folder / "out" / "fields.json"
    options = ["--patch", "9", "--stride", "9", "--json", fields]
    done = command(
        folder / "model.keras", folder / "photo.png", *options,
        "--at", "16,12", "--at", "3,30", "--class", "sky", "--out", folder / "out",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "photo-2: 100%" in done.stderr  # a bar for each point
    files = {"photo", "photo-2", "mean"}
    assert {p.name for p in (folder / "out").glob("*.png")} == {
        f"{name}_receptive_field.png" for name in files
    }
    assert load_image(folder / "out" / "mean_receptive_field.png").shape[2] == 3

    summary = json.loads(fields.read_text())
    first, second = summary["points"]
    assert first["at"] == [16, 12] and second["at"] == [3, 30]
    assert (first["class"], first["patch"], first["stride"]) == ("sky", 9, 9)
    field = effective_receptive_field(model, IMAGE, (16, 12), 1)
    assert first["effective"] == {
        "50": square_side(field, (16, 12), 0.5),
        "95": square_side(field, (16, 12), 0.95),
    }
    field = valid_receptive_field(model, IMAGE, (3, 30), 1, patch=9, stride=9)
    assert second["valid"]["95"] == square_side(field, (3, 30), 0.95)
    lines = done.stdout.splitlines()
    assert lines[0] == "side in pixels of the square that holds     50%     95%"
    assert lines[1].startswith("photo.png at 16,12: sky, logit ")
    assert lines[7] == "mean of 2 points"
    assert [int(word) for word in lines[9].split()[3:]] == list(summary["mean"]["valid"].values())
