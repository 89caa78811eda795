"""metadata_server.py PORT FILE: stands in for ML Metadata's gRPC server, which no package registry has.

The store is the real one: the C++ library in the `ml-metadata` wheel, here behind the service's real protocol.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from concurrent import futures
from typing import Any

import grpc
from ml_metadata.metadata_store.pywrap.metadata_store_extension import metadata_store
from ml_metadata.proto import metadata_store_pb2 as pb
from ml_metadata.proto import metadata_store_service_pb2 as service
from ml_metadata.proto import metadata_store_service_pb2_grpc as service_grpc


def method(store: Any, lock: threading.Lock, name: str, response: Any) -> Callable[..., Any]:
    def call(self: Any, request: Any, context: grpc.ServicerContext) -> Any:
        with lock:
            reply, message, code = getattr(metadata_store, name)(store, request.SerializeToString())
        if code:
            context.abort(next(status for status in grpc.StatusCode if status.value[0] == code), message)
        return response.FromString(reply)

    return call


def main(port: str, file: str) -> None:
    config = pb.ConnectionConfig()
    config.sqlite.filename_uri = file
    config.sqlite.connection_mode = pb.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
    store = metadata_store.CreateMetadataStore(config.SerializeToString(), pb.MigrationOptions().SerializeToString())
    lock = threading.Lock()
    methods = {
        each.name: method(store, lock, each.name, getattr(service, each.output_type.name))
        for each in service.DESCRIPTOR.services_by_name["MetadataStoreService"].methods
        if hasattr(metadata_store, each.name)
    }
    server = grpc.server(futures.ThreadPoolExecutor(8))
    servicer = type("Servicer", (service_grpc.MetadataStoreServiceServicer,), methods)()
    service_grpc.add_MetadataStoreServiceServicer_to_server(servicer, server)
    server.add_insecure_port(f"0.0.0.0:{port}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main(*sys.argv[1:])
