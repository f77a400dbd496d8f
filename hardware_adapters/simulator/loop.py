"""The loop between a factory and the exchanger or heat pump that takes its heat, in truth."""

from uem.hardware_adapters.simulator.factory import FactoryTruth
from uem.hardware_adapters.simulator.truth import NetworkTruth
from uem.twin_core.plant.factory import HeatStream

_TEMPERATURE = {"stream_temp_k": "heat_j", "source_temp_k": "source_heat_j"}  # command of the unit, what it takes


class Loop:
    """One well mixed content: content dT/dt = given by the stream - taken by the unit - recooled."""

    def __init__(self, factory: FactoryTruth, stream: HeatStream, network: NetworkTruth) -> None:
        assert stream.loop is not None
        self._factory, self._name, self._loop, self._network = factory, stream.name, stream.loop, network
        commands = network.inputs.unit_commands[stream.loop.unit]
        self._command = next(name for name in _TEMPERATURE if name in commands)
        self._limits = {utility.name: utility.limit for utility in factory.site.factory.utilities}
        self._is_hot = False
        self.temp_k = stream.loop.temp_k
        self.recooled_j = 0.0  # so far: what the stream gave and neither the unit took nor the content holds

    def step(self, dt_s: float) -> None:
        """What was given and taken in the last step warms it; the unit finds the new temperature in its next one."""
        loop = self._loop
        heat_j = (self._factory.heat_w()[self._name] * dt_s) - self._taken_j()
        temp_k = self.temp_k + heat_j / loop.content_j_k
        above_j = loop.content_j_k * (temp_k - loop.recool_temp_k)
        recooled_j = min(max(above_j, 0.0), loop.recool_w * dt_s)
        self.recooled_j += recooled_j
        self.temp_k = temp_k - recooled_j / loop.content_j_k
        self._network.inputs.unit_commands[loop.unit][self._command][:] = self.temp_k
        self._warn()

    def _taken_j(self) -> float:
        return self._network.taken_j(self._loop.unit, _TEMPERATURE[self._command])

    def _warn(self) -> None:
        """Too warm, it cools what it should no more."""
        loop = self._loop
        was_hot = self._is_hot
        self._is_hot = self.temp_k > (loop.clear_temp_k if was_hot else loop.alarm_temp_k)
        if loop.utility and self._is_hot != was_hot:
            self._factory.set_limit(loop.utility, loop.alarm_limit if self._is_hot else self._limits[loop.utility])
