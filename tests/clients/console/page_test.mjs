import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

globalThis.document = { documentElement: {} };
const load = (name) => import(`file://${process.env.STATIC}/${name}`);
const { decode, rate, Store, value } = await load("store.js");
const { balance, recoveredShare } = await load("balance.js");
const { sankey } = await load("sankey.js");
const { heat, scale } = await load("colours.js");
const { companions, now, ofDemand, ofSignal } = await load("subjects.js");
const { number, power, quality, shown, shownSpread, span } = await load("units.js");
const { boxOf, distance, projection, roundLength, zoomed } = await load("projection.js");
const { arrange, groups, settle, spotAt } = await load("scene.js");
const { quantities, summary, firstSignal, origin } = await load("things.js");
const { deviations, findings } = await load("alarms.js");
const { search } = await load("table.js");
const { doing, machines, partsPerHour } = await load("factories.js");
const { LANGUAGES } = await load("words.js");

const file = (name) => {
  const bytes = readFileSync(`${process.env.FRAMES}/${name}`);
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
};
const described = (...names) => ({
  name: "ring", kind: "heat network", title: "Ring",
  signals: names.map((name) => ({ name, unit: "W", display_unit: "kW", source: "estimated", compared_with: "", state_names: {} })),
});

test("a frame of the server is read as it was meant", () => {
  const found = decode(file("first.bin"));
  assert.equal(found.standsAlone, true);
  assert.equal(found.plantMs, 1e12);
  assert.deepEqual([...found.value], [1.5, NaN, -3e9]);
  assert.deepEqual([...found.sd], [0.5, NaN, 0]);
  assert.deepEqual([...found.quality].map(quality), ["good", "bad", "uncertain"]);
});

test("what did not change stays as it was", () => {
  const store = new Store();
  store.describe({ problem: "", assets: [described("s0", "s1", "s2")] });
  store.take(decode(file("first.bin")));
  const asset = store.take(decode(file("second.bin")));
  assert.deepEqual([...asset.value], [1.5, NaN, 7]);
  assert.equal(asset.missed, 2);
  assert.equal(asset.measuredMs[0], 1e12);
  assert.equal(asset.measuredMs[2], 1e12 + 2000);
});

test("a frame that fits no asset, or is cut short, changes nothing", () => {
  const store = new Store();
  store.describe({ problem: "", assets: [described("s0")] });
  assert.equal(store.take({ ...decode(file("first.bin")), asset: 3 }), null);
  assert.equal(store.take(decode(file("first.bin"))), null);
  assert.throws(() => decode(file("first.bin").slice(0, 60)), RangeError);
});

const units = [
  { name: "gas-1", kind: "producer", unit_type: "heat_only_boiler" },
  { name: "gas-2", kind: "producer", unit_type: "heat_only_boiler" },
  { name: "fumes", kind: "producer", unit_type: "waste_heat_exchanger", heat_from: ["works"] },
  { name: "pump", kind: "producer", unit_type: "heat_pump" },
  { name: "tank", kind: "storage", unit_type: "storage_tank" },
  { name: "school", kind: "consumer", unit_type: "substation" },
  { name: "gym", kind: "consumer", unit_type: "substation" },
  { name: "p1", kind: "pipe", unit_type: "" },
];

/** An asset with these values, now and so many seconds later: {name: [now, later]}. */
function followed(values, seconds = 10, change = {}) {
  const names = Object.keys(values);
  const store = new Store();
  const signals = described(...names).signals.map((signal) => ({ ...signal, ...change[signal.name] }));
  store.describe({ problem: "", assets: [{ ...described(), signals }] });
  const rows = Uint32Array.from(names.keys());
  for (const i of [0, 1]) store.take({
    asset: 0, missed: 0, plantMs: 1e6 + 1e3 * seconds * i, publishedMs: 0, row: rows, value: Float64Array.from(Object.values(values).map((both) => both[i])),
    measuredMs: new Float64Array(rows.length).fill(1e6), sd: new Float32Array(rows.length).fill(3), quality: new Uint32Array(rows.length),
  });
  return store.assets[0];
}

