// Labels of producers beside the map: what each gives now, as buttons, placed where they cover least.

import { element, say } from "./dom.js";
import { groups, obstacles, settle } from "./scene.js";
import { value } from "./store.js";
import { origin } from "./things.js";
import { power } from "./units.js";
import { word } from "./words.js";

const PLANT_FROM = 3; // producers that stand together are a plant

export class Callouts {
  /** `choose(kind, name)` is called when a producer is clicked. */
  constructor(parent, choose) {
    this.parent = parent;
    this.choose = choose;
  }

  /** Place the labels anew; labels are made anew only for other producers. */
  arrange(scene, size, asset) {
    const found = groups(scene.units);
    const key = found.map(({ units }) => units.map(({ link }) => link.name).join()).join(";");
    if (key !== this.key) {
      this.key = key;
      this.labels = found.map(({ units }) => this.label(units));
      this.parent.replaceChildren(...this.labels.map(({ box }) => box));
    }
    this.update(asset);
    const isNear = ({ at: [x, y] }) => x > 0 && y > 0 && x < size.width && y < size.height;
    const seen = found.map((group, i) => ({ group, ...this.labels[i] }));
    for (const { box, group } of seen) box.hidden = !isNear(group);
    const shown = seen.filter(({ group }) => isNear(group));
    const boxes = shown.map(({ box, group }) => ({ width: box.offsetWidth, height: box.offsetHeight, at: group.at }));
    settle(boxes, obstacles(scene), size).forEach(([x, y], i) => {
      shown[i].box.style.left = `${x}px`;
      shown[i].box.style.top = `${y}px`;
    });
    this.lines = shown.map(({ box, group }, i) => {
      const [x, y] = [box.offsetLeft, box.offsetTop];
      const [px, py] = group.at;
      return [group.at, [Math.min(Math.max(px, x), x + boxes[i].width), Math.min(Math.max(py, y), y + boxes[i].height)]];
    });
  }

  label(units) {
    const box = element("div", { className: "callout" });
    let sum = null;
    if (units.length >= PLANT_FROM) {
      sum = element("b");
      box.append(element("p", {}, `${word("energy_plant")} `, sum));
    }
    const rows = element("ul");
    const figures = units.map(({ link }) => {
      const figure = element("b");
      const from = origin(link);
      const button = element("button", { type: "button" }, `${link.name} `, ...(from ? [element("small", {}, `${from} `)] : []), figure);
      button.addEventListener("click", () => this.choose("unit", link.name));
      rows.append(element("li", {}, button));
      return { link, figure };
    });
    if (units.length > 5) rows.className = "wide";
    box.append(rows);
    return { box, sum, figures };
  }

  /** Say what they give now. */
  update(asset) {
    for (const { sum, figures } of this.labels ?? []) {
      let all = 0;
      for (const { link, figure } of figures) {
        const watts = value(asset, `unit/${link.name}/heat`);
        if (Number.isFinite(watts)) all += watts;
        say(figure, Math.abs(watts) < 500 ? "0" : power(watts));
      }
      if (sum) say(sum, power(all));
    }
  }

  /** Lines from the labels to what they tell of. */
  draw(pen, colour) {
    pen.strokeStyle = colour;
    pen.lineWidth = 1;
    for (const [from, to] of this.lines ?? []) {
      pen.beginPath();
      pen.moveTo(...from);
      pen.lineTo(...to);
      pen.stroke();
    }
  }
}
