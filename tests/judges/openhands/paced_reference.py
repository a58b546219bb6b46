"""OpenHands' action execution server, unchanged but for two pauses that keep its answers the same from run to run.

Left alone it answers some actions by chance, the more often the busier the machine: it reads the screen right after it
typed, and takes the old prompt for the new one when the shell has not echoed yet (an empty, "truncated" result, and every
later one is off by one); and it stops reading a cell's messages at the kernel's reply, which may overtake the output. So
here typing is followed by a short pause, and a cell's messages are handed on when the cell is idle. Benchmarks use the
server without this.
"""

from __future__ import annotations

import collections
import json
import runpy
import time
from typing import Any

import libtmux
import openhands.runtime.plugins.jupyter.execute_server as jupyter_client_side

_send_keys = libtmux.Pane.send_keys


def _paced_send_keys(self: libtmux.Pane, cmd: str, *args: Any, **kwargs: Any) -> None:
    _send_keys(self, cmd, *args, **kwargs)
    time.sleep(0.5 if "PROMPT_COMMAND" in cmd else 0.06 if cmd == "C-l" else 0.15)


class _Settled:
    """A websocket to the kernel whose messages about a cell come once that cell is answered and idle, the reply last."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._held: dict[str, list[Any]] = collections.defaultdict(list)
        self._ready: collections.deque[Any] = collections.deque()
        self._seen: dict[str, set[str]] = collections.defaultdict(set)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    async def read_message(self) -> Any:
        while not self._ready:
            message = await self._socket.read_message()
            if message is None:
                return None
            parsed = json.loads(message)
            parent = parsed["parent_header"].get("msg_id", "")
            kind = parsed["msg_type"]
            if kind == "execute_reply":
                self._seen[parent].add("reply")
            elif kind == "status" and parsed["content"].get("execution_state") == "idle":
                self._seen[parent].add("idle")
            self._held[parent].append((kind == "execute_reply", message))
            if self._seen[parent] == {"reply", "idle"}:
                self._ready.extend(m for _, m in sorted(self._held.pop(parent), key=lambda pair: pair[0]))
                del self._seen[parent]
        return self._ready.popleft()


_connect = jupyter_client_side.websocket_connect


async def _settled_connect(*args: Any, **kwargs: Any) -> _Settled:
    return _Settled(await _connect(*args, **kwargs))


if __name__ == "__main__":
    libtmux.Pane.send_keys = _paced_send_keys  # type: ignore[method-assign]
    jupyter_client_side.websocket_connect = _settled_connect
    runpy.run_module("openhands.runtime.action_execution_server", run_name="__main__", alter_sys=True)