test("heat is told by the ledger, by where it comes from and where it goes, and closes", () => {
  const energies = { "gas-1": 1e6, "gas-2": 2e6, fumes: 3e6, pump: 4e6, tank: -1e6, school: -5e6, gym: -2e6 };
  const values = Object.fromEntries(Object.entries(energies).map(([name, joules]) => [`unit/${name}/energy`, [0, joules]]));
  const asset = followed({ ...values, "energy/loss": [7, 1e6 + 7], "energy/stored_change": [0, 2e6], "energy/expansion": [0, 1e6], "indicator/recovered": [0, 6e6] });
  const { into, outOf, closure, isLedger } = balance(asset, { links: units });
  assert.deepEqual(into.map(({ key, watts }) => [key, watts]), [["gas", 3e5], ["fumes", 3e5], ["pump", 4e5], ["holding", 1e5]]);
  assert.deepEqual(Object.fromEntries(outOf.map(({ key, watts }) => [key, watts])), { tank: 1e5, customers: 7e5, losses: 1e5, stored: 2e5 });
  assert.ok(isLedger && closure < 1e-12);
  assert.deepEqual(into.map(({ from }) => from), [[], ["works"], [], []]);
  assert.equal(rate(asset, "energy/loss"), 1e5);
  assert.equal(into.find(({ key }) => key === "pump").recovered, 0.75);
  assert.ok(Math.abs(recoveredShare({ into }) - 0.6) < 1e-12);
});

test("as long as there is no ledger heat is told as it is now, and what does not close is shown", () => {
  const { into, outOf, isLedger } = balance(followed({ "unit/gas-1/heat": [1e3, 9e3], "unit/school/heat": [-1e3, -8e3] }), { links: units });
  assert.equal(isLedger, false);
  assert.deepEqual(into.map(({ watts }) => watts), [9e3]);
  assert.deepEqual(outOf.map(({ key, watts }) => [key, watts]), [["customers", 8e3], ["imbalance", 1e3]]);
});

test("a network without units has no balance", () => {
  assert.equal(balance(followed({}), { links: [units.at(-1)] }), null);
});

test("the picture of the balance keeps its proportions and stays in its frame, however thin its flows are", () => {
  const flow = (key, watts) => ({ key, watts, units: [], recovered: 0 });
  const flows = {
    into: [flow("a", 700), flow("b", 250), flow("c", 0.01), ...[..."defghij"].map((key) => flow(key, 7))],
    outOf: [flow("x", 900), flow("y", 99)],
  };
  const { middle, nodes } = sankey(flows, 520, 300);
  const height = Object.fromEntries(nodes.map((node) => [node.key, node.height]));
  assert.ok(Math.abs(height.a / height.b - 2.8) < 1e-9);
  assert.equal(height.c, undefined);
  for (const node of nodes) {
    assert.ok(node.y >= -1e-9 && node.y + node.height <= 300 + 1e-9);
    assert.ok(node.inner >= middle.y - 1e-9 && node.inner + node.height <= middle.y + middle.height + 1e-6);
  }
  const left = nodes.filter(({ isLeft }) => isLeft).map(({ y, height: thick }) => y + thick / 2);
  left.slice(1).forEach((at, i) => assert.ok(at - left[i] >= 15, "labels stand apart"));
});

const layout = {
  nodes: [
    { name: "s", east_m: 0, north_m: 0, side: "supply" }, { name: "t", east_m: 100, north_m: 900, side: "supply" },
    { name: "r", east_m: 0, north_m: 0, side: "return" }, { name: "q", east_m: 100, north_m: 900, side: "return" },
  ],
  links: [
    { name: "go", kind: "pipe", start: "s", end: "t", length_m: 905, inner_diameter_m: 0.1, unit_type: "" },
    { name: "back", kind: "pipe", start: "q", end: "r", length_m: 905, inner_diameter_m: 0.1, unit_type: "" },
    { name: "gas-1", kind: "producer", start: "r", end: "s", unit_type: "heat_only_boiler" },
    { name: "gas-2", kind: "producer", start: "r", end: "s", unit_type: "heat_only_boiler" },
    { name: "school", kind: "consumer", start: "t", end: "q", unit_type: "substation" },
  ],
};
const size = { width: 1000, height: 300, margin: 20 };

test("a long network is turned into a wide picture, north to the right, and fits", () => {
  const { place, isTurned } = projection(boxOf(layout.nodes), size, { x: 0, y: 0, zoom: 1 });
  assert.ok(isTurned);
  const [south, north] = ["s", "t"].map((name) => place(layout.nodes.find((node) => node.name === name)));
  assert.ok(north[0] > south[0] && north[1] > south[1]);
  for (const [x, y] of [south, north]) assert.ok(x >= 20 && x <= 980 && y >= 20 && y <= 280);
  assert.equal(projection(boxOf(layout.nodes), { width: 300, height: 1000, margin: 20 }, { x: 0, y: 0, zoom: 1 }).isTurned, false);
});

test("zooming keeps what is under the pointer where it is", () => {
  const box = boxOf(layout.nodes);
  const before = projection(box, size, { x: 0, y: 0, zoom: 1 }).place(layout.nodes[1]);
  const after = projection(box, size, zoomed({ x: 0, y: 0, zoom: 1 }, 3, before, size)).place(layout.nodes[1]);
  assert.ok(Math.hypot(before[0] - after[0], before[1] - after[1]) < 1e-9);
  assert.equal(roundLength(0.16, 120), 500);
});

