"""A real Jupyter kernel whose sliders a test can move: a front end without a screen."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from jupyter_client.manager import KernelManager

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


class LiveKernel:
    """Executes cells and keeps the state of every widget, as a front end does.

    ``states`` holds each widget's state by its id; ``bundles`` what was displayed.
    """

    def __init__(self, env: dict[str, str]) -> None:
        self.manager = KernelManager(kernel_name="python3", transport="ipc")
        self.manager.start_kernel(env=env)
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=120)
        self.states: dict[str, dict[str, Any]] = {}
        self.bundles: list[dict[str, Any]] = []
        self.printed = ""
        self._idle: set[str] = set()

    def __enter__(self) -> LiveKernel:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=False)

    def run(self, code: str, timeout: float = 300) -> None:
        """Execute a cell to its end; an error in it is raised here."""
        request = self.client.execute(code)
        self.until(lambda: request in self._idle, timeout)

    def move(self, slider: str, index: int) -> None:
        """Send what a front end sends when a slider moves, without waiting."""
        self.states[slider]["index"] = index
        data = {"method": "update", "state": {"index": index}, "buffer_paths": []}
        content = {"comm_id": slider, "data": data}
        message = self.client.session.msg("comm_msg", content)
        self.client.shell_channel.send(message)

    def until(self, done: Callable[[], Any], timeout: float = 60) -> None:
        """Read what the kernel publishes until ``done()``."""
        end = time.monotonic() + timeout
        while not done():
            left = end - time.monotonic()
            assert left > 0, f"the kernel did not get there in {timeout} s"
            self._take(self.client.get_iopub_msg(timeout=left))

    def find(self, model: str) -> list[str]:
        """Ids of the widgets of a kind, oldest first."""
        return [k for k, s in self.states.items() if s.get("_model_name") == model]

    def _take(self, message: dict[str, Any]) -> None:
        kind, content = message["msg_type"], message["content"]
        if kind == "error":
            raise AssertionError("\n".join(content["traceback"]))
        if kind == "status" and content["execution_state"] == "idle":
            self._idle.add(message["parent_header"].get("msg_id", ""))
        elif kind == "stream":
            self.printed += content["text"]
        elif kind in ("execute_result", "display_data"):
            self.bundles.append(content["data"])
        elif kind == "comm_open":
            self.states[content["comm_id"]] = dict(content["data"]["state"])
        elif kind == "comm_msg" and content["data"].get("method") == "update":
            self.states[content["comm_id"]].update(content["data"]["state"])
        elif kind == "comm_close":
            self.states.pop(content["comm_id"], None)
