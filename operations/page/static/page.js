// Follows the stream of records and shows the newest one.

import { interestChart, priceChart } from "./charts.js";
import { WAD, clock, number, percent, seconds, share } from "./numbers.js";

const BLOCKS = 1_000; // in the charts
const EVENTS = 100; // in the list
const QUIET_SECONDS = 20; // without a block, after which the page says so

const byId = (id) => document.getElementById(id);
const sum = (...values) => values.reduce((total, value) => total + BigInt(value), 0n);

/** An element with attributes and children; text only, never markup. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const cell = (content, name = "num") => make("td", { class: name }, content);
const put = (id, ...content) => byId(id).replaceChildren(...content);
const short = (address) => make("span", { title: address, class: "address" }, `${address.slice(0, 6)}…${address.slice(-4)}`);

// The state: everything else follows from it

let record = null; // the newest
let past = []; // by block, oldest first, the newest included
let events = []; // newest first
const trips = new Map(); // of breakers, by block and cause
let heardAt = 0; // when the last record came, by this machine's clock
let isConnected = false;

// What is wrong, worst first: [how bad, sentence]

function reasons({ invariants, solvency, price, breaker, feed, block, decimals, lag_blocks: lag }) {
  const found = [];
  for (const { id, sentence, state, since_block: since } of invariants) {
    if (state === "broken") found.push(["broken", `Invariant ${id} is broken since block ${since}: ${sentence}`]);
  }
  if (BigInt(solvency.liabilities) > BigInt(solvency.assets)) {
    const missing = sum(solvency.liabilities, `-${solvency.assets}`);
    found.push(["broken", "It owes more than it has; missing: ", number(missing, decimals)]);
  }
  if (BigInt(solvency.bad_debt) > 0n) found.push(["told", "Bad debt so far: ", number(solvency.bad_debt, decimals)]);
  if (price.held !== null) found.push(["limited", "A price waits for confirmation: ", number(price.held, WAD)]);
  if (feed.age > feed.max_age) found.push(["limited", `The price is too old to trade at: ${seconds(feed.age)}`]);
  if (breaker.until > block.timestamp) found.push(["limited", `A breaker allows exits only until ${clock(breaker.until)}`]);
  if (BigInt(solvency.claims) > 0n) found.push(["limited", "The pool owes claims: ", number(solvency.claims, decimals)]);
  if (lag > 10) found.push(["limited", `The monitor is ${lag} blocks behind the chain`]);
  const order = ["broken", "limited", "told"];
  return found.sort(([one], [other]) => order.indexOf(one) - order.indexOf(other));
}

const VERDICTS = {
  broken: "✖ Something is broken",
  limited: "▲ Solvent, with restrictions",
  told: "✔ Healthy",
};

function showVerdict() {
  const found = reasons(record);
  const state = found[0]?.[0] ?? "told";
  byId("verdict").className = state;
  put("verdict-text", VERDICTS[state]);
  put("reasons", ...found.map(([kind, ...text]) => make("li", { class: kind }, ...text)));
}

function showHead() {
  const { block } = record;
  put("market", record.symbol ?? "");
  put("block", make("data", { value: block.number, title: block.hash }, block.number.toLocaleString("en")));
  const time = byId("block-time");
  time.dateTime = new Date(block.timestamp * 1_000).toISOString();
  time.textContent = clock(block.timestamp, true);
}

function showFigures() {
  const { price, solvency, open_interest: sides, positions, feed, decimals } = record;
  put("price", number(price.value, WAD));
  put("price-note", "± ", percent(price.confidence));
  put("ratio", percent(solvency.ratio));
  put("ratio-note", "left over ", number(sum(solvency.assets, `-${solvency.liabilities}`), decimals));
  put("interest", number(sum(sides.long, sides.short), WAD, { shown: 2 }));
  put("interest-note", "both sides");
  put("positions", make("data", { value: positions.open }, positions.open.toLocaleString("en")));
  put("positions-note", `of ${positions.ever.toLocaleString("en")} ever`);
  put("feed", make("data", { value: feed.age }, seconds(feed.age)));
  put("feed-note", `${feed.kind}, at most ${seconds(feed.max_age)} old`);
}

// What it has and owes: the figures of solvency(), in the order of the bars

const HAS = ["pool_cash", "margin", "insurance", "fees", "credits"];
const OWES = ["traders", "claims", "credits", "fees"];
const NAMES = {
  pool_cash: "pool cash",
  margin: "margin of positions",
  insurance: "insurance",
  fees: "trading fees",
  credits: "credits",
  traders: "margin with profit",
  claims: "claims on the pool",
};

function showSolvency() {
  const { solvency, decimals } = record;
  const equity = sum(solvency.margin, solvency.net_trader_profit);
  const figures = { ...solvency, traders: equity > 0n ? equity : 0n };
  const most = [solvency.assets, solvency.liabilities].map(BigInt).reduce((a, b) => (a > b ? a : b));
  bar("assets-bar", HAS, figures, most);
  bar("liabilities-bar", OWES, figures, most);
  const row = (name, value, key = "") =>
    make(
      "tr",
      key ? { "data-key": key } : { class: "total" },
      make("th", { scope: "row" }, ...(key ? [make("i", { class: `swatch ${key}` })] : []), name),
      cell(number(value, decimals, { shown: 2 })),
    );
  byId("solvency").tBodies[0].replaceChildren(
    row("has", solvency.assets),
    ...HAS.map((key) => row(NAMES[key], figures[key], key)),
    row("owes if everybody closed now", solvency.liabilities),
    ...OWES.map((key) => row(NAMES[key], figures[key], key)),
    row("traders' profit not yet taken", solvency.net_trader_profit),
    row("bad debt so far", solvency.bad_debt),
  );
}

function bar(id, keys, figures, most) {
  const pieces = keys.map((key) => {
    const piece = make("i", { class: `piece ${key}`, title: NAMES[key] });
    piece.style.width = `${100 * share(figures[key], most)}%`;
    return piece;
  });
  put(id, ...pieces);
}

function showSides() {
  const { open_interest: sides } = record;
  const row = (side) => {
    const fill = make("i", { class: `piece ${side}` });
    fill.style.width = `${Math.min(100, 100 * share(sides[side], sides.cap))}%`;
    const size = number(sides[side], WAD, { shown: 4 });
    size.id = `${side}-size`;
    return make("div", { class: "side" }, make("span", {}, side), make("span", { class: "bar" }, fill), size);
  };
  const cap = number(sides.cap, WAD, { shown: 2 });
  put("sides", row("long"), row("short"), make("p", { class: "lead" }, "full bar: the cap of a side, ", cap));
}

function showDistances() {
  const { edges, counts } = record.distances;
  const name = (bps) => `${bps / 100}`;
  const labels = [
    `below ${name(edges[0])} %`,
    ...edges.slice(1).map((edge, i) => `${name(edges[i])}–${name(edge)} %`),
    `${name(edges.at(-1))} % and more`,
  ];
  const most = Math.max(1, ...counts);
  const rows = counts.map((count, i) => {
    const fill = make("i", { class: `piece ${i < 2 ? "near" : "far"}` });
    fill.style.width = `${(100 * count) / most}%`;
    const shown = make("data", { value: count }, count.toLocaleString("en"));
    return make("li", {}, make("span", {}, labels[i]), make("span", { class: "bar" }, fill), shown);
  });
  put("distances", ...rows);
}

function showNext() {
  const { next, decimals } = record;
  const rows = next.map((position) =>
    make(
      "tr",
      { "data-id": position.id },
      cell(String(position.id), "id"),
      cell(position.side, position.side),
      cell(number(position.distance_bp, 2, { unit: " %" })),
      cell(number(position.liquidation_price, WAD)),
      cell(number(position.size, WAD, { shown: 4 })),
      cell(number(position.margin, decimals, { shown: 2 })),
      cell(short(position.owner), ""),
    ),
  );
  byId("next").tBodies[0].replaceChildren(...rows);
}

const GLYPHS = { liquidated: "▼", deleveraged: "◆", settled: "■", tripped: "┃", held: "‖", confirmed: "▶" };

/** The trips that are known, oldest first; one that prolongs another is the same. */
function spans() {
  const found = [];
  const open = new Map();
  for (const trip of [...trips.values()].sort((one, other) => one.block - other.block)) {
    const last = open.get(trip.cause);
    if (last && trip.time <= last.until) {
      last.until = Math.max(last.until, trip.until);
    } else {
      open.set(trip.cause, { ...trip });
      found.push(open.get(trip.cause));
    }
  }
  return found;
}

