// From cold blue to hot red, readable in order of lightness too.

const RAMP = ["#2c5c9c", "#5f9ec9", "#a9c8c4", "#f0b56b", "#de6a3a", "#a61c28"].map(rgb);

function rgb(hex) {
  return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
}

/** The colour of a part of the scale, 0 to 1; grey for what is not known. */
export function heat(part) {
  if (!Number.isFinite(part)) return "#8a939c";
  const at = Math.min(Math.max(part, 0), 1) * (RAMP.length - 1);
  const low = Math.min(Math.floor(at), RAMP.length - 2);
  const mixed = RAMP[low].map((one, i) => Math.round(one + (RAMP[low + 1][i] - one) * (at - low)));
  return `rgb(${mixed.join(" ")})`;
}

const FEW = 0.02; // of the values at each end may lie outside of a scale

/** Ends of a scale around nearly all values, in whole steps, so that colours do not dance with every frame. */
export function scale(values, step = 5) {
  const known = values.filter(Number.isFinite).map((value) => Math.round(10 * value) / 10).sort((a, b) => a - b);
  if (known.length === 0) return [0, step];
  const few = Math.floor(FEW * known.length);
  const low = Math.floor(known[few] / step) * step;
  return [low, Math.max(Math.ceil(known[known.length - 1 - few] / step) * step, low + step)];
}

/** A colour of the style sheet. */
export function css(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
