"""Tests the daemon with a Python client whose stubs are generated from the committed protos.

Uses only Debian packages: python3-grpcio, protobuf-compiler and protobuf-compiler-grpc.
"""
import filecmp
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import unittest

import harness
import rpc_client  # skips this test if gRPC is missing
from rpc_client import details_of

from google.protobuf import descriptor_pb2


def import_stubs():
    globals().update(rpc_client.import_stubs())


class Client(rpc_client.Client):
    """A client with short forms of the requests."""

    def generate(self, **fields):
        return self.generation.Generate(
            generation_pb2.GenerateRequest(parameters=parameters(**fields)),
            timeout=harness.PATIENCE)

    def stream(self, timeout=harness.PATIENCE, **fields):
        return self.generation.StreamGenerate(
            generation_pb2.StreamGenerateRequest(parameters=parameters(**fields)), timeout=timeout)


def parameters(prompt="Elizabeth was", model="demo", stopping=None, output=None, request_id="",
               **sampling):
    """Makes GenerationParameters; all other keywords are fields of Sampling."""
    fields = {"text": prompt} if isinstance(prompt, str) else {
        "token_ids": generation_pb2.TokenIds(ids=prompt)}
    return generation_pb2.GenerationParameters(
        model=model, request_id=request_id, sampling=generation_pb2.Sampling(**sampling),
        stopping=generation_pb2.Stopping(**(stopping or {})),
        output=generation_pb2.OutputOptions(**(output or {})), **fields)


LONG = {"max_new_tokens": 16000, "ignore_eos": True}


class EndToEndTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = harness.Daemon()
        cls.client = Client(cls.daemon.grpc)
        cls.reference = harness.reference()
        cls.greedy = cls.reference["greedy"][0]

    @classmethod
    def tearDownClass(cls):
        cls.client.channel.close()
        code = cls.daemon.close()
        assert code == 0, code

    def greedy_fields(self, case):
        return dict(prompt=case["prompt"], temperature=0, output={"token_ids": True},
                    stopping={"max_new_tokens": len(case["token_ids"]), "ignore_eos": True})

    def assert_fails(self, code, call):
        """Expects `call` to fail with `code` and a reason; returns the error."""
        with self.assertRaises(grpc.RpcError) as caught:
            call()
        error = caught.exception
        self.assertEqual(error.code(), code, error.details())
        info = details_of(error)["ErrorInfo"]
        self.assertEqual(info.domain, "whipsnake")
        self.assertRegex(info.reason, "^[A-Z][A-Z0-9_]*$")
        return error

    # --- text ---------------------------------------------------------------------------------

    def test_greedy_text_equals_the_reference(self):
        for case in self.reference["greedy"]:
            with self.subTest(prompt=case["prompt"]):
                response = self.client.generate(**self.greedy_fields(case))
                completion, = response.completions
                self.assertEqual(list(completion.token_ids), case["token_ids"])
                self.assertEqual(completion.text, case["text"])
                self.assertEqual(completion.finish_reason, generation_pb2.FINISH_REASON_LENGTH)
                self.assertEqual(response.usage.prompt_tokens, len(case["prompt_ids"]))
                self.assertEqual(response.usage.generated_tokens, len(case["token_ids"]))

    def test_a_stream_is_started_deltas_finished(self):
        for case in self.reference["greedy"]:
            with self.subTest(prompt=case["prompt"]):
                events = list(self.client.stream(request_id="mine", **self.greedy_fields(case)))
                kinds = [event.WhichOneof("event") for event in events]
                self.assertEqual(kinds, ["started"] + ["delta"] * (len(events) - 2) + ["finished"])
                started, deltas, finished = events[0].started, events[1:-1], events[-1].finished
                self.assertEqual(started.resolved.request_id, "mine")
                self.assertEqual(started.resolved.model, "demo")
                self.assertEqual(started.prompt_tokens, len(case["prompt_ids"]))
                self.assertEqual([event.delta.sequence_number for event in deltas],
                                 list(range(len(deltas))))
                self.assertEqual("".join(event.delta.text for event in deltas), case["text"])
                self.assertEqual([id for event in deltas for id in event.delta.token_ids],
                                 case["token_ids"])
                self.assertEqual(list(finished.finish_reasons),
                                 [generation_pb2.FINISH_REASON_LENGTH])
                timings = finished.timings
                self.assertGreater(timings.time_to_first_token_seconds, 0)
                self.assertGreaterEqual(timings.time_to_first_token_seconds,
                                        timings.queue_seconds)
                self.assertGreater(timings.decode_seconds, 0)

    def test_token_ids_are_a_prompt_too(self):
        fields = dict(self.greedy_fields(self.greedy), prompt=self.greedy["prompt_ids"])
        self.assertEqual(self.client.generate(**fields).completions[0].text, self.greedy["text"])

    def test_the_same_seed_gives_the_same_text(self):
        def text(**sampling):
            response = self.client.generate(
                temperature=1, stopping={"max_new_tokens": 40, "ignore_eos": True}, **sampling)
            return response.completions[0].text, response.resolved.sampling.seed

        first, _ = text(seed=7)
        self.assertEqual(text(seed=7)[0], first)
        self.assertNotEqual(text(seed=8)[0], first)
        # Without a seed the server reports the one that it chose.
        made_up, seed = text()
        self.assertEqual(text(seed=seed)[0], made_up)

    def test_a_stop_text_ends_the_output_and_is_not_part_of_it(self):
        # The stop text begins and ends inside tokens, so its beginning has to be held back.
        words = self.greedy["text"].split(" ")
        stop = words[2][-1] + " " + words[3] + " " + words[4][0]
        expected = self.greedy["text"][:self.greedy["text"].index(stop)]
        fields = self.greedy_fields(self.greedy)
        fields["stopping"]["stop_texts"] = ["not there", stop]
        completion, = self.client.generate(**fields).completions
        self.assertEqual(completion.text, expected)
        self.assertEqual(completion.finish_reason, generation_pb2.FINISH_REASON_STOP)
        *events, last = self.client.stream(**fields)
        self.assertEqual("".join(event.delta.text for event in events), expected)
        self.assertEqual(list(last.finished.finish_reasons), [generation_pb2.FINISH_REASON_STOP])

    def test_logprobs_are_of_the_models_own_logits(self):
        fields = self.greedy_fields(self.greedy)
        fields["output"]["logprobs"] = 8
        completion, = self.client.generate(**fields).completions
        self.assertEqual(len(completion.logprobs), len(completion.token_ids))
        for id, token in zip(completion.token_ids, completion.logprobs):
            self.assertEqual(token.chosen.token_id, id)
            self.assertEqual(token.chosen, token.top[0])  # greedy
            values = [other.logprob for other in token.top]
            self.assertEqual(values, sorted(values, reverse=True))
            self.assertLessEqual(sum(math.exp(value) for value in values), 1.0001)
        # Logprobs differ from logits by a constant.
        top = self.greedy["first_logits_top8"]
        self.assertEqual([other.token_id for other in completion.logprobs[0].top],
                         [id for id, _ in top])
        for other, (_, logit) in zip(completion.logprobs[0].top, top):
            self.assertAlmostEqual(other.logprob - completion.logprobs[0].top[0].logprob,
                                   logit - top[0][1], delta=2e-3)

    def test_count_tokens(self):
        response = self.client.generation.CountTokens(generation_pb2.CountTokensRequest(
            model="demo", text=self.greedy["prompt"], token_ids=True))
        self.assertEqual(list(response.token_ids), self.greedy["prompt_ids"])
        self.assertEqual(response.tokens, len(self.greedy["prompt_ids"]))

    # --- time ---------------------------------------------------------------------------------

    def test_cancelling_a_stream_stops_the_work(self):
        finished = dict(model="demo", reason="cancelled")
        before = self.daemon.metric("whipsnake_requests_finished_total", **finished)
        stream = self.client.stream(stopping=LONG)
        while next(stream).WhichOneof("event") != "delta":
            pass
        stream.cancel()
        with self.assertRaises(grpc.RpcError):
            list(stream)
        self.assertEqual(stream.code(), grpc.StatusCode.CANCELLED)
        self.daemon.wait_for_metric("whipsnake_requests_finished_total", before + 1, **finished)
        self.daemon.wait_for_metric("whipsnake_requests_running", 0, model="demo")

    def test_a_deadline_stops_the_work(self):
        length = dict(model="demo", reason="length")
        before = self.daemon.metric("whipsnake_requests_finished_total", **length)
        with self.assertRaises(grpc.RpcError) as caught:
            list(self.client.stream(timeout=0.5, stopping=LONG))
        self.assertEqual(caught.exception.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        # The server counts this as a deadline or a cancellation, because the client hangs up by its
        # own clock, maybe before the server does. Either way the request ends before it reaches its
        # length.
        self.daemon.wait_for_metric("whipsnake_requests_running", 0, model="demo")
        self.assertEqual(self.daemon.metric("whipsnake_requests_finished_total", **length), before)

    # --- errors -------------------------------------------------------------------------------

    def test_an_unknown_model_is_named(self):
        error = self.assert_fails(grpc.StatusCode.NOT_FOUND,
                                  lambda: self.client.generate(model="nobody"))
        resource = details_of(error)["ResourceInfo"]
        self.assertEqual((resource.resource_type, resource.resource_name), ("model", "nobody"))
        self.assert_fails(grpc.StatusCode.NOT_FOUND,
                          lambda: list(self.client.stream(model="nobody")))
        self.assert_fails(grpc.StatusCode.NOT_FOUND, lambda: self.client.models.GetModel(
            model_pb2.GetModelRequest(name="nobody")))

    BAD_PARAMETERS = [
        ("parameters.sampling.temperature", dict(temperature=-0.1)),
        ("parameters.sampling.temperature", dict(temperature=101)),
        ("parameters.sampling.temperature", dict(temperature=math.nan)),
        ("parameters.sampling.top_k", dict(top_k=-1)),
        ("parameters.sampling.top_p", dict(top_p=0)),
        ("parameters.sampling.top_p", dict(top_p=1.1)),
        ("parameters.sampling.min_p", dict(min_p=-0.1)),
        ("parameters.sampling.repetition_penalty", dict(repetition_penalty=0)),
        ("parameters.sampling.presence_penalty", dict(presence_penalty=math.inf)),
        ("parameters.sampling.frequency_penalty", dict(frequency_penalty=-101)),
        ("parameters.sampling.logit_bias", dict(logit_bias={1 << 30: 1.0})),
        ("parameters.sampling.logit_bias", dict(logit_bias={1: math.nan})),
        ("parameters.stopping.max_new_tokens", dict(stopping={"max_new_tokens": 0})),
        ("parameters.stopping.max_new_tokens", dict(stopping={"max_new_tokens": 1 << 30})),
        ("parameters.stopping.stop_texts", dict(stopping={"stop_texts": [""]})),
        ("parameters.stopping.stop_texts", dict(stopping={"stop_texts": ["x" * 257]})),
        ("parameters.stopping.stop_texts", dict(stopping={"stop_texts": ["x"] * 17})),
        ("parameters.stopping.stop_token_ids", dict(stopping={"stop_token_ids": [-1]})),
        ("parameters.output.logprobs", dict(output={"logprobs": 21})),
        ("parameters.output.logprobs", dict(output={"logprobs": -1})),
        ("parameters.request_id", dict(request_id="x" * 129)),
        ("parameters.text", dict(prompt="")),
        ("parameters.text", dict(prompt="word " * 40000)),
        ("parameters.token_ids", dict(prompt=[])),
        ("parameters.token_ids", dict(prompt=[5, -1])),
        ("parameters.token_ids", dict(prompt=[1 << 30])),
    ]

    def test_bad_parameters_are_named(self):
        for field, fields in self.BAD_PARAMETERS:
            for call in (self.client.generate, lambda **fields: list(self.client.stream(**fields))):
                with self.subTest(field=field, fields=str(fields)[:80]):
                    error = self.assert_fails(grpc.StatusCode.INVALID_ARGUMENT,
                                              lambda: call(**fields))
                    violation, = details_of(error)["BadRequest"].field_violations
                    self.assertTrue(violation.field.startswith(field), violation)
                    self.assertLessEqual(len(error.details()), 1024)

    def test_text_that_is_not_utf8_is_named(self):
        # The wire format: GenerateRequest.parameters (1) with text (2) of one invalid byte.
        call = self.client.channel.unary_unary("/whipsnake.v1.GenerationService/Generate")
        error = self.assert_fails(grpc.StatusCode.INVALID_ARGUMENT,
                                  lambda: call(b"\x0a\x03\x12\x01\xff"))
        violation, = details_of(error)["BadRequest"].field_violations
        self.assertEqual(violation.field, "parameters.text")

    # --- models -------------------------------------------------------------------------------

    def test_a_second_model_is_loaded_used_and_unloaded(self):
        harness.make_tiny_model(os.path.join(self.daemon.root, "tiny"))
        loaded = self.client.models.LoadModel(
            model_pb2.LoadModelRequest(name="second", path="tiny", scheme="bf16")).model
        self.assertEqual((loaded.name, loaded.state, loaded.scheme, loaded.architecture),
                         ("second", model_pb2.MODEL_STATE_READY, "bf16", "mamba"))
        self.assertGreater(loaded.weights_bytes, 0)
        self.assert_fails(grpc.StatusCode.ALREADY_EXISTS, lambda: self.client.models.LoadModel(
            model_pb2.LoadModelRequest(name="second", path="tiny")))
        names = [model.name for model in self.client.models.ListModels(
            model_pb2.ListModelsRequest()).models]
        self.assertEqual(names, ["demo", "second"])
        completion, = self.client.generate(
            model="second", stopping={"max_new_tokens": 3, "ignore_eos": True},
            output={"token_ids": True}).completions
        self.assertEqual(len(completion.token_ids), 3)
        self.client.models.UnloadModel(model_pb2.UnloadModelRequest(name="second"))
        self.assert_fails(grpc.StatusCode.NOT_FOUND,
                          lambda: self.client.generate(model="second"))

    def test_a_model_is_quantized_by_rpc_and_served(self):
        shutil.copytree(harness.demo_model(), os.path.join(self.daemon.root, "float"))
        texts = [case["prompt"] + case["text"] for case in self.reference["greedy"]]
        texts = [text + " " + other for text in texts for other in texts] * 4
        request = model_pb2.QuantizeModelRequest(
            path="float", output_path="int8", texts=texts, percentile=0.9999)
        created = self.client.models.QuantizeModel(request).quantization
        *states, last = [message.quantization for message in self.client.models.WatchQuantization(
            model_pb2.WatchQuantizationRequest(id=created.id), timeout=harness.PATIENCE)]
        fractions = [state.fraction for state in states] + [last.fraction]
        self.assertEqual(fractions, sorted(fractions))
        self.assertEqual(last.state, model_pb2.QUANTIZATION_STATE_SUCCEEDED, last.error)
        self.assertEqual(last.report.percentile, 0.9999)
        self.assertLess(last.report.quantized_bytes, 0.3 * last.report.float_bytes)
        self.assert_fails(grpc.StatusCode.ALREADY_EXISTS,
                          lambda: self.client.models.QuantizeModel(request))
        # The result equals what the command writes, although the server made it while serving.
        local = os.path.join(self.daemon.root, "local")
        file = local + ".jsonl"
        with open(file, "w", encoding="utf-8") as lines:
            lines.writelines(json.dumps({"text": text}) + "\n" for text in texts)
        made = harness.whipsnake("quantize", "--model", harness.demo_model(), "--calibration", file,
                                 "--percentile", "0.9999", "--out", local)
        self.assertEqual(made.returncode, 0, made.stderr)
        compared = filecmp.cmpfiles(local, os.path.join(self.daemon.root, "int8"),
                                    os.listdir(local), shallow=False)
        self.assertEqual(compared[1:], ([], []))  # no mismatch, no error

        loaded = self.client.models.LoadModel(model_pb2.LoadModelRequest(path="int8")).model
        self.addCleanup(self.client.models.UnloadModel,
                        model_pb2.UnloadModelRequest(name="int8"))
        self.assertEqual(loaded.scheme, "quamba-w8a8")
        # Rounding may change a word, but not all of them.
        text = self.client.generate(
            model="int8", prompt=self.greedy["prompt"], temperature=0,
            stopping={"max_new_tokens": 8, "ignore_eos": True}).completions[0].text
        self.assertEqual(text.split()[0], self.greedy["text"].split()[0])

    def test_a_path_outside_the_root_is_refused(self):
        for path in ("/etc", "../etc", "tiny/../../etc", ""):
            with self.subTest(path=path):
                error = self.assert_fails(
                    grpc.StatusCode.INVALID_ARGUMENT,
                    lambda: self.client.models.LoadModel(model_pb2.LoadModelRequest(path=path)))
                self.assertEqual(details_of(error)["BadRequest"].field_violations[0].field, "path")

    # --- the standard services, HTTP ----------------------------------------------------------

    def test_health(self):
        for service in ("", "model/demo"):
            response = self.client.health.Check(health_pb2.HealthCheckRequest(service=service))
            self.assertEqual(response.status, health_pb2.HealthCheckResponse.SERVING)
            watch = self.client.health.Watch(health_pb2.HealthCheckRequest(service=service))
            self.assertEqual(next(watch).status, health_pb2.HealthCheckResponse.SERVING)
            watch.cancel()
        with self.assertRaises(grpc.RpcError) as caught:
            self.client.health.Check(health_pb2.HealthCheckRequest(service="model/nobody"))
        self.assertEqual(caught.exception.code(), grpc.StatusCode.NOT_FOUND)

    def test_reflection(self):
        services = ["whipsnake.v1.GenerationService", "whipsnake.v1.ModelService",
                    "whipsnake.v1.AdminService"]
        requests = [reflection_pb2.ServerReflectionRequest(list_services="*")] + [
            reflection_pb2.ServerReflectionRequest(file_containing_symbol=name)
            for name in services]
        listed, *files = self.client.reflection.ServerReflectionInfo(iter(requests))
        names = {service.name for service in listed.list_services_response.service}
        self.assertLessEqual(set(services) | {"grpc.health.v1.Health"}, names)
        for name, answer in zip(services, files):
            described = set()
            for data in answer.file_descriptor_response.file_descriptor_proto:
                file = descriptor_pb2.FileDescriptorProto.FromString(data)
                described |= {f"{file.package}.{service.name}" for service in file.service}
            self.assertIn(name, described)

    def test_metrics_over_http_and_rpc(self):
        self.client.generate(stopping={"max_new_tokens": 2, "ignore_eos": True})
        self.daemon.wait_for_metric("whipsnake_requests_running", 0, model="demo")
        page = self.daemon.get("/metrics")
        text = self.client.admin.GetMetrics(admin_pb2.GetMetricsRequest()).text
        for name in ("whipsnake_build_info", "whipsnake_rpc_requests_total",
                     "whipsnake_requests_finished_total", "whipsnake_time_to_first_token_seconds",
                     "whipsnake_inter_token_latency_seconds", "whipsnake_generated_tokens_total",
                     "whipsnake_model_state", "whipsnake_weights_bytes"):
            self.assertIn(f"# HELP {name} ", page)
            self.assertIn(f"# TYPE {name} ", text)
        self.assertEqual(
            self.daemon.metric("whipsnake_model_state", model="demo", state="ready"), 1)
        self.assertEqual(self.daemon.get("/healthz").strip(), "ok")

    def test_server_info(self):
        info = self.client.admin.GetServerInfo(admin_pb2.GetServerInfoRequest())
        self.assertRegex(info.version, r"^\d+\.\d+\.\d+")
        self.assertIn(info.isa, ("scalar", "avx2", "avx512", "vnni", "amx"))
        self.assertGreater(info.threads, 0)
        self.assertGreater(info.memory_used_bytes, 0)
        self.assertFalse(info.draining)


class DrainTest(unittest.TestCase):
    def test_sigterm_lets_a_stream_finish_and_exits_with_0(self):
        daemon = harness.Daemon("--grace-period", str(harness.PATIENCE))
        self.addCleanup(daemon.close)
        client = Client(daemon.grpc)
        watch = client.health.Watch(health_pb2.HealthCheckRequest())
        self.assertEqual(next(watch).status, health_pb2.HealthCheckResponse.SERVING)
        tokens = 1000
        stream = client.stream(stopping={"max_new_tokens": tokens, "ignore_eos": True},
                               output={"token_ids": True})
        self.assertEqual(next(stream).WhichOneof("event"), "started")

        daemon.terminate()
        self.assertEqual(next(watch).status, health_pb2.HealthCheckResponse.NOT_SERVING)
        with self.assertRaises(grpc.RpcError) as caught:
            client.generate(stopping={"max_new_tokens": 1})
        self.assertEqual(caught.exception.code(), grpc.StatusCode.UNAVAILABLE)
        details = details_of(caught.exception)
        self.assertGreater(details["RetryInfo"].retry_delay.ToTimedelta().total_seconds(), 0)

        *deltas, last = stream
        self.assertEqual(sum(len(event.delta.token_ids) for event in deltas), tokens)
        self.assertEqual(last.finished.usage.generated_tokens, tokens)
        self.assertEqual(daemon.wait(), 0)
        client.channel.close()


class LoadedDrainTest(unittest.TestCase):
    """SIGTERM with more requests than may run: streams and unary calls, running and waiting."""

    REQUESTS = 12

    def start(self, tokens, grace):
        self.daemon = harness.Daemon("--max-running", "3", "--grace-period", str(grace))
        self.addCleanup(self.daemon.close)
        self.client = Client(self.daemon.grpc)
        self.addCleanup(self.client.channel.close)
        stopping = {"max_new_tokens": tokens, "ignore_eos": True}
        generate = generation_pb2.GenerateRequest(parameters=parameters(stopping=stopping))
        self.whole = [self.client.generation.Generate.future(generate, timeout=harness.PATIENCE)
                      for _ in range(self.REQUESTS // 2)]
        self.streams = [self.client.stream(stopping=stopping) for _ in range(self.REQUESTS // 2)]
        self.daemon.wait_for_metric("whipsnake_requests_running", 3, model="demo")
        self.daemon.wait_for_metric("whipsnake_requests_waiting", self.REQUESTS - 3, model="demo")

    def ends(self):
        """Returns how each request ended: None for OK, or the error."""
        ends = []
        for call in self.whole:
            ends.append(call.exception(timeout=harness.PATIENCE))
        for stream in self.streams:
            try:
                *_, last = stream
                self.assertEqual(last.WhichOneof("event"), "finished")
                ends.append(None)
            except grpc.RpcError as error:
                ends.append(error)
        return ends

    def test_what_was_accepted_finishes(self):
        self.start(tokens=60, grace=harness.PATIENCE)
        self.daemon.terminate()
        self.assertEqual(self.ends(), [None] * self.REQUESTS)
        self.assertEqual(self.daemon.wait(), 0)

    def test_what_outlasts_the_grace_period_is_told_so(self):
        self.start(tokens=16000, grace=1)
        self.daemon.terminate()
        for end in self.ends():
            self.assertEqual(end.code(), grpc.StatusCode.UNAVAILABLE)
            retry = details_of(end)["RetryInfo"].retry_delay.ToTimedelta()
            self.assertGreater(retry.total_seconds(), 0)
        self.assertEqual(self.daemon.wait(), 0)

    def test_a_second_signal_exits_at_once(self):
        self.start(tokens=16000, grace=10 * harness.PATIENCE)
        self.daemon.terminate()
        self.daemon.wait_for_metric("whipsnake_draining", 1)
        self.daemon.process.send_signal(signal.SIGINT)
        self.assertEqual(self.daemon.wait(), 128 + signal.SIGINT)  # long before the grace is over
        for end in self.ends():
            self.assertEqual(end.code(), grpc.StatusCode.UNAVAILABLE)


if __name__ == "__main__":
    harness.main(before_tests=import_stubs)
