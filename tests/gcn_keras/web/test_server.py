"""The demo's server over HTTP, asked by those who mean it well and by those who do not."""

import contextlib
import importlib.util
import json
import re
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from demo_images import Bright, decode, photo, png
from PIL import Image

from gcn_keras.demo import listen
from gcn_keras.web.answers import Answers

httpx = pytest.importorskip("httpx")
# Looked for and not imported: it takes its time, in whatever process collects the tests.
if importlib.util.find_spec("gradio") is None:
    pytest.skip("needs gradio", allow_module_level=True)
uvicorn = pytest.importorskip("uvicorn")

UPLOAD, JOIN = "/gradio_api/upload", "/gradio_api/queue/join"
META = {"_type": "gradio.FileData"}
SECRET = "the-secret-of-the-server"


@contextlib.contextmanager
def serving(folder, **options):
    """The address of the page, with a model by hand."""
    from gcn_keras.web.server import build_page

    page = build_page(Answers(Bright(), [photo()]), "a model", ("", ""), folder, **options)
    with listen("127.0.0.1", 0) as listener:
        server = uvicorn.Server(uvicorn.Config(page, log_level="error", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(30)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("uploads")


@pytest.fixture(scope="module")
def address(folder):
    with serving(folder, hosts=("box.example", "2001:db8::1")) as address:
        yield address


@pytest.fixture
def visitor(address):
    with contextlib.closing(a_visitor(address)) as client:
        yield client


@pytest.fixture
def secret(tmp_path):
    """An image of the server's, which nobody uploaded."""
    Image.fromarray(photo()).save(tmp_path / f"{SECRET}.png")
    return tmp_path / f"{SECRET}.png"


def a_visitor(address):
    """A client that has opened the page, as a browser does."""
    client = httpx.Client(base_url=address, timeout=30)
    assert client.get("/").status_code == 200
    return client


def upload(client, content=None, name="mine.png") -> str:
    answer = client.post(UPLOAD, files={"files": (name, png() if content is None else content)})
    assert answer.status_code == 200, answer.text
    (path,) = answer.json()
    return path


def join(client, data, event=0, session="a1", **more):
    body = {"data": data, "fn_index": event, "session_hash": session, "trigger_id": 4, **more}
    return client.post(JOIN, json=body)


def ask(client, path, session="a1", **more) -> list:
    """What the page is given for an upload."""
    joined = join(client, [{"path": path, "meta": META, **more}], session=session)
    assert joined.status_code == 200, joined.text
    return answered(client, session)


def answered(client, session) -> list:
    with client.stream("GET", f"/gradio_api/queue/data?session_hash={session}") as stream:
        for line in stream.iter_lines():
            message = json.loads(line.removeprefix("data: ") or "{}")
            if message.get("msg") == "process_completed":
                return message["output"].get("data", [])
    raise AssertionError("no answer")


def shown(stage: str) -> np.ndarray:
    return np.asarray(decode(re.search(r'src="([^"]+)"', stage)[1]))


@pytest.mark.slow
def test_a_visitor_gets_one_name_that_nobody_else_reads(address):
    with httpx.Client(base_url=address) as client:
        named = client.get("/").headers["set-cookie"]
        assert re.fullmatch(
            r"gcn_keras_visitor=[\w-]{43}; Path=/; HttpOnly; SameSite=Lax", named, re.ASCII
        )
        assert "set-cookie" not in client.get("/").headers


def test_an_upload_is_answered_and_deleted(visitor, folder):
    stage, legend, field = ask(visitor, upload(visitor))
    assert np.array_equal(shown(stage), photo())
    assert "23.8 %" in legend and field is None
    assert list(folder.iterdir()) == []


def test_an_example_is_answered(visitor):
    assert join(visitor, [], event=1, event_data={"index": 0}).status_code == 200
    assert np.array_equal(shown(answered(visitor, "a1")[0]), photo())


def test_four_visitors_with_one_image_get_four_answers(address, folder):
    visitors = [a_visitor(address) for _ in range(4)]
    paths = [upload(visitor) for visitor in visitors]
    assert len(set(paths)) == 4
    with ThreadPoolExecutor(4) as pool:
        sessions = [f"b{number}" for number in range(4)]
        for stage, legend, _ in pool.map(ask, visitors, paths, sessions):
            assert np.array_equal(shown(stage), photo()) and "23.8 %" in legend
    assert list(folder.iterdir()) == []


def test_one_visitor_with_one_image_four_times_gets_four_answers(visitor):
    paths = [upload(visitor) for _ in range(4)]
    for path in paths:
        assert np.array_equal(shown(ask(visitor, path)[0]), photo())


def test_a_path_of_the_servers_is_refused(visitor, secret):
    own = upload(visitor)
    link = secret.with_name("link.png")
    link.symlink_to(secret)
    for path in (
        str(secret), str(link), secret.as_uri(), f"{own}/../../{secret}", f"{own}\0", f"/{own}",
        str(secret.with_name("none.png")), "/dev/zero", "/proc/self/environ", "", ".",
        "http://127.0.0.1:9/a.png", "https://127.0.0.1:9/a.png", "data:image/png;base64,",
        f"/gradio_api/file={secret}", None, 0, {"path": str(secret)}, [own],
    ):  # fmt: skip
        for more in ({"meta": META}, {"meta": META, "is_stream": True}, {}):
            answer = join(visitor, [{"path": path, **more}])
            assert answer.status_code in (400, 403), (path, answer.text)
            assert SECRET not in answer.text
    assert np.array_equal(shown(ask(visitor, own)[0]), photo())  # and is still there


def test_what_else_a_file_says_is_not_believed(visitor, secret):
    """Neither its address nor its name, nor a file inside it, is looked at."""
    file = {"path": str(secret), "url": secret.as_uri(), "meta": META}
    for more in (
        {"url": f"http://127.0.0.1:9/{SECRET}", "orig_name": str(secret)},
        {"is_stream": True, "orig_name": "<b>x"},
        {"meta": file, "other": [file]},
        {"url": file, "orig_name": file, "mime_type": file},
    ):
        stage, _, _ = ask(visitor, upload(visitor), **more)
        assert np.array_equal(shown(stage), photo()) and SECRET not in stage


def test_no_event_takes_a_file_but_the_uploads(visitor, secret):
    file = {"path": str(secret), "meta": META}
    own = {"path": upload(visitor), "meta": META}
    for event, data in (
        (1, [file]), (1, [own]), (0, []), (0, [file]), (0, [own, own]), (0, [own, file]),
        (0, file), (0, [[own]]), (0, [str(secret)]), (2, []), (2, [50]), (99, []), (-1, [own]),
        ("0", [own]), (None, [own]), ([0], [own]), (0, None),
    ):  # fmt: skip
        assert join(visitor, data, event=event).status_code in (400, 403), (event, data)
    # What is said of the event is an example's number, or nothing.
    for said in ({"index": file}, {"index": -1}, {"path": str(secret)}, [file], "index", None, 3):
        assert join(visitor, [], event=1, event_data=said).status_code == 200
        stage, legend = answered(visitor, "a1")
        assert "There is no example" in stage and legend == ""


def test_an_upload_is_the_visitors_own(address, visitor):
    path = upload(visitor)
    with contextlib.closing(a_visitor(address)) as other:
        assert join(other, [{"path": path, "meta": META}]).status_code == 403
    without_a_name = httpx.post(
        address + JOIN,
        json={"data": [{"path": path, "meta": META}], "fn_index": 0, "session_hash": "c"},
    )
    assert without_a_name.status_code == 403
    assert np.array_equal(shown(ask(visitor, path)[0]), photo())
    assert join(visitor, [{"path": path, "meta": META}]).status_code == 403  # once


@pytest.mark.parametrize(
    "target",
    [
        "/gradio_api/file={secret}", "/gradio_api/file={own}", "/file={secret}",
        "/gradio_api/file/{secret}", "/gradio_api/file=http://127.0.0.1:9/a",
        "/gradio_api/proxy=http://127.0.0.1:9/a", "/proxy=http://127.0.0.1:9/a",
        "/assets/..%2f..%2f..%2f..%2f..%2f..%2f..%2f..%2f{secret}", "/assets/{secret}",
        "/static/%2e%2e/%2e%2e/{secret}", "/static//{secret}", "/svelte/{secret}",
        "//gradio_api/file={secret}",
        "/gradio_api/custom_component/file/client/component/index.js",
        "/gradio_api/stream/a/b/1/playlist.m3u8", "/gradio_api/upload_progress?upload_id=a",
        "/gradio_api/call/take/1", "/gradio_api/deep_link", "/gradio_api/runs", "/monitoring",
        "/gradio_api/app_id", "/gradio_api/token", "/docs", "/openapi.json", "/pwa_icon",
        "/gradio_api/dev/reload", "/gradio_api/vibe-code", "/gradio_api/queue/status",
    ],
)  # fmt: skip
def test_nothing_else_is_read(visitor, secret, target):
    own = upload(visitor)
    answer = visitor.get(target.format(secret=secret, own=own))
    assert answer.status_code == 404
    assert answer.content.find(b"PNG") < 0 and SECRET not in answer.text


@pytest.mark.parametrize(
    "target",
    [
        "/gradio_api/run/take", "/gradio_api/api/take", "/gradio_api/call/take", "/run/predict",
        "/gradio_api/call/v2/take", "/gradio_api/component_server", "/gradio_api/reset",
        "/gradio_api/process_recording", "/gradio_api/stream/1", "/gradio_api/cancel", "/login",
        "/gradio_api/run-history/connect", "/gradio_api/vibe-edit", "/gradio_api/queue/join/", "/",
        "/gradio_api/upload/",
    ],
)  # fmt: skip
def test_nothing_else_is_asked(visitor, secret, target):
    body = {"data": [{"path": str(secret), "meta": META}], "fn_index": 0, "session_hash": "d"}
    answer = visitor.post(target, json=body)
    assert answer.status_code == 404 and SECRET not in answer.text
    for method in ("PUT", "DELETE", "OPTIONS", "PATCH"):
        assert visitor.request(method, target).status_code == 404


@pytest.mark.slow
def test_only_its_own_names_are_answered(address):
    port = address.rpartition(":")[2]
    own = [
        "127.0.0.1", f"127.0.0.1:{port}", f"localhost:{port}", "LOCALHOST", "box.example:80",
        "[2001:db8::1]", f"[2001:DB8::1]:{port}",
    ]  # fmt: skip
    foreign = [
        "evil.example", f"evil.example:{port}", f"127.0.0.1.evil.example:{port}", "", "[::1]", "[",
        f"evil.example@127.0.0.1:{port}", f"127.0.0.1@evil.example:{port}", "a.box.example",
        f"127.0.0.1:{port}, evil.example", "localhost.", "127.0.0.1:x", "0.0.0.0",
    ]  # fmt: skip
    for names, status in ((own, 200), (foreign, 403)):
        for name in names:
            for target in ("/", "/config"):
                answer = httpx.get(address + target, headers={"Host": name})
                assert answer.status_code == status, name
    refusal = httpx.get(address, headers={"Host": "evil.example"})
    assert refusal.text == "this page is not served under the name 'evil.example'\n"


def test_pages_elsewhere_ask_nothing(address, visitor):
    for origin, status in ((address, 200), ("http://evil.example", 403), ("null", 403)):
        answer = visitor.post(UPLOAD, files={"files": png()}, headers={"Origin": origin})
        assert answer.status_code == status, origin
    assert httpx.post(address + UPLOAD, files={"files": png()}, headers={"Host": "x"}).is_error


def test_what_is_too_large_is_refused_before_it_is_read(visitor, folder):
    before = set(folder.iterdir())
    answer = visitor.post(UPLOAD, files={"files": bytes(21 * 2**20)})
    assert answer.status_code == 413
    assert visitor.post(UPLOAD, content=iter([b"of unknown length"])).status_code == 413
    assert join(visitor, [], event=1, event_data={"index": "1" * 2**15}).status_code == 413
    assert set(folder.iterdir()) == before


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "TIFF"])
def test_an_image_of_too_many_pixels_is_not_decoded(visitor, kind, tmp_path, monkeypatch):
    def decode(*_):
        raise AssertionError("decoded")

    Image.new("1", (10_000, 5_001)).save(tmp_path / "large", kind)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decode)
    path = upload(visitor, (tmp_path / "large").read_bytes(), "large.png")
    stage, legend, _ = ask(visitor, path)
    assert "large.png has 10000 × 5001 pixels, and at most 50,000,000 are taken" in stage
    assert legend == ""


