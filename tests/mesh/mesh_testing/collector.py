"""A collector of access log entries and spans, as a program: it writes what it is told to a file, a JSON object a line.

python -m mesh_testing.collector ADDRESS:PORT FILE
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any

import grpc
from envoy.service.accesslog.v3 import als_pb2
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

LOGS = "envoy.service.accesslog.v3.AccessLogService"
SPANS = "opentelemetry.proto.collector.trace.v1.TraceService"


class Collector:
    """Writes whole lines, each at once."""

    def __init__(self, file: Path) -> None:
        self._file = file.open("a", buffering=1)
        self._lock = Lock()

    def logs(self, messages: Any, _context: Any) -> als_pb2.StreamAccessLogsResponse:
        identifier: dict[str, Any] = {}
        for message in messages:
            if message.HasField("identifier"):
                identifier = _plain(message.identifier)
            for kind, entries in (("http", message.http_logs), ("tcp", message.tcp_logs)):
                for entry in entries.log_entry:
                    log = {"log": identifier["log_name"], "node": identifier["node"]["id"]}
                    self._write(log | {"kind": kind, "entry": _plain(entry)})
        return als_pb2.StreamAccessLogsResponse()

    def spans(self, request: Any, _context: Any) -> trace_service_pb2.ExportTraceServiceResponse:
        for resource in request.resource_spans:
            attributes = {one.key: one.value.string_value for one in resource.resource.attributes}
            # `scope_spans` of today; these stubs are of an older version, with the same numbers on the wire.
            for scope in resource.instrumentation_library_spans:
                for span in scope.spans:
                    told = {
                        "trace": span.trace_id.hex(),
                        "span": span.span_id.hex(),
                        "parent": span.parent_span_id.hex(),
                        "name": span.name,
                        "side": span.SpanKind.Name(span.kind),
                        "took": span.end_time_unix_nano - span.start_time_unix_nano,
                        "attributes": {one.key: one.value.string_value for one in span.attributes},
                    }
                    self._write({"kind": "span", "resource": attributes, "span": told})
        return trace_service_pb2.ExportTraceServiceResponse()

    def _write(self, value: dict[str, Any]) -> None:
        with self._lock:
            self._file.write(json.dumps(value) + "\n")


def _plain(message: Any) -> dict[str, Any]:
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def main() -> None:
    address, file = sys.argv[1:]
    collector = Collector(Path(file))
    server = grpc.server(ThreadPoolExecutor(16))
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(
                LOGS,
                {
                    "StreamAccessLogs": grpc.stream_unary_rpc_method_handler(
                        collector.logs,
                        als_pb2.StreamAccessLogsMessage.FromString,
                        als_pb2.StreamAccessLogsResponse.SerializeToString,
                    )
                },
            ),
            grpc.method_handlers_generic_handler(
                SPANS,
                {
                    "Export": grpc.unary_unary_rpc_method_handler(
                        collector.spans,
                        trace_service_pb2.ExportTraceServiceRequest.FromString,
                        trace_service_pb2.ExportTraceServiceResponse.SerializeToString,
                    )
                },
            ),
        )
    )
    server.add_insecure_port(address)
    server.start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
