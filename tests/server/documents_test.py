"""Runs the commands of the README and of docs/ as they are written.

Every block ```sh is run with bash, page by page, in a directory that looks like a clean clone after
a build; a block may use what the blocks before it on its page have made. Comments before a block:

    <!-- not run: REASON -->      the block needs another machine, another program, or is a test
    <!-- slow -->                 the block takes minutes: run if WHIPSNAKE_LONG_TESTS is set
    <!-- server: FLAGS -->        a server with these flags runs from here on

`whipsnake serve` goes to the background, as in another terminal, in place of the server before it
and on free ports; the client commands find it by WHIPSNAKE_SERVER.
"""
import os
import re
import shutil
import signal
import subprocess
import tempfile
import unittest

import harness

PAGES = ["README.md", "docs/command-line.md", "docs/configuration.md", "docs/finetuning.md",
         "docs/freezing.md", "docs/jobs.md", "docs/logs.md", "docs/metrics.md",
         "docs/monitoring.md", "docs/deployment.md", "docs/runbook.md", "docs/quantization.md",
         "docs/security.md", "docs/serving.md", "docs/structured-output.md",
         "docs/transformers.md", "docs/performance.md", "docs/development.md",
         "docs/gpu-runs/README.md"]
BLOCK = re.compile(r"^<!-- server: (?P<server>.*?) -->$|"
                   r"(?:^<!-- (?P<note>not run: [^\n]+?|slow) -->\n+)?^```sh\n(?P<text>.*?)^```$",
                   re.MULTILINE | re.DOTALL)
# Stands for the program: `serve` returns once it listens, and writes where to a file.
WRAPPER = """#!/bin/bash
here=%(here)s
if [[ $1 == serve ]]; then
  [[ ! -f $here/pid ]] || { kill -TERM "$(<"$here/pid")"; tail --pid="$(<"$here/pid")" -f /dev/null; }
  rm -f "$here/address"
  %(binary)s "$@" --listen 127.0.0.1:0 --http 127.0.0.1:0 >"$here/said" 2>"$here/log" </dev/null &
  echo $! >"$here/pid"
  while ! grep -q ^listening "$here/said"; do
    kill -0 "$(<"$here/pid")" 2>/dev/null || { cat "$here/log" >&2; exit 1; }
    sleep 0.1
  done
  sed -n 's/^listening grpc=\\([^ ]*\\) .*/\\1/p' "$here/said" >"$here/address"
  exit 0
fi
[[ ! -f $here/address ]] || export WHIPSNAKE_SERVER=$(<"$here/address")
exec %(binary)s "$@"
"""


class Page:
    """A directory to run the blocks of a page in."""

    def __init__(self, test):
        self.root = tempfile.mkdtemp(prefix="whipsnake-documents-")
        self.hidden = tempfile.mkdtemp(prefix="whipsnake-documents-")
        test.addCleanup(self.close)
        source = os.path.abspath(harness.arguments.source)
        for name in os.listdir(source):
            if name not in ("build", ".git"):
                os.symlink(os.path.join(source, name), os.path.join(self.root, name))
        for path in (os.path.join(self.root, "build/release"), os.path.join(self.hidden, "bin")):
            os.makedirs(path)
            self.write(os.path.join(path, "whipsnake"), WRAPPER % {
                "here": self.hidden, "binary": os.path.abspath(harness.arguments.binary)})
        self.write(os.path.join(self.hidden, "bin", "xdg-open"), '#!/bin/bash\n[[ -f $1 ]]\n')
        self.environment = {**os.environ, "HOME": self.root,
                            "PATH": os.path.join(self.hidden, "bin") + ":" + os.environ["PATH"]}
        self.environment.pop("WHIPSNAKE_SERVER", None)

    def write(self, path, text):
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, 0o755)

    def run(self, text):
        address = os.path.join(self.hidden, "address")
        if os.path.exists(address):  # for clients that are not the program
            with open(address, encoding="utf-8") as file:
                self.environment["WHIPSNAKE_SERVER"] = file.read().strip()
        return subprocess.run(["bash", "-euc", text], cwd=self.root, env=self.environment,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                              timeout=10 * harness.PATIENCE)

    def close(self):
        try:
            with open(os.path.join(self.hidden, "pid"), encoding="utf-8") as file:
                server = int(file.read())
            os.kill(server, signal.SIGTERM)
            subprocess.run(["tail", f"--pid={server}", "-f", "/dev/null"], check=False,
                           timeout=harness.PATIENCE)
        except (FileNotFoundError, ProcessLookupError):
            pass
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.rmtree(self.hidden, ignore_errors=True)


class DocumentsTest(unittest.TestCase):
    def test_every_page_with_commands_is_run(self):
        pages = [os.path.relpath(os.path.join(folder, name), harness.arguments.source)
                 for folder, _, names in os.walk(os.path.join(harness.arguments.source, "docs"))
                 for name in names if name.endswith(".md")]
        for page in pages:
            with open(os.path.join(harness.arguments.source, page), encoding="utf-8") as file:
                if "```sh\n" in file.read():
                    self.assertIn(page, PAGES)


def add_test(page):
    def test(self):
        with open(os.path.join(harness.arguments.source, page), encoding="utf-8") as file:
            text = file.read()
        place = Page(self)
        for block in BLOCK.finditer(text):
            line = text[:block.start()].count("\n") + 1
            if block["server"]:
                commands = "whipsnake serve " + block["server"]
            elif (block["note"] or "").startswith("not run") or (
                    block["note"] == "slow" and not os.environ.get("WHIPSNAKE_LONG_TESTS")):
                print(f"{page}:{line}: {block['note']}")
                continue
            else:
                commands = block["text"]
            done = place.run(commands)
            self.assertEqual(done.returncode, 0,
                             f"{page}:{line}:\n{commands}\n{done.stdout}\n{done.stderr}")

    name = re.sub(r"\W+", "_", page.removesuffix(".md").removeprefix("docs/").lower())
    setattr(DocumentsTest, "test_" + name, test)


for each in PAGES:
    add_test(each)

if __name__ == "__main__":
    harness.main()
