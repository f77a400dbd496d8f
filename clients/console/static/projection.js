// How metres become pixels: fitted into the picture, turned when that makes it larger, moved and zoomed. Pure.

const TURN_FROM = 1.3; // times larger

/** The ends of a network: {west, east, south, north} in m. */
export function boxOf(nodes) {
  const easts = nodes.map((node) => node.east_m);
  const norths = nodes.map((node) => node.north_m);
  return { west: Math.min(...easts), east: Math.max(...easts), south: Math.min(...norths), north: Math.max(...norths) };
}

/** Pixels per metre that fit a box of metres into a size of pixels. */
function fit(wide, high, size) {
  return Math.min(size.width / Math.max(wide, 1), size.height / Math.max(high, 1));
}

/**
 * What places nodes: {place(node) -> [x, y], perMetre, isTurned}. `size` has width, height and margin in pixels, `view`
 * a zoom and x, y in pixels. Turned, north is to the right.
 */
export function projection(box, size, view) {
  const inside = { width: size.width - 2 * size.margin, height: size.height - 2 * size.margin };
  const [wide, high] = [box.east - box.west, box.north - box.south];
  const [upright, turned] = [fit(wide, high, inside), fit(high, wide, inside)];
  const isTurned = turned > TURN_FROM * upright;
  const perMetre = (isTurned ? turned : upright) * view.zoom;
  const [middleX, middleY] = [size.width / 2 + view.x, size.height / 2 + view.y];
  const [middleEast, middleNorth] = [(box.west + box.east) / 2, (box.south + box.north) / 2];
  const place = ({ east_m, north_m }) => {
    const [east, north] = [(east_m - middleEast) * perMetre, (north_m - middleNorth) * perMetre];
    return isTurned ? [middleX + north, middleY + east] : [middleX + east, middleY - north];
  };
  return { place, perMetre, isTurned };
}

/** A view that is zoomed by a factor about a pixel, within limits. */
export function zoomed(view, factor, [x, y], size) {
  const zoom = Math.min(Math.max(view.zoom * factor, 0.5), 60);
  const by = zoom / view.zoom;
  const moved = (at, middle, shift) => (at - middle) * (1 - by) + shift * by;
  return { zoom, x: moved(x, size.width / 2, view.x), y: moved(y, size.height / 2, view.y) };
}

/** Pixels from a point to a line from a to b. */
export function distance([x, y], [ax, ay], [bx, by]) {
  const [dx, dy] = [bx - ax, by - ay];
  const length = dx * dx + dy * dy;
  const part = length === 0 ? 0 : Math.min(Math.max(((x - ax) * dx + (y - ay) * dy) / length, 0), 1);
  return Math.hypot(x - ax - part * dx, y - ay - part * dy);
}

/** A round length in m that is at most `pixels` long, for a scale bar. */
export function roundLength(perMetre, pixels) {
  const most = pixels / perMetre;
  const power = 10 ** Math.floor(Math.log10(most));
  return power * [5, 2, 1].find((step) => step * power <= most);
}
