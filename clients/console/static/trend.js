// One subject over time: measured, twin with its band, forecast with its band.

import uPlot from "./vendor/uplot.js";
import { css } from "./colours.js";
import { number, shown, shownSpread, unitName } from "./units.js";
import { word } from "./words.js";

const SIGMAS = 1.2816; // of a band from P10 to P90
const MOST_POINTS = 1800;
const HEIGHT = 270;
/** How far a trend looks back and ahead, in s, and how far its points are apart. */
export const RANGES = { short: { backS: 1800, aheadS: 1800, everyMs: 0 }, long: { backS: 86400, aheadS: 86400, everyMs: 120e3 } };

/**
 * Columns for a chart, on one axis of time: [time s, measured, twin, low, high, forecast, low, high], display units.
 * `forecast` has time_ms, value and quantile (rows of [lowest, ..., highest]); both others time_ms, value, standard_deviation.
 */
export function columns({ measured, twin, forecast }, unit, sign = 1) {
  const points = new Map();
  const row = (ms) => {
    if (!points.has(ms)) points.set(ms, [ms / 1e3, null, null, null, null, null, null, null]);
    return points.get(ms);
  };
  const shownOr = (value) => (Number.isFinite(value) ? shown(value, unit) : null);
  measured?.time_ms.forEach((ms, i) => { row(ms)[1] = shownOr(sign * measured.value[i]); });
  twin?.time_ms.forEach((ms, i) => {
    const [at, value, spread] = [row(ms), shownOr(sign * twin.value[i]), SIGMAS * shownSpread(twin.standard_deviation[i] ?? NaN, unit)];
    at[2] = value;
    if (value !== null && Number.isFinite(spread)) [at[3], at[4]] = [value - spread, value + spread];
  });
  forecast?.time_ms.forEach((ms, i) => {
    const at = row(ms);
    at[5] = shownOr(forecast.value[i]);
    at[6] = shownOr(forecast.quantile[i][0]);
    at[7] = shownOr(forecast.quantile[i].at(-1));
  });
  const sorted = [...points.values()].sort((a, b) => a[0] - b[0]);
  return Array.from({ length: 8 }, (_, i) => sorted.map((each) => each[i]));
}

/** What of a forecast lies ahead by no more than so many seconds. */
export function within(forecast, endMs) {
  if (!forecast) return undefined;
  const count = forecast.time_ms.filter((ms) => ms <= endMs).length;
  return { ...forecast, time_ms: forecast.time_ms.slice(0, count), value: forecast.value.slice(0, count), quantile: forecast.quantile.slice(0, count) };
}

/** Day and hour of a second. */
function clock(s) {
  return new Date(s * 1e3).toISOString().slice(s % 86400 === 0 ? 5 : 11, s % 86400 === 0 ? 10 : s % 60 === 0 ? 16 : 19);
}

export class TrendChart {
  constructor(parent) {
    this.parent = parent;
    this.chart = null;
    this.parts = {};
    this.range = RANGES.short;
    new ResizeObserver(() => this.chart?.setSize({ width: parent.clientWidth, height: HEIGHT })).observe(parent);
  }

  /** Show a subject: parts {measured, twin, forecast}, each as in `columns` or undefined. */
  show(subject, parts, range) {
    Object.assign(this, { subject, parts, range });
    this.build();
  }

  build() {
    if (!this.subject) return;
    const { unit } = this.subject;
    this.chart?.destroy();
    const figure = (_, v) => (v === null ? "–" : number(v));
    const line = (label, colour, more = {}) => ({ label, stroke: colour, width: 1.6, spanGaps: true, points: { show: false }, value: figure, ...more });
    const hidden = { stroke: "transparent", points: { show: false }, spanGaps: true, value: figure };
    const axis = { stroke: css("--faint"), grid: { stroke: css("--line"), width: 0.5 }, ticks: { stroke: css("--line") } };
    this.chart = new uPlot({
      width: this.parent.clientWidth || 600,
      height: HEIGHT,
      axes: [{ ...axis, space: 80, values: (_, ticks) => ticks.map(clock) }, { ...axis, label: unitName(unit) || undefined, labelSize: 22, size: 56 }],
      tzDate: (s) => uPlot.tzDate(new Date(s * 1e3), "Etc/UTC"),
      series: [
        { label: "UTC", value: (_, s) => (s === null ? "–" : clock(s)) },
        line(word("measured"), css("--ink"), { width: 2 }),
        line(word("twin"), css("--chosen")),
        { ...hidden, label: `${word("twin")} P10` },
        { ...hidden, label: `${word("twin")} P90` },
        line(word("forecast"), css("--ahead"), { dash: [6, 4] }),
        { ...hidden, label: `${word("forecast")} −` },
        { ...hidden, label: `${word("forecast")} +` },
      ],
      bands: [{ series: [4, 3], fill: css("--band") }, { series: [7, 6], fill: css("--band-ahead") }],
      legend: { live: true },
    }, this.columns(), this.parent);
  }

  columns() {
    const newest = Math.max(this.parts.measured?.time_ms.at(-1) ?? 0, this.parts.twin?.time_ms.at(-1) ?? 0);
    const forecast = within(this.parts.forecast, newest + 1e3 * this.range.aheadS);
    return columns({ ...this.parts, forecast }, this.subject.unit, this.subject.sign);
  }

  /** One more point of what is shown: {value, sd}. */
  add(plantMs, measured, twin) {
    for (const [part, { value, sd }] of [[this.parts.measured, measured], [this.parts.twin, twin]]) {
      if (!part || part.time_ms.at(-1) >= plantMs) continue;
      // The newest point moves until it is far enough from the one before.
      const isOver = part.time_ms.length > 1 && plantMs < part.time_ms.at(-2) + this.range.everyMs;
      if (isOver) for (const column of Object.values(part)) column.pop();
      part.time_ms.push(plantMs);
      part.value.push(value);
      part.standard_deviation.push(sd);
      const isOld = part.time_ms.length > MOST_POINTS || part.time_ms[0] < plantMs - 1e3 * this.range.backS;
      if (isOld) for (const column of Object.values(part)) column.shift();
    }
  }

  redraw() {
    if (this.chart) this.chart.setData(this.columns());
  }
}
