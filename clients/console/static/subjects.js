// What a trend can be about: one signal with what stands beside it, or the sum of some. Pure.

import { value } from "./store.js";

/** Which signals stand beside one: what was measured and what the twin says of the same. */
export function companions(asset, name) {
  const signals = asset.signals;
  const chosen = signals[asset.index.get(name)];
  if (!chosen) return { measured: undefined, twin: undefined };
  if (chosen.compared_with) return { measured: chosen.compared_with, twin: name };
  const twin = signals.find((signal) => signal.compared_with === name);
  if (twin) return { measured: name, twin: twin.name };
  return chosen.source === "measured" ? { measured: name, twin: undefined } : { measured: undefined, twin: name };
}

/**
 * A subject: {asset, name, title, unit, measured, twin, sign, forecast}. `measured` and `twin` are lists of signals to be added,
 * `forecast` says whose series of which names tell the future; values are multiplied by `sign`.
 */
export function ofSignal(asset, name) {
  const { measured, twin } = companions(asset, name);
  const unit = asset.signals[asset.index.get(name)].display_unit;
  const names = [...new Set([name, twin, measured].filter(Boolean))];
  return {
    asset: asset.name, name, title: name.replace(/\/twin$/, ""), unit, sign: 1, forecast: { asset: asset.name, names },
    measured: measured ? [measured] : [], twin: twin ? [twin] : [],
  };
}

/** The heat of some units of a network, counted as demand or as supply. */
export function ofUnits(asset, title, units, sign) {
  const twin = units.map((unit) => `unit/${unit}/heat`).filter((name) => asset.index.has(name));
  return { asset: asset.name, name: `sum/${title}`, title, unit: "MW", sign, measured: [], twin, forecast: { asset: asset.name, names: twin.length === 1 ? twin : [] } };
}

/** The heat demand of all customers of a network, with its own forecast. */
export function ofDemand(asset, layout, title) {
  const customers = layout.links.filter(({ kind }) => kind === "consumer").map(({ name }) => name);
  return { ...ofUnits(asset, title, customers, -1), name: "demand", forecast: { asset: `${asset.name}/demand`, names: ["demand"] } };
}

/** The sum of the values of signals now, and its standard deviation if the parts do not depend on one another. */
export function now(asset, names) {
  let [sum, square] = [0, 0];
  for (const name of names) {
    sum += value(asset, name) ?? NaN;
    square += (asset.sd[asset.index.get(name)] ?? NaN) ** 2;
  }
  return { value: sum, sd: Math.sqrt(square) };
}
