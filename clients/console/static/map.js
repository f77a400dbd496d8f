// The network on a canvas: what is seen of it and what is done with it. Drag, wheel, keys, pointing, a click chooses.

import { Callouts } from "./callouts.js";
import { css, heat, scale } from "./colours.js";
import { element, say } from "./dom.js";
import { nodeTemperature, paint, paintNames } from "./paint.js";
import { boxOf, projection, roundLength, zoomed } from "./projection.js";
import { arrange, spotAt } from "./scene.js";
import { value } from "./store.js";
import { number, unitName } from "./units.js";
import { word } from "./words.js";

const MARGIN = 34;
const NAMES_FROM = 1.7; // zoom from which customers are named
const HOME = { x: 0, y: 0, zoom: 1 };

export class NetworkMap {
  /** `parts`: {canvas, tip, callouts, legend}; `choose(kind, name)` when something is clicked, `tell(kind, name)` its text. */
  constructor({ canvas, tip, callouts, legend }, choose, tell) {
    Object.assign(this, { canvas, tip, legend, choose, tell });
    this.callouts = new Callouts(callouts, choose);
    this.side = "supply";
    this.view = HOME;
    this.layout = null;
    this.chosen = null;
    this.pointed = null;
    this.size = { width: 0, height: 0, margin: MARGIN };
    this.listen();
    new ResizeObserver(() => this.arrange()).observe(canvas);
  }

  show(layout, asset) {
    [this.layout, this.asset, this.view, this.chosen] = [layout, asset, HOME, null];
    this.box = boxOf(layout.nodes);
    this.arrange();
  }

  showSide(side) {
    this.side = side;
    this.arrange();
  }

  look(view) {
    this.view = view;
    this.arrange();
  }

  /** Work out anew what is where; what only changes with the temperatures is left to `draw`. */
  arrange() {
    const { canvas } = this;
    this.size = { ...this.size, width: canvas.clientWidth, height: canvas.clientHeight };
    if (!this.layout || this.size.width === 0) return;
    const ratio = globalThis.devicePixelRatio || 1;
    const [width, height] = [this.size.width, this.size.height].map((pixels) => Math.round(pixels * ratio));
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    this.ratio = ratio;
    this.onto = projection(this.box, this.size, this.view);
    this.scene = arrange(this.layout, this.side, this.onto.place);
    this.callouts.arrange(this.scene, this.size, this.asset);
    this.draw(this.asset);
  }

  draw(asset) {
    if (!this.layout || !this.scene) return;
    this.asset = asset;
    const { scene } = this;
    const pen = this.canvas.getContext("2d");
    pen.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    pen.clearRect(0, 0, this.size.width, this.size.height);
    const colours = { ink: css("--ink"), panel: css("--panel"), chosen: css("--chosen"), faint: css("--faint") };
    const temperatures = scene.nodes.map(({ node }) => nodeTemperature(asset, node.name));
    this.range = scale(temperatures);
    this.isBeyond = { low: temperatures.some((each) => each < this.range[0]), high: temperatures.some((each) => each > this.range[1]) };
    this.greatest = {
      flow: roundUp(scene.pipes.map(({ link }) => value(asset, `pipe/${link.name}/flow`))),
      heat: roundUp(scene.units.filter(({ link }) => link.kind === "consumer").map(({ link }) => value(asset, `unit/${link.name}/heat`))),
    };
    const picture = { ...this, asset, colours, zoom: this.view.zoom };
    this.callouts.draw(pen, colours.faint);
    paint(pen, picture);
    if (this.view.zoom >= NAMES_FROM) paintNames(pen, picture, 60);
    this.north(pen, colours);
    this.callouts.update(asset);
    this.explain();
    if (this.pointed) this.say(this.pointed);
  }

  /** Where north is, and how long a length is. */
  north(pen, colours) {
    const [x, y] = [this.size.width - 26, this.size.height - 22];
    const metres = roundLength(this.onto.perMetre, 120);
    const long = metres * this.onto.perMetre;
    pen.strokeStyle = pen.fillStyle = colours.faint;
    pen.lineWidth = 1.5;
    pen.font = "11px system-ui, sans-serif";
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    pen.beginPath();
    pen.moveTo(x - 24 - long, y - 3);
    pen.lineTo(x - 24 - long, y);
    pen.lineTo(x - 24, y);
    pen.lineTo(x - 24, y - 3);
    pen.stroke();
    pen.fillText(metres >= 1000 ? `${metres / 1000} km` : `${metres} m`, x - 30 - long, y);
    pen.textAlign = "center";
    const [ux, uy] = this.onto.isTurned ? [1, 0] : [0, -1];
    pen.beginPath();
    pen.moveTo(x + 9 * ux, y + 9 * uy);
    pen.lineTo(x - 5 * ux - 4.5 * uy, y - 5 * uy - 4.5 * ux);
    pen.lineTo(x - 5 * ux + 4.5 * uy, y - 5 * uy + 4.5 * ux);
    pen.fill();
    pen.fillText("N", x + 17 * ux, y + 17 * uy);
    pen.textAlign = "left";
  }

