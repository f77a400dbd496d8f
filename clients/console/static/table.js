// All signals, of one asset or of all, as a table of which only the rows in sight exist; what is clicked is shown over time.

import { dress, element, say } from "./dom.js";
import { reading } from "./store.js";
import { mark, span, spreadText, text } from "./units.js";
import { word } from "./words.js";

const ROW_PX = 25;
const SPARE = 4; // rows above and below what is in sight

/** The signals of assets whose names have all words of a search, as [{asset, name}]; `isOff` only those of quality not good. Pure. */
export function search(assets, words, isOff) {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  const found = [];
  for (const asset of assets) {
    asset.signals.forEach(({ name }, row) => {
      if (isOff && asset.quality[row] >>> 30 === 0) return;
      const whole = `${asset.name}/${name}`.toLowerCase();
      if (wanted.every((each) => whole.includes(each))) found.push({ asset: asset.name, name });
    });
  }
  return found;
}

export class SignalTable {
  /** `parts`: {scroll, head, body, search, off, all, count}; `choose(asset, signal)`. */
  constructor(parts, choose) {
    Object.assign(this, parts, { choose, found: [], lines: [], assets: [], here: null, selected: "" });
    this.head.replaceChildren(element("tr", {}, ...["name", "value", "sd", "age", "source", "quality"].map((key) =>
      element("th", { scope: "col", className: ["value", "sd", "age"].includes(key) ? "number" : "" }, word(key)))));
    for (const input of [this.search, this.off, this.all]) input.addEventListener("input", () => this.look());
    this.scroll.addEventListener("scroll", () => this.fill());
    this.body.addEventListener("keydown", (event) => this.step(event));
    new ResizeObserver(() => this.fill()).observe(this.scroll);
  }

  /** Signals of these assets, at first of `here` alone. */
  show(assets, here) {
    [this.assets, this.here] = [assets, here];
    this.look();
  }

  look() {
    const assets = this.all.checked ? this.assets : this.assets.filter(({ name }) => name === this.here);
    this.found = search(assets, this.search.value, this.off.checked);
    this.scroll.scrollTop = 0;
    say(this.count, `${this.found.length}`);
    this.body.parentElement.setAttribute("aria-rowcount", String(this.found.length + 1));
    this.fill();
  }

  select(asset, name) {
    this.selected = `${asset}/${name}`;
    this.fill();
  }

  /** Make as many lines as are in sight, and say in them what is there. */
  fill() {
    const first = Math.max(Math.floor(this.scroll.scrollTop / ROW_PX) - SPARE, 0);
    const count = Math.min(Math.ceil(this.scroll.clientHeight / ROW_PX) + 2 * SPARE, this.found.length - first);
    while (this.lines.length < count) this.lines.push(this.line());
    this.lines.length = Math.max(count, 0);
    this.first = first;
    const spacers = [first, this.found.length - first - this.lines.length].map((rows) => spacer(rows * ROW_PX));
    const isSame = this.body.children.length === this.lines.length + 2 && this.lines[0]?.row === this.body.children[1];
    if (isSame) [this.body.firstChild, this.body.lastChild].forEach((old, i) => old.replaceWith(spacers[i]));
    else this.body.replaceChildren(spacers[0], ...this.lines.map(({ row }) => row), spacers[1]);
    this.update();
  }

  line() {
    const button = element("button", { type: "button", tabIndex: -1 });
    const cells = ["number", "number", "number", "", ""].map((name) => element("td", { className: name }));
    const made = { row: element("tr", {}, element("td", {}, button), ...cells), button, cells, shown: null };
    button.addEventListener("click", () => this.choose(made.shown.asset, made.shown.name));
    return made;
  }

  update() {
    const assets = new Map(this.assets.map((asset) => [asset.name, asset]));
    const isSelectedAt = (i) => `${this.found[this.first + i].asset}/${this.found[this.first + i].name}` === this.selected;
    const reachable = Math.max(this.lines.findIndex((_, i) => isSelectedAt(i)), 0); // by Tab: one row, the others by arrows
    this.lines.forEach((line, i) => {
      const shown = (line.shown = this.found[this.first + i]);
      const found = reading(assets.get(shown.asset), shown.name);
      const isSelected = isSelectedAt(i);
      say(line.button, this.all.checked ? `${shown.asset}/${shown.name}` : shown.name);
      line.button.tabIndex = i === reachable ? 0 : -1;
      line.row.setAttribute("aria-selected", String(isSelected));
      line.row.setAttribute("aria-rowindex", String(this.first + i + 2));
      say(line.cells[0], text(found));
      say(line.cells[1], spreadText(found));
      say(line.cells[2], Number.isFinite(found.ageS) ? span(found.ageS) : "");
      say(line.cells[3], word(found.signal.source));
      say(line.cells[4], mark(found.quality, word));
      dress(line.cells[4], found.quality);
    });
  }

  /** Arrows go from row to row. */
  step(event) {
    const by = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10 }[event.key];
    const at = this.lines.findIndex(({ button }) => button === document.activeElement);
    if (!by || at < 0) return;
    event.preventDefault();
    const row = Math.min(Math.max(this.first + at + by, 0), this.found.length - 1);
    const top = row * ROW_PX;
    const [above, below] = [this.scroll.scrollTop, this.scroll.scrollTop + this.scroll.clientHeight - 2 * ROW_PX];
    if (top < above) this.scroll.scrollTop = top;
    else if (top > below) this.scroll.scrollTop = top - this.scroll.clientHeight + 2 * ROW_PX;
    this.fill();
    this.lines[row - this.first]?.button.focus({ preventScroll: true });
  }
}

function spacer(pixels) {
  const made = element("tr", { className: "spacer", "aria-hidden": "true" }, element("td", { colSpan: 6 }));
  made.firstChild.style.height = `${pixels}px`;
  return made;
}
