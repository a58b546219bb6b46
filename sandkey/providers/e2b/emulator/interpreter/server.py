"""The code interpreter of E2B's template code-interpreter-v1: contexts that run cells, behind HTTP.

Runs inside a sandbox on the Python that is there, with nothing but its standard library; cells run in
IPython's shell where that can be imported, else in plain Python. The source comes in through a descriptor, so
that no file of ours lies in the sandbox: `python3 -c BOOT serve 0` reads it from stdin, listens, and goes on
in the background; each kernel gets it through a pipe.
"""

import ast
import base64
import io
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import types
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = 49999
HOME = os.environ.get("HOME", "/")
KEEPALIVE_SECONDS = 5.0
DYING_SECONDS = 5.0  # of a cell that was interrupted
MAX_BODY = 64 * 1024 * 1024
MAX_LINE = 64 * 1024 * 1024
BOOT = (
    "import os,sys;SOURCE=os.fdopen(int(sys.argv[2]),encoding='utf-8',closefd=False).read();"
    "exec(compile(SOURCE,'<interpreter>','exec'))"
)

LANGUAGES = {"js": "javascript", "ts": "typescript"}
MIME_FIELDS = {
    "text/plain": "text",
    "text/html": "html",
    "text/markdown": "markdown",
    "image/svg+xml": "svg",
    "image/png": "png",
    "image/jpeg": "jpeg",
    "application/pdf": "pdf",
    "text/latex": "latex",
    "application/json": "json",
    "application/javascript": "javascript",
}


# The kernel: a process that runs the cells of one context, one after the other.


class Events:
    """Lines of JSON to the server. Output gathers for a moment: a line printed in parts is one event."""

    FLUSH_SECONDS = 0.1

    def __init__(self, channel):
        self._channel = channel
        self._lock = threading.RLock()
        self._name = None
        self._pending = []
        threading.Thread(target=self._flush_for_ever, daemon=True).start()

    def emit(self, **event):
        with self._lock:
            self._flush()
            self._send(event)

    def output(self, name, text):
        with self._lock:
            if self._name != name:
                self._flush()
                self._name = name
            self._pending.append(text)

    def flush(self):
        with self._lock:
            self._flush()

    def _flush(self):
        text = "".join(self._pending)
        self._pending.clear()
        if text:
            now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            self._send({"type": self._name, "text": text, "timestamp": now})

    def _send(self, event):
        line = json.dumps(event, default=repr).encode("utf-8", "replace") + b"\n"
        self._channel.sendall(line)

    def _flush_for_ever(self):
        while True:
            time.sleep(self.FLUSH_SECONDS)
            self.flush()


class Output(io.TextIOBase):
    """sys.stdout or sys.stderr of the cells."""

    encoding = "utf-8"

    def __init__(self, events, name, number):
        self._events = events
        self._name = name
        self._number = number

    def writable(self):
        return True

    def fileno(self):
        return self._number

    def write(self, text):
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self._events.output(self._name, text)
        return len(text)

    def flush(self):
        pass


class Descriptor:
    """What other programs write to descriptor 1 or 2 becomes output of the cell as well."""

    def __init__(self, events, name, number):
        self._events = events
        self._name = name
        self._seen = threading.Condition()
        self._marks = 0
        read, write = os.pipe()
        os.dup2(write, number)
        os.close(write)
        self._number = number
        self._mark = b"\0" + uuid.uuid4().bytes + b"\0"
        threading.Thread(target=self._read, args=(read,), daemon=True).start()

    def drain(self):
        """Returns when all that was written before has become events."""
        with self._seen:
            wanted = self._marks + 1
            os.write(self._number, self._mark)
            self._seen.wait_for(lambda: self._marks >= wanted, timeout=2)

    def _read(self, number):
        import codecs

        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        pending = b""
        while True:
            data = os.read(number, 65536)
            if not data:
                return
            *whole, pending = (pending + data).split(self._mark)
            for part in whole:
                self._tell(decoder.decode(part, True))
                with self._seen:
                    self._marks += 1
                    self._seen.notify_all()
            # The end may be the beginning of a mark.
            zero = pending.rfind(b"\0", -len(self._mark))
            held = len(pending) - zero if zero >= 0 and self._mark.startswith(pending[zero:]) else 0
            self._tell(decoder.decode(pending[: len(pending) - held]))
            pending = pending[len(pending) - held :]

    def _tell(self, text):
        if text:
            self._events.output(self._name, text)


