// Where the heat of a network comes from and goes, from its energy ledger. Pure.

import { rate, value } from "./store.js";
import { word } from "./words.js";

const RECOVERED = ["waste_heat_exchanger", "waste_incinerator"]; // whole; of heat pumps what is not their electricity
const UNCLOSED_PART = 1e-3; // of what comes in: less than that nobody sees

/**
 * Flows into and out of a network in W: {into, outOf, closure, isLedger}, each flow {key, name, watts, recovered, units, from};
 * `recovered` is the part that would have been lost, `from` are the factories whose heat it is. They are means of the last minute by the ledger, which closes, or, as long as there
 * is none, heat as it is now. `closure` is what is missing, as a part of what comes in; `curtailed` the heat in W that was there
 * and was thrown away, here or in factories. Null: the network has no units.
 */
export function balance(asset, layout) {
  const units = layout.links.filter((link) => link.unit_type);
  if (units.length === 0) return null;
  const isLedger = rate(asset, "energy/loss") !== undefined && units.every(({ name }) => rate(asset, `unit/${name}/energy`) !== undefined);
  const flows = new Flows();
  for (const unit of units) {
    const watts = isLedger ? rate(asset, `unit/${unit.name}/energy`) : value(asset, `unit/${unit.name}/heat`);
    if (Number.isFinite(watts)) flows.add(keyOf(unit), watts, unit);
  }
  if (isLedger) {
    flows.add("losses", -rate(asset, "energy/loss"));
    flows.add("stored", -(rate(asset, "energy/stored_change") ?? 0));
    flows.add("holding", rate(asset, "energy/expansion") ?? 0);
  } else flows.add("losses", -(value(asset, "loss") ?? 0));
  const missing = flows.sum();
  const whole = flows.side(1).reduce((total, { watts }) => total + watts, 0);
  const closure = whole > 0 ? Math.abs(missing) / whole : 0;
  if (closure > UNCLOSED_PART) flows.add("imbalance", -missing);
  markRecovered(flows, isLedger ? rate(asset, "indicator/recovered") : undefined);
  return { into: flows.side(1), outOf: flows.side(-1), closure, isLedger, curtailed: rate(asset, "indicator/curtailed") ?? 0 };
}

/** Units of one kind are one flow: all customers; wood-1 and wood-2; each tank. */
function keyOf(unit) {
  if (unit.kind === "consumer") return "customers";
  return unit.name.replace(/[-_ ]?\d+$/, "") || unit.name;
}

/** Sums by key, in W into the network. */
class Flows {
  constructor() {
    this.all = new Map();
  }

  add(key, watts, unit) {
    const found = this.all.get(key) ?? { key, name: word(key), watts: 0, recovered: 0, units: [], from: [], type: unit?.unit_type ?? key };
    found.watts += watts;
    if (unit) {
      found.units.push(unit.name);
      found.from.push(...(unit.heat_from ?? []));
    }
    this.all.set(key, found);
  }

  sum() {
    return [...this.all.values()].reduce((total, { watts }) => total + watts, 0);
  }

  /** Those that go into the network (1) or out of it (-1), in W above 0. */
  side(sign) {
    return [...this.all.values()].filter(({ watts }) => sign * watts > 0).map((flow) => ({ ...flow, watts: sign * flow.watts }));
  }
}

/** `recovered`: W, of all of them. What waste heat and incinerators do not explain of it heat pumps took from their source. */
function markRecovered(flows, recovered) {
  const sources = [...flows.all.values()].filter(({ watts }) => watts > 0);
  const whole = sources.filter(({ type }) => RECOVERED.includes(type));
  for (const flow of whole) flow.recovered = 1;
  const pumps = sources.filter(({ type }) => type === "heat_pump");
  const [ofWhole, ofPumps] = [whole, pumps].map((some) => some.reduce((total, { watts }) => total + watts, 0));
  if (recovered === undefined || ofPumps <= 0) return;
  for (const flow of pumps) flow.recovered = Math.min(Math.max((recovered - ofWhole) / ofPumps, 0), 1);
}

/** The part of what comes from producers that is recovered; NaN when nothing does. */
export function recoveredShare({ into }) {
  const sources = into.filter(({ units, type }) => units.length > 0 && type !== "storage_tank");
  const all = sources.reduce((total, { watts }) => total + watts, 0);
  return sources.reduce((total, { watts, recovered }) => total + watts * recovered, 0) / (all || NaN);
}
