"""Generated gRPC code; `scripts/protocols` makes it again from the .proto files beside it."""