test("one side is shown at a time; what is pointed at is the station rather than its pipe", () => {
  const { place } = projection(boxOf(layout.nodes), size, { x: 0, y: 0, zoom: 1 });
  const scene = arrange(layout, "supply", place);
  assert.deepEqual(scene.pipes.map(({ link }) => link.name), ["go"]);
  assert.equal(spotAt(scene, place(layout.nodes[1])).link.name, "school");
  const middle = [0, 1].map((i) => (scene.pipes[0].start[i] + scene.pipes[0].end[i]) / 2);
  assert.equal(spotAt(scene, middle).link.name, "go");
  assert.equal(spotAt(scene, [500, 290]), null);
  assert.deepEqual(groups(scene.units).map(({ units: some }) => some.length), [2]);
});

test("labels cover neither one another nor what is drawn while there is room", () => {
  const points = Array.from({ length: 40 }, (_, i) => [10 + 24 * i, 150]);
  const boxes = [{ width: 120, height: 60, at: [500, 150] }, { width: 120, height: 60, at: [510, 150] }];
  const [[x0, y0], [x1, y1]] = settle(boxes, points, size);
  for (const y of [y0, y1]) assert.ok(y + 60 < 150 || y > 150);
  assert.ok(x0 + 120 < x1 || x1 + 120 < x0 || y0 + 60 < y1 || y1 + 60 < y0);
});

const station = () => followed(
  {
    "node/t/temperature": [360, 361], "node/t/temperature/twin": [359, 360], "node/q/temperature/twin": [320, 321], "unit/school/heat": [-2e3, -3e3],
    "unit/school/energy": [0, -1e5], "unit/gas-1/answers": [1, 0], "unit/gas-2/answers": [1, 1], "machine/press/state": [4, 8], parted: [0, 1],
  },
  10,
  {
    "node/t/temperature": { source: "measured", display_unit: "Cel" }, "node/t/temperature/twin": { compared_with: "node/t/temperature", display_unit: "Cel" },
    "machine/press/state": { source: "measured", state_names: { 4: "execute", 8: "aborted" } }, parted: { state_names: { 0: "in step", 1: "parted" } },
  },
);

test("a station is told by its heat and by what it gets and gives back, measured beside twin", () => {
  const thing = { kind: "unit", name: "school" };
  const asset = station();
  assert.deepEqual(quantities(asset, layout, thing).map(({ measured, twin }) => [measured, twin]), [
    [undefined, "unit/school/heat"], ["node/t/temperature", "node/t/temperature/twin"], [undefined, "node/q/temperature/twin"], [undefined, "unit/school/energy"],
  ]);
  assert.equal(firstSignal(asset, layout, thing), "node/t/temperature/twin");
  assert.match(summary(asset, layout, thing), /^school · station\nheat -3.00 ± 0.003 kW\nsupply temperature 86.85 ± 3.00 °C · measured 87.85 °C, good, 10 s/);
});

test("what takes the heat of a factory says whose it is", () => {
  const link = { name: "fumes", kind: "producer", start: "s", end: "t", unit_type: "waste_heat_exchanger", heat_from: ["works"] };
  const found = summary(station(), { ...layout, links: [link] }, { kind: "unit", name: "fumes" });
  assert.match(found, /^fumes · waste heat · from works\n/);
  assert.equal(origin(layout.links[0]), "");
});

test("a trend is about a signal and what stands beside it, or about a sum", () => {
  const asset = station();
  assert.deepEqual(companions(asset, "node/t/temperature"), { measured: "node/t/temperature", twin: "node/t/temperature/twin" });
  assert.deepEqual(ofSignal(asset, "node/t/temperature/twin").measured, ["node/t/temperature"]);
  const demand = ofDemand(asset, layout, "delivered");
  assert.deepEqual([demand.twin, demand.sign, demand.forecast.asset], [["unit/school/heat"], -1, "ring/demand"]);
  assert.deepEqual(now(asset, ["unit/school/heat", "unit/school/energy"]), { value: -103e3, sd: Math.sqrt(18) });
});

test("what wants to be looked at is found in the states", () => {
  const asset = station();
  assert.deepEqual(findings(asset).map(({ priority, text }) => [priority, text.split(" ")[0]]), [["high", "gas-1"], ["low", "the"], ["medium", "press"]]);
  assert.match(findings(asset)[0].text, /gas-1 does not answer/);
  assert.match(findings(asset)[2].text, /press aborted/);
  assert.equal(deviations(asset).compared, 1);
  asset.value[asset.index.get("node/t/temperature")] = 390;
  asset.quality[asset.index.get("node/t/temperature")] = 0x40000000;
  assert.deepEqual([deviations(asset).off.map(({ name }) => name), deviations(asset).doubtful], [["node/t/temperature/twin"], 1]);
  asset.quality[asset.index.get("node/t/temperature")] = 0x40930000; // no water passes it
  assert.deepEqual([deviations(asset).off, deviations(asset).doubtful], [[], 1]);
  assert.deepEqual(search([asset], "Q temp", false), [{ asset: "ring", name: "node/q/temperature/twin" }]);
  assert.deepEqual(search([asset], "ring", true).map(({ name }) => name), ["node/t/temperature"]);
  assert.deepEqual([machines(asset)[0].name, doing(asset, "machine/press/state").kind], ["press", "down"]);
});

