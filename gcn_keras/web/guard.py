"""What stands before Gradio's server, which answers more than the page asks."""

import json
import re
import secrets
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from starlette.datastructures import MutableHeaders, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_UPLOAD = 20 * 2**20  # bytes
MAX_QUESTION = 16 * 2**10
MAX_WAITING = 32
COOKIE = "gcn_keras_visitor"
UPLOAD, QUESTION, ANSWERS = (
    "/gradio_api/upload", "/gradio_api/queue/join", "/gradio_api/queue/data",
)  # fmt: skip
# All that the page, or a client of Gradio's, reads: neither files nor other hosts.
READ = re.compile(
    r"/|/config|/theme\.css|/favicon\.ico|/robots\.txt|/(assets|static)(/[\w-][\w.-]*)+"
    r"|/gradio_api/(info|theme\.css|startup-events|queue/data|heartbeat/\w+)",
    re.ASCII,
)
_SESSION = re.compile(r"[\w-]{1,64}", re.ASCII)
_ADDRESS = re.compile(r"(?:https?://)?(\[[0-9a-f:.]+\]|[\w.-]+)(?::[0-9]+)?", re.ASCII | re.I)


class Upload(NamedTuple):
    """A file as a visitor sent it: where it lies, what it was called, whose it is."""

    path: Path
    name: str
    visitor: str | None


class Uploads:
    """Files that nobody has read yet: at most `MAX_WAITING`, of which the oldest goes first.

    Each lies under a name of its own that cannot be guessed, also where two are equal.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._waiting: dict[str, Upload] = {}

    def add(self, content: bytes, name: str, visitor: str | None) -> str:
        """Keeps a file until it is taken; gives its path."""
        for oldest in list(self._waiting)[: 1 - MAX_WAITING]:
            if gone := self.take(oldest):
                gone.path.unlink(missing_ok=True)
        path = self.folder / secrets.token_urlsafe()
        path.write_bytes(content)
        self._waiting[str(path)] = Upload(path, Path(name).name[-80:], visitor)
        return str(path)

    def belongs(self, path: str, visitor: str | None) -> bool:
        """Whether this visitor sent it, and nobody took it."""
        upload = self._waiting.get(path)
        return upload is not None and upload.visitor == visitor

    def take(self, path: str) -> Upload | None:
        """The file, once; whoever takes it deletes it."""
        return self._waiting.pop(path, None)


class Guard:
    """ASGI middleware that passes on what the page asks, and refuses the rest.

    A question is written anew of what is known in it, so that of files it names the visitor's own
    upload or none, whatever else was sent.

    Args:
        app: Gradio's application.
        uploads: where uploads are kept.
        files: how many files each event takes, by its number.
        hosts: names under which the page is asked for, beside the address that it listens on.
    """

    def __init__(
        self, app: "ASGIApp", uploads: Uploads, files: Mapping[int, int], hosts: Collection[str]
    ):
        self.app, self.uploads, self.files = app, uploads, files
        self.hosts = {"localhost", *(host.strip("[]").lower() for host in hosts)}

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        request = Request(scope, receive)
        try:
            self._check_names(request)
            method, path = request.method, scope["path"]
            if method == "POST" and path == UPLOAD:
                return await (await self._keep(request))(scope, receive, send)
            if method == "POST" and path == QUESTION:
                receive = _replaying(await self._question(request), receive)
            elif method in ("GET", "HEAD") and READ.fullmatch(path):
                send = _with_visitor(request, send)
            else:
                raise HTTPException(404, "this page has nothing there")
        except HTTPException as refusal:
            response = PlainTextResponse(f"{refusal.detail}\n", refusal.status_code)
            return await response(scope, receive, send)
        if path != ANSWERS:  # all else that Gradio reads of a query is not this page's
            scope = {**scope, "query_string": b""}
        await self.app(scope, receive, send)

    def _check_names(self, request: Request) -> None:
        """Refuses other names: a page elsewhere, whose name leads here, would read the answers."""
        here = {*self.hosts, request.scope["server"][0]}
        for header in ("host", "origin"):
            name = request.headers.get(header)
            if name is None and header == "origin":
                continue
            match = _ADDRESS.fullmatch(name or "")
            if match is None or match[1].strip("[]").lower() not in here:
                raise HTTPException(403, f"this page is not served under the name {name!r}")

    async def _keep(self, request: Request) -> Response:
        _check_length(request, MAX_UPLOAD + 4096)
        try:
            async with request.form(max_files=1, max_fields=0) as form:
                file = form.get("files")
                if not isinstance(file, UploadFile):
                    raise HTTPException(400, "one file is expected, as the form's field files")
                content = await file.read()
        except MultiPartException as error:
            raise HTTPException(400, error.message) from error
        visitor = request.cookies.get(COOKIE)
        return JSONResponse([self.uploads.add(content, file.filename or "upload", visitor)])

    async def _question(self, request: Request) -> bytes:
        _check_length(request, MAX_QUESTION)
        try:
            asked = json.loads(await request.body())
            event, session = asked["fn_index"], asked["session_hash"]
            paths = [file["path"] for file in asked["data"]]
            is_known = len(paths) == self.files[event] and _SESSION.fullmatch(session)
            visitor = request.cookies.get(COOKIE)
            is_own = all(self.uploads.belongs(path, visitor) for path in paths)
            said = asked.get("event_data")
        except (ValueError, KeyError, TypeError, RecursionError):
            is_known = False
        if not is_known:
            raise HTTPException(400, "this is no question that the page asks")
        if not is_own:
            raise HTTPException(403, "only an image that was uploaded on this page is read, once")
        question = {
            "fn_index": int(event),
            "session_hash": session,
            "trigger_id": _number(asked.get("trigger_id")),
            "event_data": {"index": _number(said.get("index")) if isinstance(said, dict) else None},
            "data": [{"path": path, "meta": {"_type": "gradio.FileData"}} for path in paths],
        }
        return json.dumps(question).encode()


def _number(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _check_length(request: Request, limit: int) -> None:
    """Refuses a body above a limit before it is read, or of unknown length."""
    length = request.headers.get("content-length", "")
    if "transfer-encoding" in request.headers or not length.isdecimal() or int(length) > limit:
        raise HTTPException(413, f"at most {limit} bytes are taken, and their number in advance")


def _replaying(body: bytes, receive: "Receive") -> "Receive":
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> "Message":
        return messages.pop() if messages else await receive()

    return replay


def _with_visitor(request: Request, send: "Send") -> "Send":
    """Gives a new visitor a name in a cookie, which no script and no other site reads."""
    if COOKIE in request.cookies:
        return send

    async def named(message: "Message") -> None:
        if message["type"] == "http.response.start":
            cookie = f"{COOKIE}={secrets.token_urlsafe()}; Path=/; HttpOnly; SameSite=Lax"
            MutableHeaders(scope=message).append("set-cookie", cookie)
        await send(message)

    return named
