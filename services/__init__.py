"""Processes around the core: wiring, tasks, time, storage."""

if __name__ != "uem.services":  # a second copy under a bare name would register every metric twice
    raise ImportError("import uem.services, not services")