def fields_of(bundle):
    """A MIME bundle as the fields of a result."""
    fields = {}
    extra = {}
    for mime, value in bundle.items():
        if isinstance(value, bytes):
            value = base64.b64encode(value).decode("ascii")
        name = MIME_FIELDS.get(mime)
        if name is None:
            extra[mime] = value
        elif name in ("png", "jpeg", "pdf"):
            fields[name] = value.strip()
        else:
            fields[name] = value
    text = fields.get("text")
    if isinstance(text, str) and len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        fields["text"] = text[1:-1]
    if extra:
        fields["extra"] = extra
    return fields


def emit_figures(events):
    """What matplotlib was asked to draw and nobody showed."""
    plots = sys.modules.get("matplotlib.pyplot")
    if plots is None:
        return
    for number in plots.get_fignums():
        picture = io.BytesIO()
        figure = plots.figure(number)
        figure.savefig(picture, format="png", bbox_inches="tight")
        bundle = {"text/plain": repr(figure), "image/png": picture.getvalue()}
        events.emit(type="result", is_main_result=False, **fields_of(bundle))
    plots.close("all")


class PlainShell:
    """Cells in plain Python."""

    def __init__(self, events):
        self._events = events
        self.execution_count = 1
        self._module = types.ModuleType("__main__")
        self._module.__builtins__ = __builtins__
        sys.modules["__main__"] = self._module

    def run(self, code):
        name = f"<cell {self.execution_count}>"
        self.execution_count += 1
        try:
            tree = ast.parse(code, name)
            last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
            exec(compile(tree, name, "exec"), self._module.__dict__)
            if last is not None:
                value = eval(compile(ast.Expression(last.value), name, "eval"), self._module.__dict__)
                if value is not None:
                    self._module._ = value
                    self._events.emit(type="result", is_main_result=True, **fields_of(self._bundle(value)))
        except BaseException as error:
            frames = error.__traceback__.tb_next if error.__traceback__ else None
            lines = "".join(traceback.format_exception(type(error), error, frames))
            self._events.emit(type="error", name=type(error).__name__, value=str(error), traceback=lines)

    @staticmethod
    def _bundle(value):
        bundle = {"text/plain": repr(value)}
        for mime, method in (
            ("text/html", "_repr_html_"),
            ("text/markdown", "_repr_markdown_"),
            ("image/svg+xml", "_repr_svg_"),
            ("image/png", "_repr_png_"),
            ("image/jpeg", "_repr_jpeg_"),
            ("application/pdf", "_repr_pdf_"),
            ("text/latex", "_repr_latex_"),
            ("application/json", "_repr_json_"),
            ("application/javascript", "_repr_javascript_"),
        ):
            represent = getattr(type(value), method, None)
            if represent is None:
                continue
            shown = represent(value)
            if isinstance(shown, tuple):
                shown = shown[0]
            if shown is not None:
                bundle[mime] = shown
        return bundle