def test_an_image_that_hides_its_size_is_not_decoded(visitor, tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "a.ico")
    stage, _, _ = ask(visitor, upload(visitor, (tmp_path / "a.ico").read_bytes(), "a.ico"))
    assert "a.ico is not an image in a format that can be read" in stage


@pytest.mark.parametrize(
    "content",
    [b"", b"[", b"[]", b"{}", b"null", b"\xff", b"[" * 10_000, b'{"fn_index": 0, "data": [{}]}'],
)
def test_a_question_that_is_none_gets_400(visitor, content):
    assert visitor.post(JOIN, content=content).status_code == 400


def test_an_upload_that_is_none_gets_400(visitor):
    for body in ({"data": {"files": "a"}}, {"files": {"other": png()}}, {"content": b"a"}):
        assert visitor.post(UPLOAD, **body).status_code == 400
    two = [("files", ("a.png", png())), ("files", ("b.png", png()))]
    assert visitor.post(UPLOAD, files=two).status_code == 400


@pytest.mark.parametrize(
    "name, shown",
    [
        ("x" * 300 + ".png", "x" * 76 + ".png"),
        ("../../etc/x.png", "x.png"),
        ("/etc/passwd", "passwd"),
        ("-", "-"),
        ("é\n", "é%0A"),
    ],
)
def test_names_lead_nowhere(visitor, folder, name, shown):
    path = upload(visitor, b"no image", name)
    assert path.startswith(f"{folder}/") and path.count("/") == str(folder).count("/") + 1
    assert f">{shown} is not an image in a format that can be read<" in ask(visitor, path)[0]


