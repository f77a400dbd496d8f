"""Generated protobuf and gRPC stubs; `make protos` writes them, a test compares them."""
