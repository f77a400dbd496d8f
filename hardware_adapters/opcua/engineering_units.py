"""Units as OPC UA names them: the codes of UN/CEFACT Recommendation 20 (OPC 10000-8, 5.6.3)."""

from asyncua import ua

_NAMESPACE = "http://www.opcfoundation.org/UA/units/un/cefact"

# UCUM: (common code, what people write, name)
_UNITS = {
    "K": ("KEL", "K", "kelvin"),
    "Cel": ("CEL", "\u00b0C", "degree Celsius"),
    "Pa": ("PAL", "Pa", "pascal"),
    "kPa": ("KPA", "kPa", "kilopascal"),
    "bar": ("BAR", "bar", "bar"),
    "kg/s": ("KGS", "kg/s", "kilogram per second"),
    "kg/h": ("E93", "kg/h", "kilogram per hour"),
    "t/h": ("E18", "t/h", "tonne per hour"),
    "W": ("WTT", "W", "watt"),
    "kW": ("KWT", "kW", "kilowatt"),
    "MW": ("MAW", "MW", "megawatt"),
    "J": ("JOU", "J", "joule"),
    "kJ": ("KJO", "kJ", "kilojoule"),
    "kWh": ("KWH", "kW\u00b7h", "kilowatt hour"),
    "MWh": ("MWH", "MW\u00b7h", "megawatt hour (1000 kW.h)"),
    "s": ("SEC", "s", "second [unit of time]"),
    "min": ("MIN", "min", "minute [unit of time]"),
    "h": ("HUR", "h", "hour"),
    "m": ("MTR", "m", "metre"),
    "mm": ("MMT", "mm", "millimetre"),
    "km": ("KMT", "km", "kilometre"),
    "m3": ("MTQ", "m\u00b3", "cubic metre"),
    "1": ("C62", "", "one"),
    "%": ("P1", "%", "percent"),
    "1/s": ("C97", "s\u207b\u00b9", "reciprocal second"),
    "1/h": ("H10", "1/h", "reciprocal hour"),
}
_UNIT_OF_ID = {int.from_bytes(code.encode("ascii"), "big"): unit for unit, (code, _, _) in _UNITS.items()}

WATT_HOUR = ua.EUInformation(
    _NAMESPACE, int.from_bytes(b"WHR", "big"), ua.LocalizedText("W\u00b7h"), ua.LocalizedText("watt hour")
)


def engineering_units(unit: str) -> ua.EUInformation:
    """The EUInformation of a UCUM unit; one without a code has the id -1 and its UCUM name."""
    code, shown, name = _UNITS.get(unit, ("", unit, unit))
    number = int.from_bytes(code.encode("ascii"), "big") if code else -1
    return ua.EUInformation(_NAMESPACE, number, ua.LocalizedText(shown), ua.LocalizedText(name))


def unit_of(found: object) -> str | None:
    """The UCUM unit that an EUInformation says; None when it is none of this table."""
    if not isinstance(found, ua.EUInformation) or found.NamespaceUri != _NAMESPACE:
        return None
    return _UNIT_OF_ID.get(found.UnitId)
