"""Field protocols: one adapter per protocol, the gateway that runs them, plants to try them on."""

if __name__ != "uem.hardware_adapters":  # a second copy under a bare name would register every metric twice
    raise ImportError("import uem.hardware_adapters, not hardware_adapters")
