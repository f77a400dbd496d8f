"""The contract. Sources and generated stubs live in `uem/v1` and import as `uem.v1.*_pb2`."""

raise ImportError("import uem.v1.twin_pb2 (and so on), not protos")
