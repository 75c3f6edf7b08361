"""Chromium without a window, by its own protocol over a pipe: no driver, no port."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.ports import PATIENCE
from tests.tools import missing

# Reached at 127.0.0.1; no other name is found. Not localhost, for whose documents Swagger UI asks
# no validator.
HOST = "cairn.test"
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server",
    "--no-first-run", "--hide-scrollbars", "--force-color-profile=srgb", "--lang=en-US",
    f"--host-resolver-rules=MAP {HOST} 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)  # fmt: skip
# What is answered to a question whose page went away before it was asked.
LEFT = ("Inspected target navigated or closed", "Execution context was destroyed",
        "Cannot find default execution context")  # fmt: skip
# Code of a key, and the text that it types.
KEYS = {"Tab": (9, ""), "Enter": (13, "\r"), "Space": (32, " "), "Escape": (27, "")}


def executable() -> str:
    """The path of Chromium; where there is none the test cannot run."""
    names = ("chromium", "google-chrome", "chromium-browser")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        missing("no Chromium; `apt-get install chromium` where you are root")
    return path


class NavigatedError(Exception):
    """The page that was asked has given way to another."""


class Browser:
    """One page in a browser of its own.

    Attributes
    ----------
    requests
        The address of every request that the page made.
    complaints
        What its console holds of errors and warnings, exceptions too.
    """

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = commands, answers
        self._rest = b""
        self._number = 0
        self._session: dict[str, str] = {}
        self.requests: list[str] = []
        self.complaints: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = {"sessionId": attached["sessionId"]}
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> Any:
        """Send one command and return what it answers."""
        self._number += 1
        sent = {"id": self._number, "method": method, "params": params, **self._session}
        os.write(self._commands, json.dumps(sent).encode() + b"\0")
        while True:
            message = self._next(PATIENCE)
            if message.get("id") == self._number:
                return _result(message)

    def _next(self, within: float) -> dict[str, Any]:
        """The next message; what it says of the page is noted."""
        while b"\0" not in self._rest:
            readable, _, _ = select.select([self._answers], [], [], within)
            assert readable, f"the browser says nothing for {within:g} s"
            piece = os.read(self._answers, 2**20)
            assert piece, "the browser is gone"
            self._rest += piece
        first, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(first)
        self._note(message.get("method"), message.get("params", {}))
        return message

    def _note(self, event: str | None, event_data: dict[str, Any]) -> None:
        if event == "Network.requestWillBeSent":
            self.requests.append(event_data["request"]["url"])
        elif event == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(event_data["exceptionDetails"]))
        elif event == "Log.entryAdded" and event_data["entry"]["level"] in {"error", "warning"}:
            entry = event_data["entry"]
            self.complaints.append(f"{entry['text']} {entry.get('url', '')}")
        elif event == "Runtime.consoleAPICalled" and event_data["type"] in {"error", "warning"}:
            self.complaints.append(json.dumps(event_data["args"]))

    def go(self, url: str) -> None:
        """Open an address."""
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete'")

    def ask(self, expression: str) -> Any:
        """The value of an expression in the page, as JSON holds it."""
        result = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def until(self, expression: str, within: float = PATIENCE) -> None:
        """Wait until an expression is true."""
        deadline = time.monotonic() + within
        while not self._holds(expression):
            state = "[location.href, document.body?.innerText.slice(0, 500)]"
            assert time.monotonic() < deadline, (expression, self.ask(state), self.complaints)
            time.sleep(0.05)

    def _holds(self, expression: str) -> bool:
        """Whether an expression is true of the page; one that is going says nothing of the next."""
        try:
            return bool(self.ask(f"Boolean({expression})"))
        except NavigatedError:
            return False

    def text(self, selector: str) -> str:
        """What a person reads in the first element that a selector finds."""
        return str(self.ask(f"document.querySelector({json.dumps(selector)}).innerText"))

    def click(self, selector: str) -> None:
        """Click the first element that a selector finds."""
        self.ask(f"document.querySelector({json.dumps(selector)}).click()")

    def press(self, key: str, *, shift: bool = False) -> None:
        """Press a key, wherever the focus is."""
        code, text = KEYS[key]
        key_event = {"key": text if key == "Space" else key, "code": key, "modifiers": 8 * shift}
        key_event |= {"windowsVirtualKeyCode": code, **({"text": text} if text else {})}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, **key_event)

    def type(self, selector: str, text: str) -> None:
        """Put a text in the place of what a field holds, as typing does."""
        self.ask(
            f"(({{}}) => {{ const field = document.querySelector({json.dumps(selector)});"
            "field.focus(); field.select(); })({})"
        )
        if text:
            self.call("Input.insertText", text=text)
        else:
            self.ask("document.execCommand('delete')")

    def size(self, width: int, height: int, *, scale: float = 1) -> None:
        """Give the page a screen of so many CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=scale, mobile=width < 600,
        )  # fmt: skip

    def prefer(self, **features: str) -> None:
        """Set media features, such as `prefers_color_scheme="dark"`."""
        media = [{"name": key.replace("_", "-"), "value": value} for key, value in features.items()]
        self.call("Emulation.setEmulatedMedia", features=media)

    def picture(self, *, whole: bool = False) -> bytes:
        """The page as PNG: what the screen shows, or the whole of it."""
        screenshot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        return b64decode(screenshot["data"])


def _result(answer: dict[str, Any]) -> Any:
    message = answer.get("error", {}).get("message", "")
    if message.startswith(LEFT):
        raise NavigatedError(message)
    assert "error" not in answer, answer
    return answer["result"]


@contextmanager
def opened(home: Path) -> Iterator[Browser]:
    """A browser with a profile of its own, until the block ends."""
    commands, answers = os.pipe(), os.pipe()
    # The browser takes what comes on 3 and answers on 4, whatever their numbers are here.
    line = f'exec "$@" 3<&{commands[0]} 4>&{answers[1]}'
    arguments = [executable(), *OPTIONS, f"--user-data-dir={home}", "--remote-debugging-pipe"]
    process = subprocess.Popen(
        ["bash", "-c", line, "bash", *arguments],
        pass_fds=(commands[0], answers[1]),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(commands[0])
    os.close(answers[1])
    try:
        yield Browser(commands[1], answers[0])
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=30)
        process.kill()
        process.wait()
        os.close(commands[1])
        os.close(answers[0])
