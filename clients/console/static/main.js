// Puts the parts together: what comes live goes into the store, and from there to the views of the chosen asset.

import { Alarms, SIGNS } from "./alarms.js";
import { forecastOf, layoutOf, trendOf } from "./api.js";
import { balance } from "./balance.js";
import { Details } from "./details.js";
import { choices, dress, element, say } from "./dom.js";
import { Factories } from "./factories.js";
import { KeyValues, coldestCustomer, ofAsset, ofNetwork } from "./keyvalues.js";
import { follow } from "./live.js";
import { NetworkMap } from "./map.js";
import { caption, draw as drawSankey } from "./sankey.js";
import { Store } from "./store.js";
import { now, ofDemand, ofSignal, ofUnits } from "./subjects.js";
import { SignalTable } from "./table.js";
import { themes } from "./theme.js";
import { firstSignal, summary } from "./things.js";
import { RANGES, TrendChart } from "./trend.js";
import { span, time } from "./units.js";
import { language, word } from "./words.js";

const REDRAW_MS = 500; // at least between two pictures
const LOOK_AHEAD_MS = 10e3; // at least between two questions for a forecast
const QUARTER_MS = 900e3; // forecasts are issued by the quarter hour of the plant
const OLD_S = 5; // age of data that is remarkable

const at = (id) => document.getElementById(id);
const store = new Store();
const shown = { asset: null, layout: null, takers: [], thing: null, subject: null, range: "short" };
let stale = true;
let request = 0; // counts what was chosen: an answer to an older choice is let go

const byName = (name) => store.assets.find((each) => each.name === name);
const here = () => byName(shown.asset);

const map = new NetworkMap(
  { canvas: at("map"), tip: at("map-tip"), callouts: at("callouts"), legend: at("map-legend") },
  (kind, name) => chooseThing({ kind, name }),
  (kind, name) => summary(here(), shown.layout, { kind, name }),
);
const trend = new TrendChart(at("trend"));
const details = new Details(at("details"), (name) => chooseSignal(shown.asset, name));
const factories = new Factories(at("factories"), (name) => chooseAsset(name), chooseSignal);
const alarms = new Alarms(at("alarms"), at("health"), chooseSignal);
const keyValues = new KeyValues(at("key"), chooseAbout);
const table = new SignalTable(
  { scroll: at("scroll"), head: at("head"), body: at("rows"), search: at("search"), off: at("only-off"), all: at("all-assets"), count: at("found") },
  chooseSignal,
);

function setUpPage() {
  document.documentElement.lang = language;
  const texts = {
    "sankey-title": "balance", "trend-title": "trend", "table-title": "signals", "search-label": "search", "find-label": "find",
    "details-title": "details", "factories-title": "factories", "alarms-title": "alarms_title", "health-title": "health", "only-off-label": "only_off",
    "all-assets-label": "all_assets",
  };
  for (const [id, key] of Object.entries(texts)) at(id).textContent = word(key);
  at("map").setAttribute("aria-label", `${word("network")}: ${word("map_keys")}`);
  at("zoom").replaceChildren(...[["+", 1.4], ["−", 1 / 1.4], ["⤢", 0]].map(([sign, factor]) => {
    const button = element("button", { type: "button", "aria-label": word(factor === 0 ? "whole" : factor > 1 ? "nearer" : "farther") }, sign);
    button.addEventListener("click", () => map.zoomBy(factor));
    return button;
  }));
  choices(at("sides"), ["supply", "return"], word, (side) => map.showSide(side));
  choices(at("ranges"), ["short", "long"], word, (range) => {
    shown.range = range;
    showSubject(shown.subject);
  });
  themes(at("theme"), () => {
    stale = true;
    trend.build();
  });
  at("find").addEventListener("change", () => {
    const name = at("find").value;
    const link = shown.layout?.links.find((each) => each.name === name);
    if (link) chooseThing({ kind: link.unit_type ? "unit" : "pipe", name });
    else if (shown.layout?.nodes.some((node) => node.name === name)) chooseThing({ kind: "node", name });
  });
}

