// What is known of a thing of a network, such as a station: its quantities, measured beside what the twin says. Pure.

import { reading, row } from "./store.js";
import { span, text, withSpread } from "./units.js";
import { placed, word } from "./words.js";

/** A link or a node of a layout by {kind, name}; undefined when it is not there. */
export function find(layout, { kind, name }) {
  return kind === "node" ? layout.nodes.find((node) => node.name === name) : layout.links.find((link) => link.name === name);
}

/**
 * Quantities of a thing in the order in which they tell: [{label, measured, twin}] with names of signals, of which one may be
 * undefined. Of a station or producer also the temperatures where it takes and gives water.
 */
export function quantities(asset, layout, thing) {
  const found = find(layout, thing);
  const own = under(asset, `${thing.kind}/${thing.name}/`);
  if (!found || thing.kind === "node") return own;
  const isCustomer = found.kind === "consumer";
  const ends = [[found.start, isCustomer ? "supply" : "inlet"], [found.end, isCustomer ? "return" : "outlet"]];
  const places = thing.kind === "pipe" ? [[found.start, "inlet"], [found.end, "outlet"]] : ends;
  const all = [...own, ...places.flatMap(([node, where]) => under(asset, `node/${node}/`, where))];
  return [...all.filter(isFirst), ...all.filter((each) => !isFirst(each))];
}

/** Whether a quantity is of the plant, not of how the twin sees it. */
function isFirst({ measured, twin }) {
  return !/\/(energy|bias|fouling)$/.test(twin ?? measured);
}

/** Quantities whose signals begin with a prefix; `where` says of which end they are. */
function under(asset, prefix, where) {
  const signals = asset.signals.filter(({ name }) => name.startsWith(prefix));
  const held = new Set(signals.map((signal) => signal.compared_with).filter(Boolean));
  return signals.filter(({ name }) => !held.has(name)).map((signal) => {
    const words = signal.name.slice(prefix.length).replace(/\/twin$/, "").split("/").map(word);
    const label = where ? placed(words.join(" "), word(where)) : words.join(" ");
    if (signal.source === "measured") return { label, measured: signal.name, twin: undefined };
    return { label, measured: signal.compared_with || undefined, twin: signal.name };
  });
}

/** Whose heat a unit takes, as a text; empty when it is no factory's. */
export function origin(link) {
  return link?.heat_from?.length > 0 ? `${word("heat_from")} ${link.heat_from.join(", ")}` : "";
}

/** The signal that tells most of a thing: of a customer the temperature that it gets, of others the heat or the flow. */
export function firstSignal(asset, layout, thing) {
  const found = find(layout, thing);
  const names = thing.kind === "node" ? [] : found?.kind === "consumer" ? [`node/${found.start}/temperature/twin`] : [];
  names.push(`unit/${thing.name}/heat`, `pipe/${thing.name}/flow`, `node/${thing.name}/temperature/twin`, `node/${thing.name}/temperature`);
  return names.find((name) => row(asset, name) !== undefined);
}

/** A few lines on a thing: name, what it is, and its first quantities with deviation, quality and age. */
export function summary(asset, layout, thing, most = 4) {
  const found = find(layout, thing);
  const what = [];
  if (found?.unit_type) what.push(...[word(found.unit_type), origin(found)].filter(Boolean));
  if (found?.inner_diameter_m) what.push(`DN ${Math.round(found.inner_diameter_m * 1e3)}`, `${Math.round(found.length_m)} m`);
  const lines = quantities(asset, layout, thing).filter(isFirst).slice(0, most);
  return [[thing.name, ...what].join(" · "), ...lines.map((line) => sentence(asset, line))].join("\n");
}

function sentence(asset, { label, measured, twin }) {
  const parts = [];
  if (twin) {
    parts.push(withSpread(reading(asset, twin)));
  }
  if (measured) {
    const found = reading(asset, measured);
    parts.push(`${word("measured")} ${text(found)}, ${word(found.quality)}, ${span(found.ageS)}`);
  }
  return `${label} ${parts.join(" · ")}`;
}
