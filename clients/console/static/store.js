// What is known of every asset: the signals as described, the newest columns, filled by frames.

import { quality } from "./units.js";

const HEAD = 32;

/** A binary frame as typed columns; see clients/console/frames.py. RangeError when it is cut short. */
export function decode(buffer) {
  const head = new DataView(buffer, 0, HEAD);
  const count = head.getUint32(24, true);
  let at = HEAD;
  const column = (type) => {
    const made = new type(buffer, at, count);
    at += count * type.BYTES_PER_ELEMENT;
    return made;
  };
  return {
    asset: head.getUint16(0, true),
    standsAlone: head.getUint16(2, true) === 1,
    missed: head.getUint32(4, true),
    plantMs: head.getFloat64(8, true),
    publishedMs: head.getFloat64(16, true),
    value: column(Float64Array),
    measuredMs: column(Float64Array),
    sd: column(Float32Array),
    row: column(Uint32Array),
    quality: column(Uint32Array),
  };
}

export class Store {
  constructor() {
    this.assets = [];
    this.problem = "";
  }

  /** Begin anew with what the server describes. */
  describe(hello) {
    this.problem = hello.problem;
    this.assets = hello.assets.map((described) => {
      const n = described.signals.length;
      return {
        ...described,
        index: new Map(described.signals.map((signal, row) => [signal.name, row])),
        plantMs: NaN,
        publishedMs: NaN,
        missed: 0,
        arrivedMs: NaN, // by the clock of the browser
        value: new Float64Array(n).fill(NaN),
        measuredMs: new Float64Array(n).fill(NaN),
        sd: new Float32Array(n).fill(NaN),
        quality: new Uint32Array(n),
        // Totals a while ago, from which powers are told.
        marks: [],
      };
    });
  }

  /**
   * For how many seconds an asset told nothing; NaN before it ever did. The state of a plant that is gone was old when it came:
   * states are published by the clock of the server, and the newest of all tells what time it is there.
   */
  silentS(asset, nowMs) {
    const thereMs = Math.max(...this.assets.filter((each) => each.publishedMs > 0).map((each) => each.publishedMs + nowMs - each.arrivedMs));
    return Math.max(thereMs - asset.publishedMs, 0) / 1e3;
  }

  /** The newest time of all plants, in ms; NaN before there is one. */
  plantMs() {
    const known = this.assets.map((asset) => asset.plantMs).filter(Number.isFinite);
    return known.length > 0 ? Math.max(...known) : NaN;
  }

  /** Take a frame; the asset that it belongs to, or null when it fits none. */
  take(frame) {
    const asset = this.assets[frame.asset];
    if (!asset) return null;
    for (let i = 0; i < frame.row.length; i++) {
      const row = frame.row[i];
      if (row >= asset.value.length) return null;
      asset.value[row] = frame.value[i];
      asset.measuredMs[row] = frame.measuredMs[i];
      asset.sd[row] = frame.sd[i];
      asset.quality[row] = frame.quality[i];
    }
    if (frame.standsAlone || frame.plantMs < asset.plantMs) asset.marks = [];
    asset.plantMs = frame.plantMs;
    asset.publishedMs = frame.publishedMs;
    asset.missed += frame.missed;
    asset.arrivedMs = Date.now();
    mark(asset);
    return asset;
  }
}

const MARK_EVERY_MS = 10e3;
const MOST_MARKS = 7;

/** Keep the ledgers of now and then, for `rate`. */
function mark(asset) {
  const newest = asset.marks.at(-1);
  if (newest && asset.plantMs < newest.plantMs + MARK_EVERY_MS) return;
  asset.marks.push({ plantMs: asset.plantMs, value: asset.value.slice() });
  if (asset.marks.length > MOST_MARKS) asset.marks.shift();
}

/** The row of a signal in the columns; undefined when there is none. */
export function row(asset, name) {
  return asset.index.get(name);
}

/** The value of a signal in SI; undefined when there is none. */
export function value(asset, name) {
  const row = asset.index.get(name);
  return row === undefined ? undefined : asset.value[row];
}

/** All that is known of a signal: {signal, value, sd, quality, ageS}, SI; undefined when there is none. */
export function reading(asset, name) {
  const row = asset.index.get(name);
  if (row === undefined) return undefined;
  const ageS = (asset.plantMs - asset.measuredMs[row]) / 1e3;
  return { signal: asset.signals[row], value: asset.value[row], sd: asset.sd[row], quality: quality(asset.quality[row]), ageS };
}

/** Mean of the growth of a ledger per second over the last minute; undefined when it is not known yet. */
export function rate(asset, name) {
  const row = asset.index.get(name);
  const oldest = asset.marks[0];
  if (row === undefined || !oldest || asset.plantMs - oldest.plantMs < 1) return undefined;
  return (asset.value[row] - oldest.value[row]) / ((asset.plantMs - oldest.plantMs) / 1e3);
}
