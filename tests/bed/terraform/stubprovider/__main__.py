"""Serve the stub: ``python -m tests.bed.terraform.stubprovider`` prints a line for TF_REATTACH_PROVIDERS and serves.

It serves until its standard input ends, so that it cannot outlive the test that started it. Its environment:

- ``DIGITALOCEAN_API_URL``, ``DIGITALOCEAN_TOKEN``: where Droplets are created, and as whom.
- ``SSL_CERT_FILE``: the CA of that API, if it is a test's own (Python's ssl reads it).
- ``STUB_SPACES``: a folder that stands for Spaces; objects lie in it at BUCKET/KEY.
- ``STUB_STORE``: the socket of a ``tests.bed.shared.desk``, where buckets and keys are to be real as well.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
from tf.gen import grpc_controller_pb2 as controller
from tf.gen import grpc_controller_pb2_grpc as controller_rpc
from tf.gen import grpc_stdio_pb2_grpc as stdio_rpc
from tf.gen import tfplugin_pb2_grpc as rpc
from tf.iface import Provider
from tf.provider import ProviderServicer
from tf.schema import Attribute, Schema
from tf.types import String, Unknown
from tf.utils import ExtType, read_dynamic_value, to_dynamic_value

from tests.bed.terraform.stubprovider.resources import RESOURCES, Base, sha1

SOURCE = "digitalocean/digitalocean"


def plainly_unknown(state: dict[str, Any] | None) -> dict[str, Any] | None:
    """Forget what Terraform knows of values that it does not know yet, such as how user_data will begin.

    It sends that as an extension of msgpack's that ``tf`` would hand back, and hold a plan with a hash to it.
    """
    return {key: Unknown if isinstance(value, ExtType) else value for key, value in state.items()} if state else state


class StubProvider(Provider):  # type: ignore[misc] # tf ships no types
    """The provider itself; it reads DIGITALOCEAN_TOKEN as the real one does when `token` is not set."""

    def get_model_prefix(self) -> str:
        return "digitalocean_"

    def full_name(self) -> str:
        return SOURCE

    def get_provider_schema(self, diags: Any) -> Schema:
        return Schema(attributes=[Attribute("token", String(), optional=True, sensitive=True)])

    def validate_config(self, diags: Any, config: Any) -> None:
        pass

    def configure_provider(self, diags: Any, config: Any) -> None:
        if config.get("token"):
            diags.add_error("The stub takes its token from DIGITALOCEAN_TOKEN only")

    def get_data_sources(self) -> list[Any]:
        return []

    def get_resources(self) -> list[type[Base]]:
        return RESOURCES


class Servicer(ProviderServicer):  # type: ignore[misc]
    """Treats user_data as the provider's SDK does: planned and kept as its SHA-1, sent as it is in the configuration.

    That a plan differs from the configuration is allowed to SDKs of the first generation only, which say so
    (``legacy_type_system``, in the comments of Terraform's tfplugin6.proto).
    """

    def PlanResourceChange(self, request: Any, context: Any) -> Any:  # noqa: N802 (gRPC's name)
        proposed = plainly_unknown(read_dynamic_value(request.proposed_new_state))
        request.proposed_new_state.CopyFrom(to_dynamic_value(proposed))
        if proposed and isinstance(proposed.get("user_data"), str):
            prior = read_dynamic_value(request.prior_state) or {}
            # Unchanged, or put back by ignore_changes: that is the hash already (the provider's DiffSuppressFunc).
            if proposed["user_data"] != prior.get("user_data"):
                proposed["user_data"] = sha1(proposed["user_data"])
                request.proposed_new_state.CopyFrom(to_dynamic_value(proposed))
        response = super().PlanResourceChange(request, context)
        response.legacy_type_system = True
        return response

    def ApplyResourceChange(self, request: Any, context: Any) -> Any:  # noqa: N802
        config = read_dynamic_value(request.config) or {}
        planned = read_dynamic_value(request.planned_state)
        user_data = config.get("user_data")
        if planned and isinstance(user_data, str):
            planned["user_data"] = user_data
            request.planned_state.CopyFrom(to_dynamic_value(planned))
        response = super().ApplyResourceChange(request, context)
        state = read_dynamic_value(response.new_state)
        if state and isinstance(user_data, str):
            state["user_data"] = sha1(user_data)
            response.new_state.CopyFrom(to_dynamic_value(state))
        response.legacy_type_system = True
        return response


class Controller(controller_rpc.GRPCControllerServicer):  # type: ignore[misc]
    """go-plugin's goodbye. A reattached provider outlives the Terraform that says it."""

    def Shutdown(self, request: Any, context: Any) -> Any:  # noqa: N802
        return controller.Empty()


class Stdio(stdio_rpc.GRPCStdioServicer):  # type: ignore[misc]
    """go-plugin's wish to read our standard output: there is none."""

    def StreamStdio(self, request: Any, context: Any) -> Any:  # noqa: N802
        return iter(())


def main() -> None:
    """Serve until standard input ends."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
    rpc.add_ProviderServicer_to_server(Servicer(StubProvider()), server)
    controller_rpc.add_GRPCControllerServicer_to_server(Controller(), server)
    stdio_rpc.add_GRPCStdioServicer_to_server(Stdio(), server)
    with tempfile.TemporaryDirectory() as folder:
        socket = Path(folder) / "provider.sock"
        server.add_insecure_port(f"unix://{socket}")
        server.start()
        reattach = {
            SOURCE: {
                "Protocol": "grpc",
                "ProtocolVersion": 6,
                "Pid": os.getpid(),
                "Test": True,
                "Addr": {"Network": "unix", "String": str(socket)},
            }
        }
        print(json.dumps(reattach), flush=True)
        sys.stdin.read()
        server.stop(grace=None).wait()


if __name__ == "__main__":
    main()
