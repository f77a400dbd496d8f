"""What people use. Speaks gRPC only, never imports the core."""

if __name__ != "uem.clients":  # a second copy under a bare name would register every metric twice
    raise ImportError("import uem.clients, not clients")
