// Draws a scene on a canvas: pipes in the colour of their temperatures, as wide as they flow; stations, producers, what is chosen.

import { heat } from "./colours.js";
import { value } from "./store.js";

const KELVIN = 273.15;
const SAME = 0.015; // of the scale: ends that differ less have one colour
const ARROW_FROM = { width: 2.6, length: 46 };

/** The temperature of a node in degC as the twin says, which is everywhere; else as it is measured. */
export function nodeTemperature(asset, name) {
  for (const signal of [`node/${name}/temperature/twin`, `node/${name}/temperature`]) {
    const kelvin = value(asset, signal);
    if (Number.isFinite(kelvin)) return kelvin - KELVIN;
  }
  return NaN;
}

/** Width of a pipe in pixels: by the part of the greatest flow, or by its diameter where no flow is known. */
export function pipeWidth(flow, greatest, diameterM, zoom = 1) {
  const part = Number.isFinite(flow) && greatest > 0 ? Math.abs(flow) / greatest : (diameterM ?? 0) / 0.6;
  return (1.1 + 7.5 * Math.sqrt(Math.min(part, 1))) * Math.min(Math.sqrt(zoom), 2);
}

/** Radius of a customer in pixels, by its part of the greatest heat. */
function radius(watts, greatest, zoom) {
  const part = greatest > 0 && Number.isFinite(watts) ? Math.abs(watts) / greatest : 0;
  return (2.2 + 3.6 * Math.sqrt(Math.min(part, 1))) * Math.min(Math.sqrt(zoom), 2);
}

/** `picture`: {scene, asset, range, greatest: {flow, heat}, zoom, chosen, colours: {ink, panel, chosen}}. */
export function paint(pen, picture) {
  const { scene, asset, range } = picture;
  const part = (name) => (nodeTemperature(asset, name) - range[0]) / (range[1] - range[0]);
  pen.lineCap = "round";
  for (const pipe of scene.pipes) paintPipe(pen, picture, pipe, part(pipe.link.start), part(pipe.link.end));
  for (const unit of scene.units) {
    if (unit.link.kind === "consumer") paintStation(pen, picture, unit, part(unit.node));
  }
  const size = 4.5 * Math.min(Math.sqrt(picture.zoom), 1.8);
  for (const unit of apart(scene.units.filter(({ link }) => link.kind !== "consumer"), picture, 2.4 * size)) paintProducer(pen, picture, unit, size);
}

/** Of units that would cover one another one: the chosen one, else the one that gives most. */
function apart(units, picture, least) {
  const rank = ({ link }) => (isChosen(picture, "unit", link.name) ? Infinity : Math.abs(value(picture.asset, `unit/${link.name}/heat`)) || 0);
  const drawn = [];
  for (const unit of [...units].sort((a, b) => rank(b) - rank(a))) {
    const isFree = drawn.every(({ start }) => Math.hypot(start[0] - unit.start[0], start[1] - unit.start[1]) >= least);
    if (isFree) drawn.push(unit);
  }
  return drawn;
}

function isChosen(picture, kind, name) {
  return picture.chosen?.kind === kind && picture.chosen.name === name;
}

function paintPipe(pen, picture, { link, start, end }, from, to) {
  const flow = value(picture.asset, `pipe/${link.name}/flow`);
  const width = pipeWidth(flow, picture.greatest.flow, link.inner_diameter_m, picture.zoom);
  if (isChosen(picture, "pipe", link.name)) line(pen, start, end, width + 6, picture.colours.chosen);
  let colour = heat(from);
  if (Math.abs(from - to) > SAME) {
    colour = pen.createLinearGradient(...start, ...end);
    colour.addColorStop(0, heat(from));
    colour.addColorStop(1, heat(to));
  }
  line(pen, start, end, width, colour);
  if (width > ARROW_FROM.width && Number.isFinite(flow) && flow !== 0) arrow(pen, start, end, flow, width, picture.colours.panel);
}

function line(pen, start, end, width, colour) {
  pen.strokeStyle = colour;
  pen.lineWidth = width;
  pen.beginPath();
  pen.moveTo(...start);
  pen.lineTo(...end);
  pen.stroke();
}

