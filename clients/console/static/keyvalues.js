// The row of key values: heat now, indicators since the ledger began, what is coldest.

import { element, say } from "./dom.js";
import { nodeTemperature } from "./paint.js";
import { reading, value } from "./store.js";
import { number, power, text } from "./units.js";
import { word } from "./words.js";

/** Key values of a network: [{key, text, about}], `about` what a trend of it is about. Pure. */
export function ofNetwork(asset, layout, flows) {
  const found = [];
  const add = (key, shown, about) => found.push({ key, text: shown, about });
  if (flows) {
    const fed = flows.into.filter(({ units }) => units.length > 0);
    add("heat_in", power(fed.reduce((total, { watts }) => total + watts, 0)), { units: fed.flatMap(({ units }) => units), sign: 1 });
    add("heat_out", power(flows.outOf.find(({ key }) => key === "customers")?.watts ?? NaN), { demand: true });
    const losses = flows.outOf.find(({ key }) => key === "losses");
    if (losses) add("loss", power(losses.watts));
  }
  // Since the ledger began.
  const indicator = (name) => value(asset, `indicator/${name}`);
  if (Number.isFinite(indicator("recovered_share"))) add("recovered", `${number(100 * indicator("recovered_share"))} %`, { signal: "indicator/recovered_share" });
  if (Number.isFinite(indicator("co2_avoided"))) add("co2_avoided", `${number(indicator("co2_avoided") / 1e3)} t`, { signal: "indicator/co2_avoided" });
  if (Number.isFinite(indicator("cost"))) add("cost", `${number(indicator("cost"))} €`, { signal: "indicator/cost" });
  const coldest = coldestCustomer(asset, layout);
  if (coldest) add("coldest", `${number(coldest.celsius)} °C`, { thing: { kind: "unit", name: coldest.name } });
  const outdoor = reading(asset, "outdoor/temperature");
  if (outdoor) add("outdoor", text(outdoor), { signal: "outdoor/temperature" });
  return found;
}

/** The customer with the coldest supply: {name, celsius}. */
export function coldestCustomer(asset, layout) {
  let coldest = null;
  for (const link of layout.links) {
    if (link.kind !== "consumer") continue;
    const celsius = nodeTemperature(asset, link.start);
    if (Number.isFinite(celsius) && !(celsius >= coldest?.celsius)) coldest = { name: link.name, celsius };
  }
  return coldest;
}

/** Key values of anything else. Pure. */
export function ofAsset(asset) {
  const found = [];
  for (const name of ["power", "output", "energy"]) {
    const here = reading(asset, name);
    if (here) found.push({ key: name, text: name === "power" ? power(here.value) : text(here), about: { signal: name } });
  }
  return found;
}

export class KeyValues {
  /** `choose(about)` when one with a trend is clicked. */
  constructor(parent, choose) {
    Object.assign(this, { parent, choose, boxes: new Map() });
  }

  show(values) {
    const keys = values.map(({ key }) => key).join();
    if (keys !== this.keys) {
      this.keys = keys;
      this.boxes = new Map(values.map(({ key, about }) => [key, this.box(key, Boolean(about))]));
      this.parent.replaceChildren(...[...this.boxes.values()].map(({ box }) => box));
    }
    for (const { key, text: shown, about } of values) {
      const made = this.boxes.get(key);
      made.about = about;
      say(made.figure, shown);
    }
  }

  box(key, isButton) {
    const figure = element("b");
    figure.dataset.key = key;
    const box = element(isButton ? "button" : "div", {}, element("span", {}, word(key)), figure);
    const made = { box, figure, about: null };
    if (isButton) box.addEventListener("click", () => this.choose(made.about, word(key)));
    return made;
  }
}