def make_ipython_shell(events):
    """Cells in IPython's shell; raises ImportError where there is none."""
    from IPython.core.displayhook import DisplayHook
    from IPython.core.displaypub import DisplayPublisher
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets import Type

    class Hook(DisplayHook):
        def __call__(self, result=None):
            self.check_for_underscore()
            if result is None or self.quiet():
                return
            bundle, _ = self.compute_format_data(result)
            self.update_user_ns(result)
            self.fill_exec_result(result)
            if bundle:
                events.emit(type="result", is_main_result=True, **fields_of(bundle))

    class Publisher(DisplayPublisher):
        def publish(self, data, metadata=None, **_):
            events.emit(type="result", is_main_result=False, **fields_of(data))

        def clear_output(self, wait=False):
            pass

    class Shell(InteractiveShell):
        displayhook_class = Type(Hook)
        display_pub_class = Type(Publisher)

        def _showtraceback(self, etype, evalue, stb):
            events.emit(type="error", name=etype.__name__, value=str(evalue), traceback="\n".join(stb))

        def run(self, code):
            self.run_cell(code, store_history=True)

    module = types.ModuleType("__main__")
    shell = Shell.instance(user_module=module, colors="NoColor", history_length=0)
    shell.history_manager.enabled = False
    sys.modules["__main__"] = module
    return shell


def run_cell(shell, events, descriptors, request):
    environment = dict(os.environ)
    os.environ.update(request.get("env_vars") or {})
    events.emit(type="number_of_executions", execution_count=shell.execution_count)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        shell.run(request["code"])
        emit_figures(events)
    except BaseException as error:  # an interruption that hit our own code, or a picture that cannot be drawn
        lines = traceback.format_exc()
        events.emit(type="error", name=type(error).__name__, value=str(error), traceback=lines)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.environ.clear()
        os.environ.update(environment)
    for descriptor in descriptors:
        descriptor.drain()
    events.emit(type="end")


def kernel_main(number):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel = socket.socket(fileno=number)
    os.set_inheritable(number, False)
    os.environ.setdefault("MPLBACKEND", "agg")
    events = Events(channel)
    descriptors = [Descriptor(events, "stdout", 1), Descriptor(events, "stderr", 2)]
    sys.stdout = Output(events, "stdout", 1)
    sys.stderr = Output(events, "stderr", 2)
    sys.argv = [""]
    try:
        shell = make_ipython_shell(events)
    except ImportError:
        shell = PlainShell(events)
    sys.path.insert(0, "")  # for the cells; until now a file of theirs could have taken our modules' place
    events.emit(type="ready")
    for line in channel.makefile("rb"):
        run_cell(shell, events, descriptors, json.loads(line))
    os._exit(0)


# The server


class ClientGone(Exception):
    pass


class KernelGone(Exception):
    pass


class Failure(Exception):
    def __init__(self, status, text):
        super().__init__(text)
        self.status = status


