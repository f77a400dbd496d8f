// What the map shows where: pipes, stations and producers of one side as spots in pixels, with the rows of their signals. Pure.

import { distance } from "./projection.js";

const NEAR_PX = 9;
const CLOSE_PX = 26; // producers that are closer stand together

/**
 * Spots of one side of a layout. A pipe: {kind: "pipe", link, start, end, from, to, flow}; a unit: {kind: "unit", link, start,
 * end, node, heat}; a node: {kind: "node", node, start, end}. `from`, `to`, `flow`, `heat` are signals or rows of an asset.
 */
export function arrange(layout, side, place) {
  const nodes = new Map(layout.nodes.map((node) => [node.name, node]));
  const isOn = (name) => [side, "neither"].includes(nodes.get(name).side);
  const pipes = [];
  const units = [];
  for (const link of layout.links) {
    if (link.unit_type) {
      const name = [link.start, link.end].find((each) => nodes.get(each).side === side) ?? link.start;
      const at = place(nodes.get(name));
      units.push({ kind: "unit", link, node: name, start: at, end: at });
    } else if (isOn(link.start) && isOn(link.end)) {
      pipes.push({ kind: "pipe", link, start: place(nodes.get(link.start)), end: place(nodes.get(link.end)) });
    }
  }
  const spots = layout.nodes.filter((node) => isOn(node.name)).map((node) => {
    const at = place(node);
    return { kind: "node", node, start: at, end: at };
  });
  // Thin pipes first, so that mains are seen whole; stations over all.
  pipes.sort((a, b) => a.link.inner_diameter_m - b.link.inner_diameter_m);
  return { pipes, units, nodes: spots };
}

/** The spot under a pixel: units before nodes before pipes; null when there is none near. */
export function spotAt(scene, point) {
  for (const [spots, bonus] of [[scene.units, 4], [scene.nodes, 0], [scene.pipes, 0]]) {
    let best = null;
    let least = spots === scene.nodes ? NEAR_PX / 2 : NEAR_PX;
    for (const spot of spots) {
      const away = distance(point, spot.start, spot.end) - bonus;
      if (away < least) [best, least] = [spot, away];
    }
    if (best) return best;
  }
  return null;
}

/** Units that are no customers, in groups of those that stand close: [{at, units}]. */
export function groups(units) {
  const found = [];
  for (const unit of units.filter(({ link }) => link.kind !== "consumer")) {
    const near = found.find(({ units: others }) => others.some(({ start }) => Math.hypot(start[0] - unit.start[0], start[1] - unit.start[1]) < CLOSE_PX));
    if (near) near.units.push(unit);
    else found.push({ units: [unit] });
  }
  for (const group of found) {
    group.at = [0, 1].map((i) => group.units.reduce((sum, { start }) => sum + start[i], 0) / group.units.length);
  }
  return found;
}

/**
 * Where labels go: the place of each box {width, height, at} that covers the fewest points and no other label, and is near what
 * it tells of. Returns [x, y] of the left upper corners.
 */
export function settle(boxes, points, size, step = 14) {
  const taken = [];
  return boxes.map(({ width, height, at }) => {
    let best = [0, 0];
    let least = Infinity;
    for (let y = 2; y + height <= size.height - 2; y += step) {
      for (let x = 2; x + width <= size.width - 2; x += step) {
        const away = Math.hypot(Math.max(x - at[0], 0, at[0] - x - width), Math.max(y - at[1], 0, at[1] - y - height));
        if (away >= least) continue;
        const cost = away + cover(points, taken, x, y, width, height);
        if (cost < least) [best, least] = [[x, y], cost];
      }
    }
    taken.push({ x: best[0], y: best[1], width, height });
    return best;
  });
}

const PER_POINT = 60; // px that a label rather goes than to cover one more
const PER_LABEL = 5000;

function cover(points, taken, x, y, width, height) {
  const pad = 5;
  let cost = 0;
  for (const [px, py] of points) {
    if (px > x - pad && px < x + width + pad && py > y - pad && py < y + height + pad) cost += PER_POINT;
  }
  for (const other of taken) {
    if (x < other.x + other.width + pad && other.x < x + width + pad && y < other.y + other.height + pad && other.y < y + height + pad) cost += PER_LABEL;
  }
  return cost;
}

/** Points along pipes and at stations, that a label should not cover. */
export function obstacles(scene, every = 16) {
  const points = scene.units.map(({ start }) => start);
  for (const { start, end } of scene.pipes) {
    const count = Math.max(1, Math.ceil(Math.hypot(end[0] - start[0], end[1] - start[1]) / every));
    for (let i = 0; i <= count; i++) points.push([0, 1].map((k) => start[k] + ((end[k] - start[k]) * i) / count));
  }
  return points;
}
