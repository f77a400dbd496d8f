// Factories at a glance: what each machine does, what was made, power, and the heat that is left over.

import { dress, element, say } from "./dom.js";
import { reading, value } from "./store.js";
import { number, power, span, text } from "./units.js";
import { word } from "./words.js";

// Signs tell a state, colours only repeat it.
const SIGNS = { runs: "▶", waits: "‖", off: "■", down: "✕", unknown: "?" };
const KINDS = {
  execute: "runs", completing: "runs", starting: "runs", stopped: "off", stopping: "off", aborting: "down", aborted: "down", clearing: "down",
};

const OLD_S = 30; // without a state, from which a factory no longer is as it is shown

/** Machines of an asset: [{name, state}] with the name of the signal of the state. Pure. */
export function machines(asset) {
  return asset.signals.filter(({ name }) => /^machine\/.+\/state$/.test(name)).map(({ name }) => ({ name: name.slice(8, -6), state: name }));
}

/** What a machine does by its PackML state: {text, kind}, where kind is runs, waits, off, down or unknown. Pure. */
export function doing(asset, signal) {
  const found = reading(asset, signal);
  const name = found.signal.state_names[String(found.value)];
  if (name === undefined || found.quality === "bad") return { text: word("unknown"), kind: "unknown" };
  return { text: word(name), kind: KINDS[name] ?? "waits" };
}

/** Good parts per hour; undefined while the twin is not sure and has counted no more than a part. Pure. */
export function partsPerHour(asset) {
  const found = reading(asset, "output");
  return found && (found.quality === "good" || found.value > found.sd) ? 3600 * found.value : undefined;
}

export class Factories {
  /** `open(asset)` when the name of a factory is clicked, `choose(asset, signal)` when something of it is. */
  constructor(parent, open, choose) {
    Object.assign(this, { parent, open, choose, cards: [] });
  }

  /** Make cards of these factories; `takers` are units that may take their heat, `isWhole` shows more of each. */
  show(assets, takers, isWhole) {
    this.cards = assets.map((asset) => this.card(asset, takers.filter((unit) => unit.heat_from.includes(asset.name)), isWhole));
    this.parent.replaceChildren(...this.cards.map(({ box }) => box));
  }

  card(asset, takers, isWhole) {
    const title = element("button", { type: "button", className: "title" }, asset.title || asset.name);
    title.addEventListener("click", () => this.open(asset.name));
    const counts = element("span", { className: "counts" });
    const old = element("small");
    const figures = element("p", { className: "figures" });
    const told = ["power", "output", ...asset.signals.map(({ name }) => name).filter((name) => name.startsWith("heat/"))];
    const shown = told.filter((name) => asset.index.has(name)).map((name) => {
      const figure = element("b");
      const button = element("button", { type: "button" }, `${word(name.replace("heat/", ""))} `, figure);
      button.addEventListener("click", () => this.choose(asset.name, name));
      figures.append(button);
      return { name, figure };
    });
    if (takers.length > 0) figures.append(element("small", {}, `${word("heat_to")} ${takers.map(({ name }) => name).join(", ")}`));
    const tiles = element("ul", { className: isWhole ? "machines whole" : "machines" });
    const made = machines(asset).map(({ name, state }) => {
      const [sign, label, more] = [element("i", { "aria-hidden": "true" }), element("span"), element("small")];
      const button = element("button", { type: "button" }, sign, label, more);
      button.addEventListener("click", () => this.choose(asset.name, asset.index.has(`machine/${name}/power`) ? `machine/${name}/power` : state));
      tiles.append(element("li", {}, button));
      return { name, state, button, sign, label, more };
    });
    return { asset: asset.name, box: element("article", {}, element("h3", {}, title, counts, old), figures, tiles), counts, old, shown, made, isWhole };
  }

  /** Say how they are now; `asset(name)` gives the newest columns, `silentS(asset)` for how long there were none. */
  update(asset, silentS) {
    for (const card of this.cards) {
      const here = asset(card.asset);
      if (!here || !Number.isFinite(here.plantMs)) continue;
      for (const { name, figure } of card.shown) say(figure, name === "output" ? `${number(partsPerHour(here))}/h` : power(value(here, name)));
      const count = { runs: 0, waits: 0, off: 0, down: 0, unknown: 0 };
      for (const machine of card.made) {
        const { text: state, kind } = doing(here, machine.state);
        count[kind] += 1;
        say(machine.sign, SIGNS[kind]);
        say(machine.label, machine.name);
        if (card.isWhole) say(machine.more, extra(here, machine.name, state));
        dress(machine.button, kind);
        machine.button.title = `${machine.name}: ${state}`;
        machine.button.setAttribute("aria-label", machine.button.title);
      }
      const oldS = silentS(here);
      say(card.old, oldS > OLD_S ? `${word("data_age")} ${span(Math.floor(oldS))}` : "");
      dress(card.old, oldS > OLD_S ? "old" : "");
      say(card.counts, Object.entries(count).filter(([, n]) => n > 0).map(([kind, n]) => `${SIGNS[kind]} ${n} ${word(kind)}`).join("  "));
    }
  }
}

/** State, good parts, scrap and power of a machine in one line. */
function extra(asset, machine, state) {
  const parts = [state];
  for (const name of ["good", "scrap", "batch", "power", "temperature"]) {
    const found = reading(asset, `machine/${machine}/${name}`);
    if (found) parts.push(name === "good" || name === "scrap" || name === "batch" ? `${word(name)} ${Math.round(found.value)}` : text(found));
  }
  return parts.join(" · ");
}