function showEvents() {
  const { decimals } = record;
  const tripped = spans();
  put("trips", ...tripped.slice(-3).reverse().map(tripLine));
  const all = [...events, ...tripped.map(({ cause, ...trip }) => ({ ...trip, kind: "tripped", text: `breaker: ${cause}` }))];
  const newest = all.sort((one, other) => other.block - one.block).slice(0, EVENTS);
  const figure = (value, places, shown) =>
    cell(value === undefined || value === null ? "" : number(value, places, { shown }));
  const rows = newest.map((event) =>
    make(
      "tr",
      { class: event.kind, "data-block": event.block },
      cell(make("time", { title: `block ${event.block}` }, clock(event.time)), ""),
      make("td", {}, make("b", { class: "glyph" }, GLYPHS[event.kind] ?? "•"), event.text ?? event.kind),
      cell(event.id === undefined || event.id === null ? "" : String(event.id), "id"),
      figure(event.size, WAD, 4),
      figure(event.price, WAD),
      figure(event.value, decimals, 2),
      figure(event.penalty, decimals, 2),
      figure(event.bad_debt, decimals, 2),
    ),
  );
  byId("events").tBodies[0].replaceChildren(...rows);
  byId("events-none").hidden = rows.length > 0;
}

const tripLine = ({ cause, time, until }) =>
  make("li", {}, make("b", { class: "glyph tripped" }, "┃"), `${clock(time)} ${cause}: exits only until ${clock(until)}`);