  /** What colours and sizes mean. */
  explain() {
    if (!this.strip) {
      this.strip = element("canvas", { width: 180, height: 10, "aria-hidden": "true" });
      const pen = this.strip.getContext("2d");
      for (let x = 0; x < 180; x++) {
        pen.fillStyle = heat(x / 179);
        pen.fillRect(x, 0, 1, 10);
      }
      this.ends = [element("span"), element("span"), element("span")];
      this.legend.replaceChildren(this.ends[0], this.strip, this.ends[1], this.ends[2]);
    }
    say(this.ends[0], `${this.isBeyond.low ? "≤ " : ""}${this.range[0]} °C`);
    say(this.ends[1], `${this.isBeyond.high ? "≥ " : ""}${this.range[1]} °C`);
    const parts = [word("shapes")];
    if (this.greatest.flow > 0) parts.unshift(`${word("width_flow")} ${number(this.greatest.flow)} ${unitName("kg/s")}`);
    if (this.greatest.heat > 0) parts.push(`${word("size_heat")} ${number(this.greatest.heat / 1e3)} kW`);
    say(this.ends[2], parts.join(" · "));
  }

  // ---- pointing and choosing ----

  say(spot) {
    this.tip.hidden = false;
    say(this.tip, this.tell(...nameOf(spot)));
    const [x, y] = [(spot.start[0] + spot.end[0]) / 2, (spot.start[1] + spot.end[1]) / 2];
    const [width, height] = [this.tip.offsetWidth, this.tip.offsetHeight];
    this.tip.style.left = `${x + 14 + width < this.size.width ? x + 14 : Math.max(x - 14 - width, 0)}px`;
    this.tip.style.top = `${Math.min(Math.max(y - height / 2, 0), Math.max(this.size.height - height, 0))}px`;
  }

  point(spot) {
    this.pointed = spot;
    if (spot) this.say(spot);
    else this.tip.hidden = true;
  }

  /** Mark what was chosen, here or elsewhere: {kind, name} or null. */
  select(chosen) {
    this.chosen = chosen;
    this.draw(this.asset);
  }

  listen() {
    const { canvas } = this;
    let grabbed = null;
    canvas.addEventListener("pointerdown", (event) => {
      grabbed = { x: event.offsetX, y: event.offsetY, moved: false };
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!this.scene) return;
      const at = [event.offsetX, event.offsetY];
      if (!grabbed) {
        this.point(spotAt(this.scene, at));
        return;
      }
      const [dx, dy] = [at[0] - grabbed.x, at[1] - grabbed.y];
      if (Math.abs(dx) + Math.abs(dy) < 3 && !grabbed.moved) return;
      this.look({ ...this.view, x: this.view.x + dx, y: this.view.y + dy });
      grabbed = { x: at[0], y: at[1], moved: true };
    });
    canvas.addEventListener("pointerup", (event) => {
      const spot = grabbed && !grabbed.moved && this.scene ? spotAt(this.scene, [event.offsetX, event.offsetY]) : null;
      grabbed = null;
      if (spot) this.choose(...nameOf(spot));
    });
    canvas.addEventListener("pointercancel", () => { grabbed = null; });
    canvas.addEventListener("pointerleave", () => this.point(null));
    canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && document.activeElement !== canvas) return; // else the page could not be scrolled past the map
      event.preventDefault();
      this.look(zoomed(this.view, event.deltaY < 0 ? 1.2 : 1 / 1.2, [event.offsetX, event.offsetY], this.size));
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const step = { ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40] }[event.key];
      const middle = [this.size.width / 2, this.size.height / 2];
      if (step) this.look({ ...this.view, x: this.view.x + step[0], y: this.view.y + step[1] });
      else if (event.key === "+") this.look(zoomed(this.view, 1.2, middle, this.size));
      else if (event.key === "-") this.look(zoomed(this.view, 1 / 1.2, middle, this.size));
      else if (event.key === "0") this.look(HOME);
      else return;
      event.preventDefault();
    });
  }

  zoomBy(factor) {
    this.look(factor === 0 ? HOME : zoomed(this.view, factor, [this.size.width / 2, this.size.height / 2], this.size));
  }
}

function nameOf(spot) {
  return [spot.kind, (spot.link ?? spot.node).name];
}

/** The greatest size, rounded up to two digits, so that pictures do not dance. */
function roundUp(values) {
  const most = Math.max(0, ...values.filter(Number.isFinite).map(Math.abs));
  if (most === 0) return 0;
  const step = 10 ** (Math.floor(Math.log10(most)) - 1) * 5;
  return Math.ceil(most / step) * step;
}
