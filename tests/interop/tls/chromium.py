# SPDX-License-Identifier: MIT
"""Headless Chromium in a namespace, told over a pipe what to do (the DevTools protocol); it notes all that it says."""

from __future__ import annotations

import base64
import json
import os
import selectors
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.conftest import need
from tests.interop.network import Namespace
from tests.interop.servers import end
from tests.interop.tls import nss

START_S = 60.0
COMMAND_S = 60.0
SWITCHES = (
    "--headless=new",
    "--no-sandbox",  # it does not start as root otherwise
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--no-proxy-server",
    "--remote-debugging-pipe",
    "--window-size=1000,700",
)


class Browser:
    """trust: the one authority beside its own that it believes. events: all that came, as (method, parameters).

    name: for the names of what is left of a test.
    """

    name = "chromium"

    def __init__(self, near: Namespace, trust: Path, folder: Path) -> None:
        self.near = near
        self.folder = folder
        self.events: list[tuple[str, dict[str, Any]]] = []
        self._answers: dict[int, dict[str, Any]] = {}
        self._number = 0
        self._rest = b""
        self._session = ""
        # Where it looks for the user's own authorities, older and newer.
        for place in (".pki/nssdb", ".local/share/pki/nssdb"):
            nss.trusting(folder / "home" / place, trust)

    def __enter__(self) -> Self:
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()
        program = need("chromium", "chromium")
        # The protocol has its pipes as 3 and 4; dash knows no numbers above 9.
        script = f'exec "$@" 3<&{to_read} 4>&{to_write}'
        command = ["bash", "-c", script, "bash", program, *SWITCHES, f"--user-data-dir={self.folder / 'profile'}"]
        self._log = (self.folder / "chromium.log").open("wb")
        home = self.folder / "home"
        environment = {**os.environ, "HOME": str(home), "XDG_DATA_HOME": str(home / ".local/share")}
        self._process = subprocess.Popen(
            [*self.near.prefix, *command, "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            pass_fds=(to_read, to_write),
            env=environment,
            start_new_session=True,
        )
        os.close(to_read)
        os.close(to_write)
        os.set_blocking(self._read, False)
        try:
            target = self.command("Target.createTarget", url="about:blank")["targetId"]
            self._session = self.command("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                self.command(f"{domain}.enable")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        end(self._process)
        for fd in (self._read, self._write):
            os.close(fd)
        self._log.close()

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command, and its result. AssertionError when that is an error, or late."""
        self._number += 1
        number = self._number
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        self.wait(lambda: number in self._answers, COMMAND_S, method)
        answer = self._answers.pop(number)
        assert "error" not in answer, f"{method}: {answer}"
        result: dict[str, Any] = answer["result"]
        return result

    def wait(self, condition: Callable[[], object], timeout_s: float, what: str) -> None:
        """Takes what it says until `condition()` is true."""
        deadline = time.monotonic() + timeout_s
        with selectors.DefaultSelector() as selector:
            selector.register(self._read, selectors.EVENT_READ)
            while not condition():
                left_s = deadline - time.monotonic()
                assert left_s > 0, f"not within {timeout_s} s: {what}; it said {self.said()}"
                if selector.select(min(left_s, 0.5)):
                    self._take(os.read(self._read, 1 << 16))

    def _take(self, data: bytes) -> None:
        assert data, f"chromium ended: {(self.folder / 'chromium.log').read_text(errors='replace')[-2000:]}"
        *messages, self._rest = (self._rest + data).split(b"\0")
        for text in messages:
            message = json.loads(text)
            if "id" in message:
                self._answers[message["id"]] = message
            else:
                self.events.append((message["method"], message["params"]))

    def named(self, method: str) -> list[dict[str, Any]]:
        """The parameters of all events of one name."""
        return [parameters for name, parameters in self.events if name == method]

    def open(self, url: str) -> None:
        """Loads a page with all that it names."""
        self.events.clear()
        result = self.command("Page.navigate", url=url)
        assert "errorText" not in result, f"{url}: {result['errorText']}"
        self.wait(lambda: self.named("Page.loadEventFired"), COMMAND_S, f"{url} is loaded")

    def value(self, expression: str) -> Any:
        """What JavaScript of the page makes of it."""
        result = self.command("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def screenshot(self, path: Path) -> None:
        """The page as one sees it, as PNG."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(self.command("Page.captureScreenshot", format="png")["data"]))

    def complaints(self) -> list[str]:
        """What a console would show as wrong: messages, exceptions, what was not loaded."""
        found = []
        for entry in self.named("Log.entryAdded"):
            if entry["entry"]["level"] in ("warning", "error"):
                found.append(f"{entry['entry']['text']} {entry['entry'].get('url', '')}")
        for call in self.named("Runtime.consoleAPICalled"):
            if call["type"] in ("warning", "error", "assert"):
                found.append(json.dumps(call["args"]))
        found += [json.dumps(thrown["exceptionDetails"]) for thrown in self.named("Runtime.exceptionThrown")]
        found += [failed["errorText"] for failed in self.named("Network.loadingFailed")]
        return found

    def responses(self) -> dict[str, dict[str, Any]]:
        """Path -> response, of all that was loaded."""
        answers = [received["response"] for received in self.named("Network.responseReceived")]
        return {"/" + answer["url"].split("/", 3)[3]: answer for answer in answers if answer["url"].startswith("http")}

    def said(self) -> list[str]:
        """The last events, shortened: for messages of failures."""
        return [f"{name} {json.dumps(parameters)[:200]}" for name, parameters in self.events[-8:]]
