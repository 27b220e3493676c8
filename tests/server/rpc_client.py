"""gRPC clients for the tests of the `whipsnake` binary, with stubs from the committed protos.

Uses only Debian packages: python3-grpcio, protobuf-compiler and protobuf-compiler-grpc. A test
that imports this module is skipped if they are missing.
"""
import glob
import os
import subprocess
import sys

import harness

SKIPPED = 77
PYTHON_PLUGIN = "/usr/bin/grpc_python_plugin"

try:
    import grpc
    import google.protobuf
except ImportError as missing:
    print(f"skipped: {missing}; apt-get install python3-grpcio python3-protobuf")
    sys.exit(SKIPPED)
if not os.path.exists(PYTHON_PLUGIN):
    print(f"skipped: no {PYTHON_PLUGIN}; apt-get install protobuf-compiler-grpc")
    sys.exit(SKIPPED)


def import_stubs():
    """Generates the stubs of all protos, makes them names of this module and returns them."""
    # One folder per test, because tests run in parallel.
    name = os.path.splitext(os.path.basename(sys.argv[0]))[0]
    stubs = os.path.join(harness.arguments.work, "stubs", name)
    os.makedirs(stubs, exist_ok=True)
    public = os.path.join(harness.arguments.source, "proto")
    tests = os.path.join(harness.arguments.source, "tests/server")
    protos = [os.path.relpath(path, public)
              for path in glob.glob(public + "/**/*.proto", recursive=True)] + ["reflection.proto"]
    subprocess.run(["protoc", "-I", public, "-I", tests, "--python_out=" + stubs,
                    "--grpc_python_out=" + stubs,
                    "--plugin=protoc-gen-grpc_python=" + PYTHON_PLUGIN, *protos], check=True)
    sys.path.append(stubs)
    os.environ["PYTHONPATH"] = stubs  # of scripts that a test runs
    # health.proto's package is grpc.health.v1, and `grpc` is a package already.
    grpc.__path__.append(os.path.join(stubs, "grpc"))

    from google.rpc import error_details_pb2, status_pb2
    from grpc.health.v1 import health_pb2, health_pb2_grpc
    from whipsnake.v1 import access_pb2
    from whipsnake.v1 import admin_pb2, admin_pb2_grpc
    from whipsnake.v1 import dataset_pb2, dataset_pb2_grpc
    from whipsnake.v1 import fine_tuning_pb2, fine_tuning_pb2_grpc
    from whipsnake.v1 import generation_pb2, generation_pb2_grpc
    from whipsnake.v1 import model_pb2, model_pb2_grpc
    from whipsnake.v1 import state_pb2, state_pb2_grpc
    import reflection_pb2
    import reflection_pb2_grpc
    modules = {name: value for name, value in locals().items() if name.split("_pb2")[0] != name}
    modules["grpc"] = grpc
    globals().update(modules)
    return modules


class Client:
    """The stubs of one server."""

    def __init__(self, address):
        self.channel = grpc.insecure_channel(address)
        self.generation = generation_pb2_grpc.GenerationServiceStub(self.channel)
        self.states = state_pb2_grpc.StateServiceStub(self.channel)
        self.datasets = dataset_pb2_grpc.DatasetServiceStub(self.channel)
        self.jobs = fine_tuning_pb2_grpc.FineTuningServiceStub(self.channel)
        self.models = model_pb2_grpc.ModelServiceStub(self.channel)
        self.admin = admin_pb2_grpc.AdminServiceStub(self.channel)
        self.health = health_pb2_grpc.HealthStub(self.channel)
        self.reflection = reflection_pb2_grpc.ServerReflectionStub(self.channel)


def details_of(error):
    """Returns the google.rpc details of a failed call by type; they must agree with its status."""
    trailers = dict(error.trailing_metadata())
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    assert status.code == error.code().value[0], status
    assert status.message == error.details(), status
    found = {}
    for detail in status.details:
        kind = getattr(error_details_pb2, detail.TypeName().rsplit(".", 1)[1])
        found[kind.DESCRIPTOR.name] = kind.FromString(detail.value)
    return found
