"""What lies in the wheel; `make wheel-test` installs it, and uses it."""

import email
import re
import shutil
import subprocess
import sys
import zipfile

import pytest
from places import REPOSITORY

PACKAGES = ("gcn_keras", "pipelines")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in PACKAGES:
        shutil.copytree(
            REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", folder, source], check=True, capture_output=True)
    [path] = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def test_every_file_of_both_packages_is_in_it(wheel):
    files = {
        path.relative_to(REPOSITORY).as_posix()
        for name in PACKAGES
        for path in (REPOSITORY / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert held == files
    assert {"gcn_keras/web/style.css", "pipelines/datasets/camvid/CITATIONS.bib"} <= files


def test_what_it_brings_along(wheel):
    [path] = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = email.message_from_bytes(wheel.read(path))
    needed = [line for line in metadata.get_all("Requires-Dist") if "extra ==" not in line]
    assert sorted(re.match(r"[\w.-]+", line)[0] for line in needed) == [
        "importlib_resources", "keras", "matplotlib", "numpy", "pillow", "scipy", "tensorboard",
        "tensorflow", "tensorflow-datasets", "tqdm", "tyro",
    ]  # fmt: skip
    assert metadata.get_all("Provides-Extra") == [
        "gpu", "data", "keras-cv", "serving", "tflite", "demo", "video", "onnx", "jax", "crf",
        "notebooks", "docs", "dev", "bench",
    ]  # fmt: skip
    assert metadata["Author"] == "gcn_keras contributors"
    assert wheel.read(path.replace("METADATA", "top_level.txt")).split() == [
        name.encode() for name in PACKAGES
    ]
