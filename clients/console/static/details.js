// What is known of the chosen thing, as a table: each quantity is a button that shows it over time.

import { dress, element, say } from "./dom.js";
import { reading } from "./store.js";
import { find, origin, quantities } from "./things.js";
import { mark, span, text, withSpread } from "./units.js";
import { word } from "./words.js";

export class Details {
  /** `choose(signal)` is called when a quantity is clicked. */
  constructor(parent, choose) {
    this.parent = parent;
    this.choose = choose;
    this.lines = [];
  }

  show(asset, layout, thing) {
    const found = find(layout, thing);
    const title = element("h3", {}, thing.name, element("span", {}, found?.unit_type ? ` ${[word(found.unit_type), origin(found)].filter(Boolean).join(" ")}` : ""));
    const body = element("tbody");
    this.lines = quantities(asset, layout, thing).map((quantity) => {
      const button = element("button", { type: "button" }, quantity.label);
      button.addEventListener("click", () => this.choose(quantity.twin ?? quantity.measured));
      const cells = ["number", "number", "sign", "number"].map((name) => element("td", { className: name }));
      body.append(element("tr", {}, element("th", { scope: "row" }, button), ...cells));
      return { ...quantity, cells };
    });
    const heads = ["", "measured", "twin", "", "age"].map((key) => element("th", { scope: "col", className: "number" }, key && word(key)));
    const signs = ["good", "uncertain", "bad"].map((name) => mark(name, word)).join("  ");
    this.parent.replaceChildren(title, element("table", {}, element("thead", {}, element("tr", {}, ...heads)), body), element("p", { className: "legend" }, signs));
    this.update(asset);
  }

  clear() {
    this.lines = [];
    this.parent.replaceChildren(element("p", { className: "none" }, word("choose_thing")));
  }

  update(asset) {
    for (const { measured, twin, cells } of this.lines) {
      const [seen, told] = [measured && reading(asset, measured), twin && reading(asset, twin)];
      say(cells[0], seen ? text(seen) : "");
      say(cells[1], told ? withSpread(told) : "");
      const judged = seen || told;
      say(cells[2], judged ? mark(judged.quality, () => "") : "");
      dress(cells[2], `sign ${judged?.quality ?? ""}`);
      cells[2].title = word(judged?.quality ?? "");
      say(cells[3], seen ? span(seen.ageS) : "");
    }
  }
}