class Context:
    """One kernel and its place in the world."""

    def __init__(self, language, cwd):
        self.id = str(uuid.uuid4())
        self.language = language
        self.cwd = cwd
        self.lock = threading.Lock()  # one cell at a time
        self.restarting = False
        self._process = None
        self._channel = None
        self._pending = b""
        self.start()

    def describe(self):
        return {"id": self.id, "language": self.language, "cwd": self.cwd}

    def start(self):
        ours, theirs = socket.socketpair()
        read, write = os.pipe()
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-c", BOOT, "kernel", str(read), str(theirs.fileno())],
                    cwd=self.cwd,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=(read, theirs.fileno()),
                    start_new_session=True,
                )
            except OSError as error:
                os.close(write)
                ours.close()
                raise Failure(500, f"Failed to create kernel: {error}") from error
            finally:
                os.close(read)
        with os.fdopen(write, "w", encoding="utf-8") as source:
            source.write(SOURCE)
        self._channel = ours
        self._pending = b""
        try:
            ready = self._next_event(30) == {"type": "ready"}
        except KernelGone:
            ready = False
        if not ready:
            self.stop()
            raise Failure(500, "Failed to create kernel: it does not start")

    def stop(self):
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait()
        self._channel.close()

    def send(self, request):
        try:
            self._channel.sendall(json.dumps(request).encode() + b"\n")
        except OSError as error:
            raise KernelGone from error

    def interrupt(self):
        """Gives the cell a moment to end, and its kernel up if it does not."""
        try:
            self._process.send_signal(signal.SIGINT)
            until = time.monotonic() + DYING_SECONDS
            while time.monotonic() < until:
                event = self._next_event(until - time.monotonic())
                if event is not None and event["type"] == "end":
                    return
        except KernelGone:
            pass
        self.revive()

    def revive(self):
        """A new kernel in place of one that is no use any more, unless somebody else is at it."""
        if self.restarting:
            return
        self.stop()
        try:
            self.start()
        except Failure:
            pass  # the next cell finds no kernel, and says so

    def wait(self, seconds, client):
        """'event', 'gone' when the client is, or None when nothing came for so long."""
        if b"\n" in self._pending:
            return "event"
        ready = self._select([self._channel, client], seconds)
        if client in ready and self._channel not in ready:
            try:
                if client.recv(1, socket.MSG_PEEK) == b"":
                    return "gone"
            except OSError:
                return "gone"
            ready = self._select([self._channel], min(seconds, 0.05))  # it sends before it has our answer
        return "event" if self._channel in ready else None

    @staticmethod
    def _select(sockets, seconds):
        try:
            return select.select(sockets, [], [], seconds)[0]
        except (OSError, ValueError) as error:  # closed by a restart
            raise KernelGone from error

    def read_event(self):
        return self._next_event(None)

    def _next_event(self, seconds):
        """None if it does not come in time; KernelGone when nothing ever will."""
        while b"\n" not in self._pending:
            if not self._select([self._channel], seconds):
                return None
            try:
                data = self._channel.recv(1 << 16)
            except OSError as error:
                raise KernelGone from error
            if not data or len(self._pending) > MAX_LINE:
                raise KernelGone
            self._pending += data
        line, self._pending = self._pending.split(b"\n", 1)
        return json.loads(line)


class Contexts:
    def __init__(self):
        self._lock = threading.RLock()
        self._all = {}
        self._defaults = {}  # by language

    def make(self, language, cwd):
        language = LANGUAGES.get(language, language)
        if language != "python":
            raise Failure(500, f"Failed to create kernel: there is none for the language '{language}'")
        context = Context(language, cwd)
        with self._lock:
            self._all[context.id] = context
        return context

    def default(self, language):
        language = LANGUAGES.get(language, language)
        with self._lock:
            if language not in self._defaults:
                self._defaults[language] = self.make(language, HOME)
            return self._defaults[language]

    def find(self, name):
        with self._lock:
            if name in ("default", "python"):
                return self.default("python")
            if name not in self._all:
                raise Failure(404, f"Context {name} not found")
            return self._all[name]

    def remove(self, name):
        context = self.find(name)
        with self._lock:
            self._all.pop(context.id, None)
            self._defaults = {key: each for key, each in self._defaults.items() if each is not context}
        context.stop()

    def list(self):
        with self._lock:
            return [context.describe() for context in self._all.values()]