// ---- what is shown ----

async function chooseAsset(name) {
  const mine = ++request;
  Object.assign(shown, { asset: name, layout: null, thing: null, subject: null });
  for (const each of at("assets").children) each.setAttribute("aria-pressed", String(each.dataset.asset === name));
  const networks = (here().kind === "heat network" ? [here()] : store.assets).filter(({ kind }) => kind === "heat network");
  const layouts = await Promise.all(networks.map((each) => layoutOf(each.name)));
  if (mine !== request) return;
  const layout = here().kind === "heat network" ? layouts[0] : null;
  shown.layout = layout;
  shown.takers = layouts.flatMap((each) => each?.links ?? []).filter((link) => link.heat_from.length > 0);
  showPanels();
  if (layout) map.show(layout, here());
  document.body.dataset.asset = name;
  stale = true;
  chooseFirst();
}

function showPanels() {
  say(at("map-title"), here().title || word("network"));
  const { layout } = shown;
  const made = store.assets.filter(({ kind }) => kind === "factory");
  const isFactory = here().kind === "factory";
  document.body.classList.toggle("factory", !layout);
  for (const id of ["map-panel", "sankey-panel", "details-panel"]) at(id).hidden = !layout;
  at("factories-panel").hidden = !isFactory && (!layout || made.length === 0);
  factories.show(isFactory ? [here()] : made, shown.takers, isFactory);
  table.show(store.assets, shown.asset);
  if (shown.thing) details.show(here(), layout, shown.thing);
  else details.clear();
  const units = (layout?.links ?? []).filter((link) => link.unit_type);
  at("things").replaceChildren(...units.map(({ name }) => element("option", { value: name })));
}

/** What a trend is about before anybody chooses. */
function chooseFirst() {
  const asset = here();
  if (shown.layout?.links.some(({ kind }) => kind === "consumer")) chooseAbout({ demand: true }, word("heat_out"));
  else {
    const { signals } = asset;
    const first = signals.find(({ name }) => name.startsWith("heat/")) ?? signals.find((each) => each.compared_with) ??
      signals.find((each) => each.source === "estimated") ?? signals[0];
    if (first) chooseSignal(asset.name, first.name);
  }
}

/** Show a thing on the map and what is known of it. */
function mark(thing) {
  shown.thing = thing;
  map.select(thing);
  details.show(here(), shown.layout, thing);
}

function chooseThing(thing) {
  mark(thing);
  const signal = firstSignal(here(), shown.layout, thing);
  if (signal) chooseSignal(shown.asset, signal);
}

function chooseSignal(asset, name) {
  table.select(asset, name);
  showSubject(ofSignal(byName(asset), name));
}

/** What a key value or a flow is about. */
function chooseAbout(about, title) {
  if (about.thing) chooseThing(about.thing);
  else if (about.signal) chooseSignal(shown.asset, about.signal);
  else showSubject(about.demand ? ofDemand(here(), shown.layout, title) : ofUnits(here(), title, about.units, about.sign));
}

function chooseFlow({ key, name, units, isLeft }) {
  if (key === "customers") chooseAbout({ demand: true }, name);
  else if (units.length === 1) chooseThing({ kind: "unit", name: units[0] });
  else chooseAbout({ units, sign: isLeft ? 1 : -1 }, name);
}

async function showSubject(subject) {
  if (!subject) return;
  const mine = ++request;
  shown.subject = subject;
  say(at("subject"), `${subject.title}${subject.asset === shown.asset ? "" : ` · ${subject.asset}`}`);
  const past = (names) => (names.length > 0 ? trendOf(subject.asset, names, shown.range === "long") : null);
  const [measured, twin] = await Promise.all([past(subject.measured), past(subject.twin)]);
  if (mine !== request) return;
  trend.show(subject, { measured: measured ?? undefined, twin: twin ?? undefined }, RANGES[shown.range]);
  document.body.dataset.subject = subject.name;
  askForecastOf(subject); // may take longer
}

