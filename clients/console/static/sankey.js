// A Sankey with the network in the middle: its shape, and the drawing of it.

import { recoveredShare } from "./balance.js";
import { origin } from "./things.js";
import { number, power } from "./units.js";
import { word } from "./words.js";

const BAR = 10;
const GAP = 6;
const LABEL = 16; // px of a line
const LEAST_PART = 0.002; // of the whole: thinner flows are not drawn

/** Rectangles and where their ribbons meet the middle, in pixels: {middle, nodes}. */
export function sankey({ into, outOf }, width, height) {
  const sum = (side) => side.reduce((total, { watts }) => total + watts, 0);
  const whole = Math.max(sum(into), sum(outOf), 1e-9);
  const seen = [into, outOf].map((side) => side.filter(({ watts }) => watts >= LEAST_PART * whole));
  const perWatt = Math.min(...seen.map((side) => scale(side, height)));
  const middle = { x: width / 2 - BAR / 2, y: (height - whole * perWatt) / 2, width: BAR, height: whole * perWatt };
  const place = (side, x, isLeft) => {
    const slots = side.map(({ watts }) => Math.max(watts * perWatt, LABEL));
    let y = Math.max((height - slots.reduce((a, b) => a + b, 0) - GAP * (side.length - 1)) / 2, 0);
    let inner = middle.y;
    return side.map((flow, i) => {
      const thick = flow.watts * perWatt;
      const made = { ...flow, x, y: y + (slots[i] - thick) / 2, width: BAR, height: thick, inner, isLeft };
      y += slots[i] + GAP;
      inner += thick;
      return made;
    });
  };
  return { middle, nodes: [...place(seen[0], 0, true), ...place(seen[1], width - BAR, false)] };
}

/** Pixels per W with which a side fits, its thin flows as high as their labels. */
function scale(side, height) {
  const free = height - GAP * Math.max(side.length - 1, 0);
  const sorted = side.map(({ watts }) => watts).sort((a, b) => a - b);
  let rest = sorted.reduce((a, b) => a + b, 0);
  let labels = 0;
  let perWatt = free / Math.max(rest, 1e-9);
  for (const watts of sorted) {
    if (watts * perWatt >= LABEL) break;
    rest -= watts;
    labels += LABEL;
    perWatt = Math.max(free - labels, 0) / Math.max(rest, 1e-9);
  }
  return Math.min(perWatt, free / Math.max(sorted.reduce((a, b) => a + b, 0), 1e-9));
}

const COLOURS = {
  waste_heat_exchanger: "#4f8a5b", heat_pump: "#3f8f8c", waste_incinerator: "#8a8638", losses: "#9aa3ab", dump_cooler: "#a61c28",
  storage_tank: "#7566a0", substation: "#b06a2c", wood: "#8a5f3c", gas: "#66707c", imbalance: "#a61c28",
};

/** Put the balance on the page; `choose(flow)` when one is clicked. */
export function draw(parent, flows, choose) {
  const width = Math.max(parent.clientWidth, 260);
  const height = 300;
  const { middle, nodes } = sankey(flows, width, height);
  const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": word("balance") });
  svg.append(hatching());
  for (const node of nodes) svg.append(drawn(node, middle, choose));
  svg.append(make("rect", { ...middle, class: "middle" }));
  const focused = document.activeElement?.closest("#sankey g")?.dataset.key;
  parent.replaceChildren(svg);
  if (focused) svg.querySelector(`g[data-key="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

function drawn(node, middle, choose) {
  const colour = COLOURS[node.key] ?? COLOURS[node.type] ?? "#6b7780";
  const group = make("g", { tabindex: node.units.length > 0 ? 0 : -1, role: "button", "data-key": node.key });
  const isRecovered = node.recovered > 0;
  const note = isRecovered ? `, ${word("recovered_of_it")} ${number(100 * node.recovered)} %` : "";
  const from = origin({ heat_from: node.from });
  group.append(make("title", {}, `${[node.name, from].filter(Boolean).join(" ")}: ${power(node.watts)}${note}`));
  group.append(make("path", { d: ribbon(node, middle, 1), fill: colour, class: "ribbon" }));
  if (isRecovered) group.append(make("path", { d: ribbon(node, middle, node.recovered), fill: "url(#recovered)" }));
  group.append(make("rect", { x: node.x, y: node.y, width: node.width, height: Math.max(node.height, 1), fill: colour }));
  const at = node.isLeft ? { x: node.x + node.width + 6, "text-anchor": "start" } : { x: node.x - 6, "text-anchor": "end" };
  group.append(make("text", { ...at, y: node.y + node.height / 2 + 4, class: node.height < LABEL ? "thin" : "" }, `${node.name} ${power(node.watts)}`));
  if (node.units.length > 0) {
    group.addEventListener("click", () => choose(node));
    group.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        choose(node);
      }
    });
  }
  return group;
}

/** The outline of the lower `part` of a ribbon. */
function ribbon(node, middle, part) {
  const [x0, x1] = node.isLeft ? [node.x + node.width, middle.x] : [middle.x + middle.width, node.x];
  const [y0, y1] = node.isLeft ? [node.y, node.inner] : [node.inner, node.y];
  const half = (x0 + x1) / 2;
  const [top, thick] = [node.height * (1 - part), Math.max(node.height * part, 0.8)];
  const [a, b] = [y0 + top, y1 + top];
  return `M${x0} ${a}C${half} ${a} ${half} ${b} ${x1} ${b}V${b + thick}C${half} ${b + thick} ${half} ${a + thick} ${x0} ${a + thick}Z`;
}

/** Recovered heat is hatched, so that it needs no colour. */
function hatching() {
  const defs = make("defs", {});
  const pattern = make("pattern", { id: "recovered", width: 7, height: 7, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" });
  pattern.append(make("line", { x1: 0, y1: 0, x2: 0, y2: 7, class: "hatch" }));
  defs.append(pattern);
  return defs;
}

/** What is below the picture: the recovered part, and how far the sum closes. */
export function caption(flows) {
  const share = recoveredShare(flows);
  const parts = [];
  if (share > 0) parts.push(`▨ ${word("recovered")} ${number(100 * share)} %`);
  if (flows.curtailed >= 1e3) parts.push(`${word("curtailed")} ${power(flows.curtailed)}`);
  parts.push(word(flows.isLedger ? "of_ledger" : "of_now"));
  parts.push(flows.closure < 1e-9 ? word("closes") : `${word("closes_to")} ${flows.closure.toExponential(0)}`);
  return parts.join(" · ");
}

function make(tag, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, each] of Object.entries(attributes)) made.setAttribute(key, each);
  if (text) made.textContent = text;
  return made;
}
