"""Runs the cells of one context: requests come as lines of JSON, and what happens goes back as such.

In:  {"code": ..., "envs": {...}}
Out: {"type": "ready"}, and for each cell any number of {"type": "stdout" or "stderr", "text"}, at most one
     {"type": "error", "name", "value", "traceback"}, and {"type": "control", "text": "completed" or "interrupted"}.
"""

import io
import json
import os
import signal
import sys
import traceback
import types

MAX_TEXT = 8 * 1024
CELL = "<cell>"


class Output(io.TextIOBase):
    """One of the two outputs: told line by line, and at once where that is asked for."""

    def __init__(self, channel, kind):
        self._channel = channel
        self._kind = kind
        self._waiting = ""

    def writable(self):
        return True

    @property
    def encoding(self):
        return "utf-8"

    def write(self, text):
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self._waiting += text
        if "\n" in text or len(self._waiting) > MAX_TEXT:
            self.flush()
        return len(text)

    def flush(self):
        text, self._waiting = self._waiting, ""
        for begin in range(0, len(text), MAX_TEXT):
            self._channel.tell(type=self._kind, text=text[begin : begin + MAX_TEXT])


class Channel:
    """The way back, on a descriptor of its own, so that what a cell prints cannot be taken for it."""

    def __init__(self, descriptor):
        self._file = os.fdopen(descriptor, "wb", buffering=0)

    def tell(self, **event):
        data = json.dumps(event).encode("utf-8", "replace") + b"\n"
        while data:
            data = data[self._file.write(data) :]


def explain(error):
    """The lines of the cell itself, as the cloud's worker shows them: without files that its user does not know."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == CELL]
    last = f"{type(error).__name__}: {error}\n"
    if not frames:
        return last
    return "".join(
        ["Traceback (most recent call last):\n", *(f'  File "<stdin>", line {frame.lineno}\n' for frame in frames), last]
    )


def run(code, space, channel):
    """Gives the word that ends the cell."""
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        exec(compile(code, CELL, "exec"), space)
    except KeyboardInterrupt:
        return "interrupted"
    except SystemExit:  # a way to end a cell, and no failure
        pass
    except BaseException as error:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        sys.stdout.flush()
        sys.stderr.flush()
        channel.tell(type="error", name=type(error).__name__, value=str(error), traceback=explain(error))
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    return "completed"


def main():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests = os.fdopen(os.dup(0), "rb")
    channel = Channel(os.dup(1))
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in range(3):  # a cell's children write where nobody looks, as in the cloud
        os.dup2(nothing, number)
    sys.stdin = open(os.devnull, encoding="utf-8")
    sys.stdout = Output(channel, "stdout")
    sys.stderr = Output(channel, "stderr")
    sys.argv = [""]
    sys.path.insert(0, "")
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    channel.tell(type="ready")
    for line in requests:
        request = json.loads(line)
        before = dict(os.environ)
        os.environ.update(request.get("envs") or {})
        end = run(request["code"], module.__dict__, channel)
        os.environ.clear()
        os.environ.update(before)
        sys.stdout.flush()
        sys.stderr.flush()
        channel.tell(type="control", text=end)


main()