function showInvariants() {
  const all = record.invariants;
  const broken = all.filter(({ state }) => state === "broken");
  put("invariants-count", `${all.length - broken.length} of ${all.length} hold`);
  byId("invariants-count").className = broken.length ? "broken" : "told";
  const rows = [...broken, ...all.filter(({ state }) => state !== "broken")].map((invariant) =>
    make(
      "li",
      { class: invariant.state, "data-id": invariant.id },
      make("b", {}, `${invariant.state === "broken" ? "✖" : "✔"} ${invariant.id}`),
      ` ${invariant.sentence}`,
      ...(invariant.text ? [make("em", {}, invariant.text)] : []),
    ),
  );
  put("invariants", ...rows);
}

function showLink() {
  const silent = Math.floor((performance.now() - heardAt) / 1_000);
  const link = byId("link");
  const [state, text] = !isConnected
    ? ["broken", "✖ not connected to the monitor"]
    : !record
      ? ["waiting", "waiting for the first block"]
      : silent > QUIET_SECONDS
        ? ["limited", `▲ no block for ${seconds(silent)}`]
        : ["told", "● live"];
  link.className = state;
  if (link.textContent !== text) link.textContent = text;
}

function show() {
  const { price } = record;
  showHead();
  showVerdict();
  showFigures();
  showSolvency();
  showSides();
  showDistances();
  showNext();
  showEvents();
  showInvariants();
  showLink();
  const priced = past.filter((block) => BigInt(block.price.value) > 0n);
  priceChart.show(priced);
  interestChart.show(priced);
  const { textContent: shown } = number(price.value, WAD);
  document.title = `${byId("verdict-text").textContent[0]} ${shown} · Ringfence`;
  // For whoever looks at the page by machine: all of it is of this block.
  document.documentElement.dataset.block = record.block.number;
}

// What comes in

/** Puts blocks in place of those with the same or a higher number: a chain may go back. */
function append(blocks) {
  if (!blocks.length) return;
  const first = blocks[0].block.number;
  past = [...past.filter(({ block }) => block.number < first), ...blocks].slice(-BLOCKS);
  const fresh = blocks.flatMap((block) => block.events.filter(({ kind }) => kind !== "tripped"));
  events = [...fresh.reverse(), ...events.filter(({ block }) => block < first)].slice(0, EVENTS);
  for (const [key, trip] of trips) if (trip.block >= first) trips.delete(key);
  for (const trip of blocks.flatMap(({ breaker }) => breaker.trips)) trips.set(`${trip.block} ${trip.cause}`, trip);
}

async function fetchPast(count) {
  const answer = await fetch(`/api/history?blocks=${Math.min(count, BLOCKS)}`);
  return answer.ok ? answer.json() : [];
}

/** Records one after the other, as each may have to wait for what was missed before it. */
let turn = Promise.resolve();

async function take(next) {
  const last = record?.block.number;
  const number = next.block.number;
  if (last === undefined || number !== last + 1) {
    const missed = await fetchPast(last === undefined || number <= last ? BLOCKS : number - last);
    append(missed.filter(({ block }) => block.number < number));
  }
  append([next]);
  record = next;
  heardAt = performance.now();
  show();
}

const stream = new EventSource("/api/stream");
stream.onopen = () => {
  isConnected = true;
  showLink();
};
stream.onerror = () => {
  isConnected = false;
  showLink();
};
stream.onmessage = ({ data }) => {
  const next = JSON.parse(data);
  turn = turn.then(() => take(next));
};
setInterval(showLink, 1_000);

byId("all-digits").addEventListener("change", ({ target }) => {
  document.documentElement.classList.toggle("every-digit", target.checked);
});