/** Which way the water goes, in the middle of a pipe that is long and wide enough. */
function arrow(pen, start, end, flow, width, colour) {
  const [dx, dy] = [end[0] - start[0], end[1] - start[1]];
  const length = Math.hypot(dx, dy);
  if (length < ARROW_FROM.length) return;
  const way = Math.sign(flow) / length;
  const [ux, uy] = [dx * way, dy * way];
  const [x, y] = [(start[0] + end[0]) / 2, (start[1] + end[1]) / 2];
  const size = Math.min(0.42 * width + 0.6, 4.5);
  pen.fillStyle = colour;
  pen.beginPath();
  pen.moveTo(x + ux * size * 1.3, y + uy * size * 1.3);
  pen.lineTo(x - ux * size - uy * size, y - uy * size + ux * size);
  pen.lineTo(x - ux * size + uy * size, y - uy * size - ux * size);
  pen.fill();
}

/** Customers are discs in the colour of what they get; a cross where a measurement of theirs is not good. */
function paintStation(pen, picture, { link, node, start: [x, y] }, part) {
  const size = radius(value(picture.asset, `unit/${link.name}/heat`), picture.greatest.heat, picture.zoom);
  if (isChosen(picture, "unit", link.name)) ring(pen, x, y, size + 5, picture.colours.chosen);
  pen.fillStyle = heat(part);
  pen.strokeStyle = picture.colours.ink;
  pen.lineWidth = 1;
  pen.beginPath();
  pen.arc(x, y, size, 0, 2 * Math.PI);
  pen.fill();
  pen.stroke();
  const row = picture.asset.index.get(`node/${node}/temperature`);
  if (row !== undefined && picture.asset.quality[row] >>> 30 !== 0) cross(pen, x, y, size + 3, picture.colours.ink);
}

/** Producers are squares, storage stands on its corner; filled while they give heat. */
function paintProducer(pen, picture, { link, start: [x, y] }, size) {
  const watts = value(picture.asset, `unit/${link.name}/heat`);
  if (isChosen(picture, "unit", link.name)) ring(pen, x, y, size + 7, picture.colours.chosen);
  pen.fillStyle = Math.abs(watts) > 1e3 ? picture.colours.ink : picture.colours.panel;
  pen.strokeStyle = picture.colours.ink;
  pen.lineWidth = 1.4;
  pen.beginPath();
  if (link.kind === "storage") {
    pen.moveTo(x, y - 1.4 * size);
    for (const [dx, dy] of [[1, 0], [0, 1], [-1, 0]]) pen.lineTo(x + 1.4 * size * dx, y + 1.4 * size * dy);
    pen.closePath();
  } else pen.rect(x - size, y - size, 2 * size, 2 * size);
  pen.fill();
  pen.stroke();
}

function ring(pen, x, y, size, colour) {
  pen.strokeStyle = colour;
  pen.lineWidth = 3;
  pen.beginPath();
  pen.arc(x, y, size, 0, 2 * Math.PI);
  pen.stroke();
}

function cross(pen, x, y, size, colour) {
  pen.strokeStyle = colour;
  pen.lineWidth = 1.4;
  pen.beginPath();
  pen.moveTo(x - size, y - size);
  pen.lineTo(x + size, y + size);
  pen.moveTo(x + size, y - size);
  pen.lineTo(x - size, y + size);
  pen.stroke();
}

/** Names of customers, the greatest first, as far as they do not cover one another. */
export function paintNames(pen, picture, most) {
  const watts = (unit) => Math.abs(value(picture.asset, `unit/${unit.link.name}/heat`) ?? 0) || 0;
  const sorted = picture.scene.units.filter(({ link }) => link.kind === "consumer").sort((a, b) => watts(b) - watts(a)).slice(0, most);
  const taken = [];
  pen.font = "11px system-ui, sans-serif";
  pen.textBaseline = "middle";
  pen.lineWidth = 3;
  pen.strokeStyle = picture.colours.panel;
  pen.fillStyle = picture.colours.ink;
  for (const { link, start: [x, y] } of sorted) {
    const beside = x + 4 + radius(value(picture.asset, `unit/${link.name}/heat`), picture.greatest.heat, picture.zoom);
    const box = { x: beside, y: y - 7, width: pen.measureText(link.name).width, height: 14 };
    const isFree = taken.every((other) => box.x > other.x + other.width || other.x > box.x + box.width || box.y > other.y + other.height || other.y > box.y + box.height);
    if (!isFree) continue;
    taken.push(box);
    pen.strokeText(link.name, box.x, y);
    pen.fillText(link.name, box.x, y);
  }
}