async function askForecastOf(subject) {
  const { asset, names } = subject.forecast;
  if (names.length === 0) return;
  subject.askedMs = byName(subject.asset)?.plantMs;
  const found = await forecastOf(asset);
  const forecast = found?.series.find((each) => names.includes(each.signal));
  if (subject !== trend.subject || !forecast) return;
  trend.parts.forecast = forecast;
  stale = true;
}

/** Ask again once there may be a new one; as long as there is none, more often. */
function lookAhead() {
  const { subject } = trend;
  if (!subject || document.hidden) return;
  const sinceMs = byName(subject.asset)?.plantMs - subject.askedMs;
  if (!(sinceMs < (trend.parts.forecast ? QUARTER_MS : QUARTER_MS / 15))) askForecastOf(subject);
}

// ---- live ----

function redraw() {
  const asset = here();
  if (document.hidden) return;
  showAge(asset);
  if (!stale || !asset) return;
  stale = false;
  say(at("clock"), Number.isFinite(asset.plantMs) ? `${time(asset.plantMs)} UTC` : word("waiting"));
  const flows = shown.layout ? balance(asset, shown.layout) : null;
  if (shown.layout) {
    map.draw(asset);
    showBalance(flows);
    if (shown.thing) details.update(asset);
    else showColdest(asset);
  }
  keyValues.show(shown.layout ? ofNetwork(asset, shown.layout, flows) : ofAsset(asset));
  factories.update(byName, (asset) => store.silentS(asset, Date.now()));
  table.update();
  trend.redraw();
  showAlarms();
}

/** Before anybody chooses, the customer who is worst off. */
function showColdest(asset) {
  const coldest = coldestCustomer(asset, shown.layout);
  if (coldest) mark({ kind: "unit", name: coldest.name });
}

function showBalance(flows) {
  if (flows) drawSankey(at("sankey"), flows, chooseFlow);
  else at("sankey").replaceChildren(element("p", { className: "none" }, word("no_units")));
  say(at("sankey-caption"), flows ? caption(flows) : "");
}

function showAlarms() {
  const { count, worst } = alarms.update(store.assets, store.plantMs()); // also when the plant that is shown is silent
  say(at("alarm-count"), `${SIGNS[worst] ?? "✓"} ${word("alarms")} ${count}`);
  dress(at("alarm-count"), `alarm-count ${worst ?? ""}`.trim());
}

/** How old what is shown is, also when nothing comes any more: a page that stands still must not look well. */
function showAge(asset) {
  const ageS = asset ? store.silentS(asset, Date.now()) : NaN;
  say(at("age"), `${word("data_age")} ${span(Math.floor(ageS))}`);
  at("age").classList.toggle("old", ageS > OLD_S);
}

function linkSays(text, isLost) {
  say(at("link"), text);
  at("link").classList.toggle("lost", isLost);
}

setUpPage();
follow({
  hello(said) {
    store.describe(said);
    linkSays(said.problem || word("live"), Boolean(said.problem));
    at("assets").replaceChildren(...store.assets.map((each) => {
      const made = element("button", { type: "button", title: each.title, "aria-pressed": String(each.name === shown.asset) }, each.name);
      made.dataset.asset = each.name;
      made.addEventListener("click", () => chooseAsset(each.name));
      return made;
    }));
    if (here()) showPanels();
    else if (store.assets.length > 0) chooseAsset((store.assets.find((each) => each.kind === "heat network") ?? store.assets[0]).name);
  },
  watch(said) {
    alarms.take(said);
    stale = true;
  },
  frame(frame) {
    const asset = store.take(frame);
    if (!asset) return;
    stale = true;
    const { subject } = shown;
    if (asset.name === subject?.asset) trend.add(asset.plantMs, now(asset, subject.measured), now(asset, subject.twin));
  },
  lost() {
    linkSays(word("lost"), true);
  },
});
setInterval(redraw, REDRAW_MS);
setInterval(lookAhead, LOOK_AHEAD_MS);
