"""OpenHands' own `ActionExecutionClient`, made concrete for a server that is already running.

Only what the class leaves open is given here (where the server is, its key, how to connect); every request, retry and
all serialisation is OpenHands' own. The raw reply of the last request is kept, so that the comparison also sees what the
deserialiser would drop.
"""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("LOG_LEVEL", "ERROR")
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # or importing litellm fetches a price list
for _name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
    os.environ.pop(_name, None)

from openhands.core.config import OpenHandsConfig  # noqa: E402
from openhands.events.action import (  # noqa: E402
    CmdRunAction,
    FileEditAction,
    FileReadAction,
    FileWriteAction,
    IPythonRunCellAction,
)
from openhands.events.action.action import Action  # noqa: E402
from openhands.events.event import FileReadSource  # noqa: E402
from openhands.runtime.impl.action_execution.action_execution_client import ActionExecutionClient  # noqa: E402
from openhands.runtime.plugins import JupyterRequirement  # noqa: E402
from openhands.runtime.runtime_status import RuntimeStatus  # noqa: E402
from openhands.utils.async_utils import call_sync_from_async  # noqa: E402


class JudgeRuntime(ActionExecutionClient):
    """Headless, no LLM: the registry is never asked as long as no edit is LLM-based."""

    def __init__(
        self,
        url: str,
        key: str | None,
        *,
        event_stream: Any = None,
        sid: str = "judge",
        env_vars: dict[str, str] | None = None,
        jupyter: bool = True,
        status_callback: Any = None,
        attach_to_existing: bool = False,
        config: OpenHandsConfig | None = None,
    ) -> None:
        self._url = url
        self._key = key
        self.last_reply: Any = None
        super().__init__(
            config or OpenHandsConfig(),
            event_stream,
            None,  # type: ignore[arg-type]
            sid,
            [JupyterRequirement()] if jupyter else [],
            env_vars,
            status_callback,
            attach_to_existing,
            True,
        )
        if key is not None:
            self.session.headers["X-Session-API-Key"] = key

    @property
    def action_execution_server_url(self) -> str:
        return self._url

    @property
    def session_api_key(self) -> str | None:
        return self._key

    async def connect(self) -> None:
        self.set_runtime_status(RuntimeStatus.STARTING_RUNTIME)
        await call_sync_from_async(self.check_if_alive)
        if not self.attach_to_existing:
            await call_sync_from_async(self.setup_initial_env)
            self.set_runtime_status(RuntimeStatus.READY)
        self._runtime_initialized = True

    def _send_action_server_request(self, method: str, url: str, **kwargs: Any) -> Any:
        self.last_reply = None
        response = super()._send_action_server_request(method, url, **kwargs)
        if response.headers.get("content-type", "").startswith("application/json"):
            self.last_reply = response.json()
        return response


_ACTIONS: dict[str, type[Action]] = {
    "run": CmdRunAction,
    "run_ipython": IPythonRunCellAction,
    "read": FileReadAction,
    "write": FileWriteAction,
    "edit": FileEditAction,
}


def make_action(kind: str, args: dict[str, Any], timeout: float | None, blocking: bool) -> Action:
    """An OpenHands action from a row of the table."""
    arguments = dict(args)
    if kind == "read" and "impl_source" in arguments:
        arguments["impl_source"] = FileReadSource(arguments["impl_source"])
    action = _ACTIONS[kind](**arguments)
    if timeout is not None:
        action.set_hard_timeout(timeout, blocking=blocking)
    return action