test("a sensor that the twin follows against its model is among those that are off, though no deviation is left", () => {
  const asset = described("node/t/temperature/bias");
  const off = (biasK, sd, quality = 0) => deviations({ ...asset, index: new Map(), value: [biasK], sd: [sd], quality: [quality] }).off;
  assert.deepEqual(off(-2.8, 0.25).map(({ name, biasK }) => [name, biasK]), [["node/t/temperature/bias", -2.8]]);
  assert.deepEqual([off(1.9, 0.25), off(9, 10), off(2.8, 0.25, 0x80000000)], [[], [], []]);
});

test("a plant that is gone is silent for as long as others tell, however late a page was opened", () => {
  const store = new Store();
  store.describe({ problem: "", assets: [described("s0", "s1", "s2"), described("s0")] });
  const frame = (asset, publishedMs) => ({ asset, standsAlone: true, missed: 0, plantMs: publishedMs, publishedMs, row: [], value: [], measuredMs: [], sd: [], quality: [] });
  const [living, gone] = [store.take(frame(0, 1e12 + 92e3)), store.take(frame(1, 1e12))];
  assert.deepEqual([store.silentS(living, living.arrivedMs), store.silentS(gone, living.arrivedMs)], [0, 92]);
  assert.equal(store.silentS(living, living.arrivedMs + 5e3), 5); // nothing comes at all
  assert.equal(store.plantMs(), 1e12 + 92e3);
  assert.ok(Number.isNaN(new Store().plantMs()));
});

test("what a factory makes is told when more than one part was counted, or none for long", () => {
  const made = (parts, quality) => partsPerHour({
    index: new Map([["output", 0]]), signals: [{ name: "output" }], value: [parts / 60], sd: [1 / 60], quality: [quality], plantMs: 0, measuredMs: [0],
  });
  assert.deepEqual([made(0, 0), made(0, 0x40000000), made(1, 0x40000000), made(2, 0x40000000)], [0, undefined, undefined, 120]);
});

test("what a plant raises an alarm of is not told once more by its twin", () => {
  const asset = station();
  const texts = (...alarms) => findings(asset, alarms).map(({ text }) => text.split(" ")[0]);
  assert.deepEqual(texts({ plant: "plant", source: "gas-1" }, { plant: "ring", source: "press" }), ["the"]);
  assert.deepEqual(texts({ plant: "elsewhere", source: "press" }), ["gas-1", "the", "press"]);
});

test("colours follow the temperature and the scale has whole steps", () => {
  assert.equal(heat(0), "rgb(44 92 156)");
  assert.equal(heat(1), "rgb(166 28 40)");
  assert.equal(heat(7), heat(1));
  assert.match(heat(NaN), /^#/);
  assert.deepEqual(scale([71.2, NaN, 88.9]), [70, 90]);
  assert.deepEqual(scale([80, 80]), [80, 85]);
  assert.deepEqual(scale([76, 80.003]), [75, 80]);
  assert.deepEqual(scale([]), [0, 5]);
  assert.deepEqual(scale([12, ...Array.from({ length: 98 }, () => 71), 120]), [70, 75], "few values do not take the colours from all others");
});

test("numbers are shown in the units that people read", () => {
  assert.equal(shown(353.15, "Cel"), 80);
  assert.equal(shownSpread(2, "Cel"), 2);
  assert.equal(power(1.25e6), "1.25 MW");
  assert.equal(power(-4e3), "-4.00 kW");
  assert.deepEqual([NaN, 0, 0.5, 12.345, 1234.5].map(number), ["–", "0", "0.500", "12.35", "1235"].map((text, i) => (i === 4 ? number(1234.5) : text)));
  assert.deepEqual([5, 600, 7200, NaN].map(span), ["5 s", "10 min", "2.0 h", "–"]);
});

test("pointing finds the nearest part of a pipe", () => {
  assert.equal(distance([5, 3], [0, 0], [10, 0]), 3);
  assert.equal(distance([-3, 4], [0, 0], [10, 0]), 5);
  assert.equal(distance([1, 1], [1, 1], [1, 1]), 0);
});

test("every word is there in both languages", () => {
  assert.deepEqual(Object.keys(LANGUAGES.fr).sort(), Object.keys(LANGUAGES.en).sort());
});
