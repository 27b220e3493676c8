"""A headless Chromium for tests of pages, driven by its DevTools protocol over a pipe.

Uses only Debian's `chromium` and Python's standard library. A test that imports this module is
skipped if there is no browser.
"""
import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time

import harness

SKIPPED = 77
BINARY = shutil.which("chromium")

if BINARY is None:
    print("skipped: no chromium; apt-get install chromium")
    sys.exit(SKIPPED)


class Navigated(AssertionError):
    """The page that a script ran in was left meanwhile."""


def keep_as(descriptor, number):
    """In the child: gives the descriptor this number."""
    if descriptor == number:
        fcntl.fcntl(descriptor, fcntl.F_SETFD, 0)
    else:
        os.dup2(descriptor, number)


class Browser:
    """One page of a browser. `problems` has what the page reported: exceptions, refused resources,
    violations of its policy. `requests` has the addresses that it asked for."""

    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="whipsnake-browser-")
        self.problems, self.requests, self.buffer, self.last_id = [], [], b"", 0
        # Numbers above 4, so that neither is overwritten before it is used.
        commands, self.send_end = (fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in os.pipe())
        self.receive_end, events = (fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in os.pipe())
        self.process = subprocess.Popen(
            [BINARY, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions",
             "--disable-background-networking", "--disable-component-update", "--disable-sync",
             "--user-data-dir=" + self.directory, "--remote-debugging-pipe", "about:blank"],
            preexec_fn=lambda: (keep_as(commands, 3), keep_as(events, 4)), close_fds=False,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        os.close(commands)
        os.close(events)
        self.session = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(domain + ".enable")

    def call(self, method, **parameters):
        """Returns the result of a command."""
        self.last_id += 1
        message = {"id": self.last_id, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.send_end, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + harness.PATIENCE
        while True:
            answer = self.receive(deadline)
            if answer.get("id") == self.last_id:
                if "error" in answer:
                    message = answer["error"]["message"]
                    if "navigated" in message or "context" in message:
                        raise Navigated(message)
                    raise AssertionError(f"{method}: {answer['error']}")
                return answer["result"]
            self.note(answer)

    def receive(self, deadline):
        while b"\0" not in self.buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.receive_end], [], [], left)[0]:
                raise AssertionError("the browser does not answer")
            data = os.read(self.receive_end, 1 << 20)
            if not data:
                raise AssertionError("the browser has ended")
            self.buffer += data
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def note(self, event):
        method, parameters = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(parameters["exceptionDetails"]))
        elif method == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.problems.append(parameters["entry"]["text"] + " " + parameters["entry"].get("url", ""))
        elif method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])

    def show(self, url, width=1280, height=900, dark=False):
        """Opens a page in a window of this size."""
        self.resize(width, height, dark)
        self.leave()
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def leave(self):
        """Leaves the page, so that it asks for nothing more."""
        self.call("Page.navigate", url="about:blank")
        self.wait("location.href === 'about:blank'")

    def resize(self, width, height, dark=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def run(self, script):
        """Returns the value of a JavaScript expression; a promise is awaited."""
        result = self.call("Runtime.evaluate", expression=script, awaitPromise=True,
                           returnByValue=True)
        if "exceptionDetails" in result:
            raise AssertionError(f"{script}: {json.dumps(result['exceptionDetails'])}")
        return result["result"].get("value")

    def holds(self, script):
        try:
            return self.run(script)
        except Navigated:
            return False

    def wait(self, script):
        """Waits until a JavaScript expression is true."""
        deadline = time.monotonic() + harness.PATIENCE
        while not self.holds(script):
            if time.monotonic() > deadline:
                raise AssertionError(f"never true: {script}; the page has:\n{self.text()}")
            time.sleep(0.05)

    def text(self, selector="body"):
        return self.run(f"document.querySelector({json.dumps(selector)}).innerText")

    def screenshot(self, path):
        """Writes a picture of the whole page."""
        height = self.run("document.documentElement.scrollHeight")
        width = self.run("innerWidth")
        picture = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip={
            "x": 0, "y": 0, "width": width, "height": height, "scale": 1})
        with open(path, "wb") as file:
            file.write(base64.b64decode(picture["data"]))

    def close(self):
        self.session = None
        try:
            self.call("Browser.close")
            self.process.wait(timeout=harness.PATIENCE)
        except (AssertionError, OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        os.close(self.send_end)
        os.close(self.receive_end)
        shutil.rmtree(self.directory, ignore_errors=True)