CONTEXTS = Contexts()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.route("GET")

    def do_POST(self):
        self.route("POST")

    def do_DELETE(self):
        self.route("DELETE")

    def route(self, method):
        path = self.path.split("?", 1)[0]
        parts = path.strip("/").split("/")
        try:
            body = self.read_body()
            if method == "GET" and path == "/health":
                self.reply(200, json.dumps("OK"))
            elif method == "POST" and path == "/execute":
                self.execute(self.parse(body))
            elif method == "GET" and path == "/contexts":
                self.reply(200, json.dumps(CONTEXTS.list()))
            elif method == "POST" and path == "/contexts":
                request = self.parse(body)
                language = self.text(request, "language") or "python"
                context = CONTEXTS.make(language, self.text(request, "cwd") or HOME)
                self.reply(200, json.dumps(context.describe()))
            elif method == "POST" and len(parts) == 3 and parts[0] == "contexts" and parts[2] == "restart":
                self.restart(CONTEXTS.find(parts[1]))
            elif method == "DELETE" and len(parts) == 2 and parts[0] == "contexts":
                CONTEXTS.remove(parts[1])
                self.reply(200, "null")
            else:
                self.reply(404, json.dumps({"detail": "Not Found"}))
        except Failure as failure:
            self.reply(failure.status, str(failure), "text/plain; charset=utf-8")
        except (ClientGone, OSError):
            self.close_connection = True

    def read_body(self):
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            body = b""
            while True:
                size = int(self.rfile.readline(1024).split(b";")[0] or b"0", 16)
                if len(body) + size > MAX_BODY:
                    raise Failure(413, "The request body is too large")
                body += self.rfile.read(size)
                self.rfile.readline(1024)
                if size == 0:
                    return body
        size = int(self.headers.get("Content-Length") or 0)
        if size > MAX_BODY:
            self.close_connection = True
            raise Failure(413, "The request body is too large")
        return self.rfile.read(size)

    @staticmethod
    def parse(body):
        try:
            value = json.loads(body or b"{}")
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise Failure(422, json.dumps({"detail": [{"type": "json_invalid", "msg": "JSON decode error"}]}))
        return value

    @staticmethod
    def text(request, name):
        value = request.get(name)
        if value is not None and not isinstance(value, str):
            raise Failure(422, json.dumps({"detail": [{"type": "string_type", "loc": ["body", name]}]}))
        return value

    def reply(self, status, text, content_type="application/json"):
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def restart(self, context):
        context.restarting = True
        try:
            context.stop()  # which ends a cell that runs
            with context.lock:
                context.start()
        finally:
            context.restarting = False
        self.reply(200, "null")

    def execute(self, request):
        code = self.text(request, "code")
        if code is None:
            raise Failure(422, json.dumps({"detail": [{"type": "missing", "loc": ["body", "code"]}]}))
        name, language = self.text(request, "context_id"), self.text(request, "language")
        if name and language:
            raise Failure(400, "Only one of context_id or language can be provided")
        context = CONTEXTS.find(name) if name else CONTEXTS.default(language or "python")
        with context.lock:
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            try:
                self.run(context, {"code": code, "env_vars": request.get("env_vars")})
            except ClientGone:
                context.interrupt()
                raise

    def run(self, context, request):
        try:
            context.send(request)
            while True:
                came = context.wait(KEEPALIVE_SECONDS, self.connection)
                if came == "gone":
                    raise ClientGone
                event = context.read_event() if came else {"type": "keepalive"}
                if event["type"] == "end":
                    break
                self.tell(event)
        except KernelGone:
            name = "ContextRestarting" if context.restarting else "UnexpectedEndOfExecution"
            value = "The kernel ended before the cell did"
            context.revive()
            self.tell({"type": "error", "name": name, "value": value, "traceback": ""})
        self.tell({"type": "end_of_execution"})
        self.write(b"0\r\n\r\n")

    def write(self, data):
        try:
            self.wfile.write(data)
        except OSError as error:
            raise ClientGone from error

    def tell(self, event):
        line = json.dumps(event).encode() + b"\n"
        self.write(b"%x\r\n%s\r\n" % (len(line), line))


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def go_to_background():
    """Whoever started us learns by our end that we listen."""
    if os.fork() != 0:
        os._exit(0)
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(nothing, number)
    os.close(nothing)


def serve_main():
    server = Server(("127.0.0.1", PORT), Handler)
    go_to_background()
    threading.Thread(target=CONTEXTS.default, args=("python",), daemon=True).start()  # most will want it
    server.serve_forever()


if __name__ == "__main__":
    if sys.argv[1] == "kernel":
        kernel_main(int(sys.argv[3]))
    else:
        serve_main()
