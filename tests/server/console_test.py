"""Tests of the console in a browser: what it shows, in both colour schemes, narrow and wide."""
import json
import os
import re
import tempfile
import time
import unittest

import browser
import harness
import rpc_client
from harness import whipsnake

HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
STEPS = 60
WIDTHS = {"narrow": 360, "wide": 1600}
# Pairs of colours, text on its background, of console.css.
TEXTS = [("ink", "paper"), ("soft", "paper"), ("soft", "fill"), ("ink", "fill"), ("training", "paper"),
         ("training", "fill"), ("warn", "paper"), ("warn", "fill"), ("good", "paper"), ("bad", "paper"),
         ("good", "fill"), ("bad", "fill"), ("on", "training")]


def rows(count):
    return "".join(json.dumps({"text": f"The snake number {i} lay in the sun and slept."}) + "\n"
                   for i in range(count))


def luminance(colour):
    channels = [int(colour[at:at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    """The contrast ratio of WCAG 2."""
    lights = sorted((luminance(one), luminance(other)))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


class ConsoleTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory(prefix="whipsnake-console-")
        cls.browser = browser.Browser()
        cls.daemon = harness.Daemon("--data", os.path.join(cls.directory.name, "data"))
        cls.console = f"http://{cls.daemon.http}/console"

    @classmethod
    def tearDownClass(cls):
        cls.browser.close()
        cls.daemon.close()
        cls.directory.cleanup()

    def setUp(self):
        self.browser.leave()
        self.browser.problems.clear()
        self.browser.requests.clear()

    def make_job(self, name, labels=None, **settings):
        """Uploads a data set, unless it is there, and makes a job with it."""
        path = os.path.join(self.directory.name, "texts.jsonl")
        if not os.path.exists(path):
            with open(path, "w", encoding="utf-8") as file:
                file.write(rows(48))
            uploaded = whipsnake("datasets", "upload", path, "--id", "texts", "--task", "causal-lm",
                                 "--server", self.daemon.grpc)
            self.assertEqual(uploaded.returncode, 0, uploaded.stderr)
        pb2 = rpc_client.fine_tuning_pb2
        channel = rpc_client.grpc.insecure_channel(self.daemon.grpc)
        spec = pb2.FineTuningJobSpec(model="demo", train="texts", **settings)
        with channel:
            rpc_client.fine_tuning_pb2_grpc.FineTuningServiceStub(channel).CreateFineTuningJob(
                pb2.CreateFineTuningJobRequest(id=name, spec=spec, labels=labels or {}))

    def wait_for_job(self, name):
        deadline = time.monotonic() + harness.PATIENCE
        while True:
            job = json.loads(self.daemon.get(f"/console/api/job?kind=fine-tuning&id={name}"))
            if job["state"] in ("succeeded", "failed"):
                self.assertEqual(job["state"], "succeeded", job)
                return
            self.assertLess(time.monotonic(), deadline, job)
            time.sleep(0.05)

    def check_page(self):
        """Nothing was refused or went wrong, and nothing of another origin was asked for."""
        self.assertEqual(self.browser.problems, [])
        for url in self.browser.requests:
            self.assertTrue(url.startswith((f"http://{self.daemon.http}/", "about:", "data:")), url)

    def test_shows_models_jobs_and_the_course_of_a_job(self):
        self.make_job("reviews-1", {"team": "search"}, max_steps=STEPS, epochs=100.0, batch=2,
                      max_length=32, eval="texts", evaluate_every=20, lr=1e-3, scheduler="slimfit",
                      freezing_rate=0.8)
        self.wait_for_job("reviews-1")
        page = self.browser
        for width_name, width in WIDTHS.items():
            for dark in (False, True):
                page.show(self.console + "#job=fine-tuning/reviews-1", width, 900, dark)
                page.wait("document.querySelector('#job .events li') !== null")
                page.wait("document.querySelector('#models tbody tr') !== null")
                self.assertIn("Ready", page.text("#state"))
                self.assertIn("demo", page.text("#models"))
                self.assertIn("reviews-1", page.text("#jobs"))
                text = page.text("#job")
                for expected in ("succeeded", f"step {STEPS}", "Loss", "Active layers", "evaluation",
                                 "team=search", "checkpoint of step"):
                    self.assertIn(expected.lower(), text.lower())
                self.assertLessEqual(page.run("document.documentElement.scrollWidth"), width)
                # As many columns as steps, and every shape is a number.
                self.assertEqual(page.run("document.querySelector('canvas').width"), STEPS)
                self.assertNotIn("NaN", page.run("document.querySelector('.charts').innerHTML"))
                scheme = "dark" if dark else "light"
                page.screenshot(os.path.join(harness.arguments.work,
                                             f"console-{scheme}-{width_name}.png"))
        self.check_page()

    def test_the_empty_state_says_what_to_do(self):
        with_nothing = harness.Daemon()
        self.addCleanup(with_nothing.close)
        page = self.browser
        page.show(f"http://{with_nothing.http}/console", 800)
        page.wait("document.querySelector('#jobs .empty') !== null")
        self.assertIn("whipsnake serve --data DIR", page.text("#jobs"))
        self.assertEqual(page.problems, [])

    def test_asks_for_a_token_and_keeps_it_in_the_tab(self):
        path = os.path.join(self.directory.name, "tokens.jsonl")
        tokens = {name: whipsnake("token", "create", name, "--scope", scope, "--tokens",
                                  path).stdout.strip()
                  for name, scope in (("reader", "infer"), ("operator", "admin"))}
        daemon = harness.Daemon("--tokens", path)
        self.addCleanup(daemon.close)
        page = self.browser
        page.show(f"http://{daemon.http}/console")
        page.wait("!document.querySelector('#token-form').hidden")
        self.assertEqual(page.text("#models-body"), "")

        def give(token):
            page.run(f"""document.querySelector('#token').value = {json.dumps(token)};
                         document.querySelector('#token-form').requestSubmit()""")

        give("wsn_unknown")
        page.wait("document.querySelector('#token-error').innerText.includes('whole token')")
        give(tokens["reader"])
        page.wait("document.querySelector('#token-error').innerText.includes('scope admin')")
        give(tokens["operator"])
        page.wait("document.querySelector('#token-form').hidden")
        page.wait("document.querySelector('#models tbody tr') !== null")
        self.assertEqual(page.run("document.querySelector('#token').value"), "")
        page.run("document.querySelector('#prompt-text').value = 'It was'")
        page.run("document.querySelector('#prompt-form').requestSubmit()")
        page.wait("document.querySelector('#prompt-note').innerText.includes('tokens')")
        self.assertNotIn(tokens["operator"], daemon.read_log())

    def test_names_and_texts_of_clients_are_inert(self):
        self.make_job("hostile-1", {"note": HOSTILE}, max_steps=2, batch=2, max_length=16)
        page = self.browser
        page.show(self.console + "#job=fine-tuning/hostile-1")
        page.wait(f"document.querySelector('#job').innerText.includes({json.dumps(HOSTILE)})")
        # What the server would refuse today.
        page.run(f"""(async () => {{
          const text = {json.dumps(HOSTILE)};
          const {{showModels}} = await import("./console/models.js");
          const {{showJobs}} = await import("./console/jobs.js");
          const {{offerModels}} = await import("./console/prompt.js");
          showModels([{{name: text, aliases: [text], state: "failed", error: text, serves: true}}]);
          offerModels([{{name: text, state: "ready"}}]);
          showJobs([{{kind: text, id: text, uid: text, model: text, state: "failed", labels: {{}},
                      fraction: 0, error: {{message: text}}, progress: {{}}}}]);
        }})()""")
        self.assertEqual(page.run("document.querySelectorAll('main img, main script').length"), 0)
        self.assertEqual(page.run("document.title"), "Whipsnake")
        self.check_page()

    def test_a_prompt_streams_and_can_be_stopped(self):
        page = self.browser
        page.show(self.console, 1280)
        page.wait("document.querySelector('#prompt-model').options.length === 1")
        page.wait("!document.querySelector('#prompt-button').disabled")
        page.run("""document.querySelector('#prompt-text').value = 'The snake';
                    document.querySelector('#prompt-tokens').value = 8;
                    document.querySelector('#prompt-form').requestSubmit()""")
        page.wait("document.querySelector('#prompt-note').innerText.startsWith('8 tokens')")
        self.assertNotEqual(page.text("#prompt-output"), "")
        page.run("""document.querySelector('#prompt-tokens').value = 100000;
                    document.querySelector('#prompt-form').requestSubmit()""")
        page.wait("!document.querySelector('#prompt-error').hidden")
        self.assertIn("max_new_tokens", page.text("#prompt-error"))
        page.run("""document.querySelector('#prompt-tokens').value = 2048;
                    document.querySelector('#prompt-form').requestSubmit()""")
        page.wait("document.querySelector('#prompt-output').innerText.length > 20")
        page.run("document.querySelector('#prompt-form').requestSubmit()")
        page.wait("document.querySelector('#prompt-note').innerText === 'Stopped.'")
        self.daemon.wait_for_metric("whipsnake_requests_running", 0, model="demo")
        self.check_page()

    def test_every_control_has_a_name_and_a_visible_focus(self):
        page = self.browser
        page.show(self.console)
        tree = page.call("Accessibility.getFullAXTree")["nodes"]
        for node in tree:
            role = node.get("role", {}).get("value")
            if role in ("button", "combobox", "textbox", "spinbutton", "link", "progressbar"):
                self.assertTrue(node.get("name", {}).get("value"), node)
        page.run("document.querySelector('#prompt-text').focus()")
        self.assertEqual(page.run("""getComputedStyle(document.activeElement).outlineStyle"""), "solid")

    def test_says_when_the_connection_is_lost(self):
        daemon = harness.Daemon()
        page = self.browser
        page.show(f"http://{daemon.http}/console")
        page.wait("document.querySelector('#state').innerText === 'Ready'")
        daemon.close()
        page.wait("!document.querySelector('#connection').hidden")
        self.assertIn("cannot be reached", page.text("#connection"))
        self.assertEqual(page.text("#state"), "Connection lost")

    def test_the_colours_have_enough_contrast(self):
        path = os.path.join(harness.arguments.source, "server/console/console.css")
        with open(path, encoding="utf-8") as file:
            light, dark = re.findall(r":root \{(.*?)\}", file.read(), re.DOTALL)
        schemes = [dict(re.findall(r"--(\S+): (#\w{6})", scheme)) for scheme in (light, dark)]
        for colours in schemes:
            for text, background in TEXTS:
                ratio = contrast(colours[text], colours[background])
                self.assertGreaterEqual(ratio, 4.5, f"{text} on {background}: {ratio:.2f}")


if __name__ == "__main__":
    harness.main(before_tests=rpc_client.import_stubs)
