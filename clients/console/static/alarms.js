// What wants to be looked at: alarms of the plants, what the twins find, and who is not well.

import { element } from "./dom.js";
import { doing, machines } from "./factories.js";
import { value } from "./store.js";
import { mark, span, time } from "./units.js";
import { word } from "./words.js";

export const SIGNS = { high: "▲", medium: "◆", low: "●" };
const OFF_BY = 4; // standard deviations of a twin, from which a measurement is told
const BIASED_K = 2; // more than a sensor of class B may show wrong, and than the model of a settled twin mostly does
const MOST = 40;
const SHOWS_THE_ROOM = 0x40930000; // UncertainSensorNotAccurate: no water passes the sensor, or has for less than an hour

/**
 * What the state of an asset tells of: alarms of loops, producers that do not answer, machines that are down, a twin that is out of
 * step. Of what one of the `alarms` of the plants tells as well nothing is told twice. Pure.
 */
export function findings(asset, alarms = []) {
  const found = [];
  asset.signals.forEach(({ name, state_names: states }, row) => {
    const unit = /^unit\/(.+)\/answers$/.exec(name)?.[1];
    if (unit && asset.value[row] === 0 && !alarms.some(({ source }) => source === unit)) found.push({ priority: "high", source: asset.name, text: `${unit} ${word("answers_not")}` });
    if (!(asset.value[row] > 0)) return;
    if (name.endsWith("/alarm")) found.push({ priority: "high", source: asset.name, text: `${name.slice(0, -6)} ${states["1"] ?? ""}` });
    else if (name === "parted") found.push({ priority: "low", source: asset.name, text: word("parted") });
  });
  for (const { name, state } of machines(asset)) {
    const { text, kind } = doing(asset, state);
    if (kind === "down" && !alarms.some(({ plant, source }) => plant === asset.name && source === name)) found.push({ priority: "medium", source: asset.name, text: `${name} ${text}` });
  }
  return found;
}

/**
 * How many measurements of an asset are held against its twin, how many are far off, and how many are not good. Those that the twin
 * follows against its own model, so that no deviation is left, are among `off` by their bias, `biasK`. Pure.
 */
export function deviations(asset) {
  const found = { compared: 0, off: [], doubtful: 0, bad: 0, measured: 0 };
  asset.signals.forEach((signal, row) => {
    if (signal.source === "measured") {
      found.measured += 1;
      const severity = asset.quality[row] >>> 30;
      if (severity === 1) found.doubtful += 1;
      else if (severity > 1) found.bad += 1;
    }
    const biasK = asset.value[row];
    if (signal.name.endsWith("/temperature/bias") && asset.quality[row] >>> 30 < 2 && Math.abs(biasK) > Math.max(BIASED_K, asset.sd[row])) {
      found.off.push({ name: signal.name, by: Math.abs(biasK) / asset.sd[row], biasK });
    }
    if (!signal.compared_with || Object.keys(signal.state_names).length > 0) return;
    found.compared += 1;
    if (asset.quality[asset.index.get(signal.compared_with)] === SHOWS_THE_ROOM) return;
    const by = Math.abs(asset.value[row] - value(asset, signal.compared_with)) / asset.sd[row];
    if (by > OFF_BY) found.off.push({ name: signal.name, by });
  });
  found.off.sort((a, b) => b.by - a.by);
  return found;
}

export class Alarms {
  /** `choose(asset, signal)` when a deviation is clicked. */
  constructor(list, health, choose) {
    Object.assign(this, { list, health, choose, watch: null });
  }

  /** Count of what is active and the worst priority of it: {count, worst}. */
  update(assets, plantMs) {
    const alarms = this.watch?.alarms ?? [];
    const rows = alarms.map((alarm) => ({ ...alarm, source: `${alarm.plant} ${alarm.source}` }));
    const hidden = Math.max((this.watch?.active ?? 0) - rows.length, 0);
    rows.push(...assets.flatMap((asset) => findings(asset, alarms)));
    const off = assets.flatMap((asset) => deviations(asset).off.map((each) => ({ ...each, asset: asset.name })));
    const key = JSON.stringify([rows, off.map(({ name }) => name), Math.round(plantMs / 15e3)]);
    if (key !== this.key) {
      this.key = key;
      this.write(rows, hidden, off, plantMs);
    }
    const worst = ["high", "medium", "low"].find((priority) => rows.some((row) => row.priority === priority));
    return { count: rows.length + hidden, worst };
  }

  write(rows, hidden, off, plantMs) {
    const lines = rows.slice(0, MOST).map(({ priority, source, text, since_ms: since }) => element("li", { className: priority },
      element("b", {}, `${SIGNS[priority] ?? "●"} ${word(priority)} `), `${source}: ${text}`,
      element("small", {}, since ? ` ${word("since")} ${time(since)} (${span((plantMs - since) / 1e3)})` : "")));
    const more = hidden + Math.max(rows.length - MOST, 0);
    if (more > 0) lines.push(element("li", {}, `+ ${more}`));
    if (lines.length === 0) lines.push(element("li", { className: "none" }, `✓ ${word("no_alarms")}`));
    for (const { asset, name, by, biasK } of off.slice(0, 6)) {
      const button = element("button", { type: "button" }, `${name}`);
      button.addEventListener("click", () => this.choose(asset, name));
      const told = biasK === undefined ? `${by.toFixed(1)} σ` : `${biasK > 0 ? "+" : ""}${biasK.toFixed(1)} K`;
      lines.push(element("li", { className: "off" }, "≠ ", button, element("small", {}, ` ${told}`)));
    }
    this.list.replaceChildren(...lines);
  }

  /** Take what the console says of alarms and health. */
  take(watch) {
    this.watch = watch;
    const rows = watch.health.map(({ name, kind, is_well: isWell, says }) => element("li", { className: isWell ? "good" : "bad" },
      `${mark(isWell ? "good" : "bad", () => "")}${name} `, element("small", {}, [word(kind), says].filter(Boolean).join(": "))));
    this.health.replaceChildren(...rows);
  }
}
