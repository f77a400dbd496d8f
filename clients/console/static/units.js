// SI values as people read them.

const OFFSETS = { Cel: -273.15 };
const SCALES = { kW: 1e-3, MW: 1e-6, kWh: 1 / 3.6e6, MWh: 1 / 3.6e9, bar: 1e-5, "1/h": 3600, mm: 1e3, "m3/h": 3600, h: 1 / 3600, min: 1 / 60, "%": 100 };
const NAMES = { Cel: "°C", "m3/h": "m³/h", 1: "" };
const QUALITY_SIGNS = { good: "●", uncertain: "◐", bad: "✕" };
const SPREAD_NAMES = { Cel: "K" };

/** A value in its display unit. */
export function shown(value, unit) {
  return value * (SCALES[unit] ?? 1) + (OFFSETS[unit] ?? 0);
}

/** A spread in the display unit, which has no zero point. */
export function shownSpread(value, unit) {
  return value * (SCALES[unit] ?? 1);
}

export function unitName(unit) {
  return NAMES[unit] ?? unit;
}

/** A number with about four digits; a dash for what is not known. */
export function number(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size < 5e-4) return "0";
  return value.toFixed(size >= 1000 ? 0 : size >= 100 ? 1 : size >= 1 ? 2 : 3);
}

/** Watts as kW or MW. */
export function power(watts) {
  return Math.abs(watts) >= 1e6 ? `${number(watts / 1e6)} MW` : `${number(watts / 1e3)} kW`;
}

/** Seconds as a person says them. */
export function span(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

/** A time in UTC: 2026-01-12 05:00:10. */
export function time(ms) {
  return Number.isFinite(ms) ? new Date(ms).toISOString().replace("T", " ").slice(0, 19) : "–";
}

/** "good", "uncertain" or "bad" of an OPC UA StatusCode. */
export function quality(status) {
  return ["good", "uncertain", "bad", "bad"][status >>> 30];
}

/** A quality with a sign of its own, so that it needs no colour. */
export function mark(name, word) {
  return `${QUALITY_SIGNS[name]} ${word(name)}`;
}

/** The value of a reading with its unit, or the name of its state. */
export function text({ signal, value }) {
  const state = signal.state_names[String(value)];
  return state ?? `${number(shown(value, signal.display_unit))} ${unitName(signal.display_unit)}`.trimEnd();
}

/** The value of a reading with its standard deviation, where it is known: 68.82 ± 2.02 °C. */
export function withSpread(reading) {
  const { signal, value, sd } = reading;
  if (signal.state_names[String(value)] || !Number.isFinite(sd)) return text(reading);
  const unit = signal.display_unit;
  return `${number(shown(value, unit))} ± ${number(shownSpread(sd, unit))} ${unitName(unit)}`.trimEnd();
}

/** The standard deviation of a reading; empty where it is not known. */
export function spreadText({ signal, value, sd }) {
  if (signal.state_names[String(value)] || !Number.isFinite(sd)) return "";
  const unit = signal.display_unit;
  return `± ${number(shownSpread(sd, unit))} ${SPREAD_NAMES[unit] ?? unitName(unit)}`.trimEnd();
}
