"""Tries a wheel as its users do: in a new environment without extras, outside the checkout.

    python tests/support/try_wheel.py dist/gcn_keras-0.1.0-py3-none-any.whl

`make wheel-test` builds it first. The environment has the versions of requirements.txt, by uv where
it is on the PATH; nothing of it stays.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from places import REPOSITORY

# Where the package lies, a model in plain Keras, two steps of its training, its labels.
BUILD = """
import sys
from pathlib import Path
import keras, numpy as np
from PIL import Image
import gcn_keras, pipelines

for package in (gcn_keras, pipelines):
    assert Path(package.__file__).is_relative_to(sys.prefix), package.__file__
model = gcn_keras.gcn(3, "resnet14_tiny", kernel_size=3)
model.compile("sgd", gcn_keras.PixelCrossentropy(), metrics=[gcn_keras.MeanIoU(3)])
images = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3)).astype(np.uint8)
model.fit(images, images.argmax(-1).astype(np.uint8), batch_size=2, epochs=1, verbose=0)
assert int(model.optimizer.iterations) == 2
model.save("plain.keras")
labels = gcn_keras.segment(model, images)
assert labels.shape == (4, 64, 64) and labels.dtype == np.uint8

for split, count in (("train", 8), ("val", 2)):
    for number in range(count):
        label = np.zeros((64, 64), np.uint8)
        label[:, 16 + 4 * number :] = 1
        for part, pixels in (("images", np.stack([100 * label] * 3, -1)), ("labels", label)):
            path = Path("photos", split, part, f"{number}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
Path("photos/classes.txt").write_text("left\\nright\\n")
"""
# The commands from photographs to predictions.
PREPARE = "pipelines.prepare image_folder --from photos"
FIT = (
    "gcn_keras.fit --dataset image_folder --crop 64 64 --kernel-size 3 --batch 4 --epochs 1 "
    "--warmup-steps 0 --out runs/two"
)
PREDICT = "gcn_keras.predict runs/two/best.keras photos/val/images"
# Options that need an extra: status, how the sentence begins, package and extra.
MISSING = {
    "gcn_keras.fit --backbone resnet18": (2, "--backbone resnet18 needs", "keras-cv", "keras-cv"),
    "gcn_keras.summary --backbone resnet34": (
        2, "--backbone resnet34 needs", "keras-cv", "keras-cv",
    ),
    "gcn_keras.fit --backend jax": (2, "--backend jax needs", "JAX", "jax"),
    "gcn_keras.export plain.keras --out out --formats tflite --size 64 64": (
        1, "--formats tflite needs", "ai-edge-litert", "tflite",
    ),
    "gcn_keras.export plain.keras --out out --formats onnx": (
        1, "--formats onnx needs", "tf2onnx and onnxruntime", "onnx",
    ),
    "gcn_keras.predict plain.keras photos --crf": (1, "a dense CRF needs", "pydensecrf2", "crf"),
    "gcn_keras.predict plain.keras --video plain.mp4": (1, "videos need", "OpenCV", "video"),
    "gcn_keras.predict plain.tflite photos": (
        1, "plain.tflite needs", "ai-edge-litert", "tflite",
    ),
    "gcn_keras.predict plain.onnx photos": (1, "plain.onnx needs", "onnxruntime", "onnx"),
    "gcn_keras.predict grpc://localhost:1/shapes photos": (
        1, "grpc://localhost:1/shapes needs", "tensorflow-serving-api", "serving",
    ),
    "gcn_keras.evaluate plain.tflite --dataset shapes": (
        1, "plain.tflite needs", "ai-edge-litert", "tflite",
    ),
    "gcn_keras.demo plain.keras --port 0 --examples photos": (
        1, "the page needs", "Gradio", "demo",
    ),
    "pipelines.prepare coco_voc --from photos": (1, "coco_voc needs", "pycocotools", "data"),
}  # fmt: skip


def install(wheel: Path, folder: Path) -> Path:
    """A new environment with the wheel and what it depends on; its Python."""
    pinned = re.findall(r"^[\w.-]+==[\w.+]+", (REPOSITORY / "requirements.txt").read_text(), re.M)
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join(pinned))
    environment, uv = folder / "environment", shutil.which("uv")
    python = environment / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    pip = [uv, "pip", "install", "--python", python] if uv else [python, "-m", "pip", "install"]
    subprocess.run([*pip, "-q", "-c", constraints, wheel], check=True)
    return python


def main(wheel: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="gcn_keras-wheel-") as temporary:
        folder = Path(temporary)
        python = install(wheel, folder)
        work = folder / "work"
        work.mkdir()
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "KERAS"))}

        def run(*arguments: str, status: int = 0) -> subprocess.CompletedProcess:
            print("python", *(a if len(a) < 100 else "PROGRAM" for a in arguments), flush=True)
            done = subprocess.run(
                [python, *arguments], cwd=work, env=environment, capture_output=True, text=True
            )
            if done.returncode != status or "Traceback" in done.stderr:
                sys.exit(f"status {done.returncode}, not {status}:\n{done.stdout}\n{done.stderr}")
            return done

        versions = run("-m", "gcn_keras", "--version").stdout
        if f"gcn_keras {wheel.name.split('-')[1]}, Keras 3." not in versions:
            sys.exit(f"--version prints {versions!r}")
        run("-c", BUILD)
        run("-m", *PREPARE.split())
        noted = run("-m", *FIT.split()).stderr
        if "warm-up requests; they need tensorflow-serving-api, which is not" not in noted:
            sys.exit(f"fit without the extra serving says {noted!r}")
        run("-m", *PREDICT.split())
        run("-m", "gcn_keras.predict", "saved_models/shapes", "photos/train/images")
        written = sorted(path.name for path in (work / "predictions").iterdir())
        if len(written) < 10:
            sys.exit(f"predict wrote {written}")
        for ending in ("mp4", "tflite", "onnx"):
            (work / f"plain.{ending}").touch()
        for command, (status, needs, package, extra) in MISSING.items():
            said = run("-m", *command.split(), status=status).stderr
            verb = "are" if " and " in package else "is"
            wanted = f"error: {needs} {package}, which {verb} not installed: pip install "
            # Before it predict may say which files it passes over.
            if said.splitlines()[-1] != f'{wanted}"gcn_keras[{extra}]"':
                sys.exit(f"{command} says {said!r}, not {wanted!r} …")
    print(f"{wheel.name} works without extras, and {len(MISSING)} commands name the one they need")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
