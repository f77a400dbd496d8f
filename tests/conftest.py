"""What holds for every test."""

from hypothesis import HealthCheck, settings

# An example that is slow is not wrong: how long it takes depends on what else the machine does.
settings.register_profile("uem", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("uem")
