"""The client with a real export, and in commands."""

import base64
import io
import json
import shutil
import subprocess
import sys

import forks
import numpy as np
import pytest
from PIL import Image
from places import REPOSITORY
from served_channels import (
    CLASSES,
    address,
    picture,
    plain,
    refusal,
    saved,
    sent,
)
from stand_in_server import StandIn

from gcn_keras.evaluate import evaluate
from gcn_keras.inference import serving_client
from gcn_keras.inference.encoded_images import EncodedImage
from gcn_keras.inference.images import load_image
from gcn_keras.inference.legend import Legend
from gcn_keras.inference.segmenters import open_segmenter
from gcn_keras.inference.serving_client import Client
from pipelines import datasets


def run(*arguments, **options):
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        **options,
    )


@pytest.mark.slow
def test_a_network_of_this_project(tmp_path, monkeypatch):
    """The real export: over either protocol the labels that the SavedModel itself gives."""
    from gcn_keras import gcn
    from gcn_keras.deployment.deployable import Deployable
    from gcn_keras.deployment.saved_model import export_saved_model

    network = gcn(3, "small", kernel_size=3)
    export_saved_model(Deployable(network, Legend.unnamed(3)), tmp_path / "network")
    saved_model = open_segmenter(tmp_path / "network")
    images = [picture(40, 33), picture(64, 64, 1), picture(1, 70, 2)]
    expected = [saved_model.segment(image[None])[0] for image in images]
    assert len(np.unique(np.concatenate(expected, axis=None))) > 1
    image = Image.fromarray(images[0])
    files = {
        "a.jpg": image,
        "gray.jpg": image.convert("L"),
        "gray.png": image.convert("L"),
        "palette.png": image.convert("P"),
        "bilevel.png": image.convert("1"),
    }
    for name, content in files.items():
        content.save(tmp_path / name)
    with StandIn({"network": tmp_path / "network"}) as server:
        for kind in ("http", "grpc"):
            client = Client(address(server, kind, "network"), legend=saved_model.legend)
            for labels, wanted in zip(client.segment(images), expected, strict=True):
                np.testing.assert_array_equal(labels, wanted)
            # TensorFlow decodes what is sent as it is, and Pillow the same.
            for path in (tmp_path / name for name in files):
                wanted = saved_model.segment(load_image(path)[None])[0]
                np.testing.assert_array_equal(client.segment(path), wanted, str(path))
            server.behave()
            # What the server refuses: 40 is no file.
            monkeypatch.setattr(serving_client, "encode", lambda _: EncodedImage(b"40", 1, 1))
            message = refusal(client, [images[0]])
            monkeypatch.undo()
            assert message.startswith(f"{client.address} refused the request (")
            assert message.endswith(")") and "JPEG" in message and "stack" not in message
            assert len(server.requests) == 1


@pytest.mark.slow
class TestCommands:
    def test_rest_needs_no_tensorflow(self, server, tmp_path):
        path = saved(plain(2, 3, 2), tmp_path / "a.png")
        code = (
            "import sys; from gcn_keras.inference.serving_client import Client; "
            "print(Client(sys.argv[1]).segment(sys.argv[2]).tolist()); "
            "print([name for name in sys.modules if name in ('tensorflow', 'keras', 'grpc')])"
        )
        done = run("-c", code, address(server, "http"), path)
        assert done.stdout == "[[2, 2, 2], [2, 2, 2]]\n[]\n", done.stderr

    @pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
    def test_the_readmes_line_without_python(self, server, tmp_path):
        lines = (REPOSITORY / "serving" / "README.md").read_text().splitlines()
        [line] = [line for line in lines if "curl -d @-" in line]
        line = line.replace("photo.jpg", str(saved(plain(4, 3, 2), tmp_path / "a.jpg")))
        line = line.replace("http://localhost:8501", server.http).replace("shapes", "channels")
        done = subprocess.run(
            ["bash", "-c", line.replace("curl", "curl -s --noproxy '*'")], capture_output=True
        )
        [answer] = json.loads(done.stdout)["outputs"]
        with Image.open(io.BytesIO(base64.b64decode(answer["b64"]))) as labels:
            assert np.array(labels).tolist() == [[2] * 3] * 4

    def test_predict_leaves_out_the_bad_one(self, server, kind, tmp_path):
        folder = tmp_path / "in"
        folder.mkdir()
        for number in range(3):
            saved(plain(5 + number, 8, number), folder / f"{number}.png")
        saved(picture(32, 32), folder / "bad.jpg")
        (folder / "bad.jpg").write_bytes((folder / "bad.jpg").read_bytes()[:300])
        out = tmp_path / "out"
        done = forks.run("gcn_keras.predict", address(server, kind), folder, "--out", out)
        assert done.returncode == 1, done.stderr
        assert f"error: {folder / 'bad.jpg'} is a truncated or damaged image" in done.stderr
        assert "Traceback" not in done.stderr
        assert {path.name for path in out.glob("*_labels.png")} == {
            "0_labels.png",
            "1_labels.png",
            "2_labels.png",
        }
        for number in range(3):
            with Image.open(out / f"{number}_labels.png") as labels:
                assert np.array(labels).tolist() == [[number] * 8] * (5 + number)

    def test_evaluate_gives_the_same_table(self, server, models, tmp_path, capsys):
        for number in range(4):
            split = tmp_path / "source" / ("train" if number == 3 else "val")
            for part in ("images", "labels"):
                (split / part).mkdir(parents=True, exist_ok=True)
            image = picture(6 + number // 2, 9, number)
            label = image.argmax(axis=-1).astype(np.uint8)
            label[number] = (0, 1, 2) * 3  # some right, some wrong
            label[-1] = 255
            saved(image, split / "images" / f"{number}.png")
            saved(label, split / "labels" / f"{number}.png")
        (tmp_path / "source" / "classes.txt").write_text("\n".join(CLASSES))
        data_dir = tmp_path / "data"
        datasets.prepare("image_folder", tmp_path / "source", data_dir)
        capsys.readouterr()
        tables = []
        for model in (models / "channels", address(server, "http"), address(server, "grpc")):
            evaluate(str(model), "image_folder", data_dir, json_file=tmp_path / "out.json")
            first, table = capsys.readouterr().out.split("\n", 1)
            assert first == f"{model} on image_folder, split val"
            tables.append((table, {**json.loads((tmp_path / "out.json").read_text()), "model": 0}))
        assert tables[0] == tables[1] == tables[2]
        assert 0 < tables[0][1]["mean_iou"] < 1
        # Two of one size go together, the third alone.
        assert sorted(len(request) for request in sent(server)) == [1, 1, 2, 2]