def test_the_oldest_of_too_many_uploads_goes_first(visitor, folder):
    from gcn_keras.web.guard import MAX_WAITING

    paths = [upload(visitor) for _ in range(MAX_WAITING + 1)]
    assert join(visitor, [{"path": paths[0], "meta": META}]).status_code == 403
    assert sorted(map(str, folder.iterdir())) == sorted(paths[1:])
    assert np.array_equal(shown(ask(visitor, paths[1])[0]), photo())


def test_hostile_requests_leave_no_traceback(visitor, capfd):
    for content in (b"{}", b'{"fn_index": {}, "data": []}'):
        visitor.post(JOIN, content=content)
    join(visitor, [], event=1, event_data=3, trigger=[], session=None)
    join(visitor, [], event=1, trigger_id=10**9)
    visitor.get("/assets/none.js")
    for target in ("/?page=none", "/?page=..&deep_link=../..", "/config?page=none&deep_link=0"):
        assert visitor.get(target).status_code == 200
    assert "Traceback" not in "".join(capfd.readouterr())


def test_sigterm_in_a_finalizer_ends_the_demo_too():
    """While the demo starts, garbage is collected all the time: JAX has a callback for it."""
    program = (
        "import gc, signal\n"
        "from gcn_keras.web.server import upload_folder\n"
        "with upload_folder() as folder:\n"
        "    print(folder, flush=True)\n"
        "    gc.callbacks.append(lambda *_: signal.raise_signal(signal.SIGTERM))\n"
        "    gc.collect()\n"
        "    print('goes on')\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert not Path(ended.stdout.removesuffix("\n")).exists() and "goes on" not in ended.stdout


@pytest.mark.slow
def test_ctrl_c_twice_ends_the_page_in_order():
    program = (
        "import contextlib, fastapi, signal, socket, threading, urllib.request\n"
        "from gcn_keras.web import server\n"
        "app = fastapi.FastAPI()\n"
        "@app.get('/')\n"
        "async def twice():\n"
        "    for _ in range(2):\n"
        "        signal.raise_signal(signal.SIGINT)\n"
        "with socket.create_server(('127.0.0.1', 0)) as listener:\n"
        "    address = 'http://127.0.0.1:%d/' % listener.getsockname()[1]\n"
        "    threading.Thread(target=urllib.request.urlopen, args=[address]).start()\n"
        "    with contextlib.suppress(KeyboardInterrupt):\n"
        "        server.serve(app, listener, 'ready')\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=100
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "ready\n", "")


@pytest.mark.slow
@pytest.mark.parametrize("number, status", [("SIGINT", -signal.SIGINT), ("SIGTERM", 0)])
def test_a_signal_just_before_the_page_is_served_ends_it(number, status):
    program = (
        "import fastapi, gc, signal, socket\n"
        "from gcn_keras.web import server\n"
        "def interrupt(*_, **options):\n"
        "    gc.callbacks.append(lambda *_: gc.callbacks.clear() or signal.raise_signal("
        f"signal.{number}))\n"
        "    gc.collect()\n"
        "server.print = interrupt\n"
        "with socket.create_server(('127.0.0.1', 0)) as listener:\n"
        "    server.serve(fastapi.FastAPI(), listener, 'ready')\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=100
    )
    assert ended.returncode == status, ended.stderr
