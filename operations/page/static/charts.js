// Lines over time. What is drawn goes through floating point; no figure is read off here.

import { WAD, roughly } from "./numbers.js";

const { uPlot } = window;
const MARKS = { liquidated: "▼", deleveraged: "◆" };

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const utc = (timestamp) => uPlot.tzDate(new Date(timestamp * 1_000), "Etc/UTC");

function axes() {
  const line = { stroke: style("--rule"), width: 1 };
  const axis = { stroke: style("--muted"), grid: line, ticks: { ...line, size: 4 }, font: style("--chart-font") };
  return [{ ...axis, space: 70, values: times }, { ...axis, size: 62, space: 32 }];
}

/** Hours and minutes; the day where it begins. */
function times(chart, splits) {
  return splits.map((at) => {
    const text = new Date(at * 1_000).toISOString();
    return text.slice(11, 16) === "00:00" ? text.slice(5, 10) : text.slice(11, 16);
  });
}

function options(element, series, more = {}) {
  return {
    width: element.clientWidth,
    height: element.clientHeight,
    tzDate: utc,
    legend: { show: false },
    cursor: { y: false, points: { show: false } },
    axes: axes(),
    series: [{}, ...series],
    padding: [8, 8, 0, 0],
    ...more,
  };
}

/** Lines, markers and a band that follow `rows()` of a list of past blocks. */
class Chart {
  constructor(id, build, rows) {
    this.element = document.getElementById(id);
    this.build = build;
    this.rows = rows;
    this.blocks = [];
    new ResizeObserver(() => this.fit()).observe(this.element);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.restyle());
  }

  show(blocks) {
    this.blocks = blocks;
    if (!this.plot) this.restyle();
    else this.plot.setData(this.rows(blocks));
  }

  restyle() {
    this.plot?.destroy();
    this.plot = this.blocks.length
      ? new uPlot(this.build(this), this.rows(this.blocks), this.element)
      : undefined;
  }

  fit() {
    const { clientWidth: width, clientHeight: height } = this.element;
    if (this.plot && width) this.plot.setSize({ width, height });
  }
}

const price = (value) => (value === null ? null : roughly(value, WAD));

function priceRows(blocks) {
  return [
    blocks.map((b) => b.block.timestamp),
    blocks.map((b) => price(b.price.band_high)),
    blocks.map((b) => price(b.price.band_low)),
    blocks.map((b) => price(b.price.value)),
  ];
}

/** Draws what happened over the line of the price. */
function drawMarks(chart, plot) {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  ctx.textAlign = "center";
  ctx.textBaseline = "middle";
  ctx.font = `${11 * devicePixelRatio}px sans-serif`;
  for (const { block, price: at, breaker, events } of chart.blocks) {
    const x = plot.valToPos(block.timestamp, "x", true);
    if (breaker.trips.some((trip) => trip.block === block.number)) {
      ctx.fillStyle = style("--tripped");
      ctx.fillRect(x - devicePixelRatio, bbox.top, 2 * devicePixelRatio, bbox.height);
    }
    const y = plot.valToPos(price(at.value), "y", true);
    for (const kind of Object.keys(MARKS)) {
      if (!events.some((event) => event.block === block.number && event.kind === kind)) continue;
      ctx.fillStyle = style(`--${kind}`);
      ctx.fillText(MARKS[kind], x, kind === "liquidated" ? y + 9 * devicePixelRatio : y - 9 * devicePixelRatio);
    }
  }
  ctx.restore();
}

const priceOptions = (chart) =>
  options(
    chart.element,
    [
      { stroke: style("--band-edge"), width: 1, points: { show: false } },
      { stroke: style("--band-edge"), width: 1, points: { show: false } },
      { stroke: style("--price"), width: 2, points: { show: false } },
    ],
    {
      bands: [{ series: [1, 2], fill: style("--band") }],
      hooks: { draw: [(plot) => drawMarks(chart, plot)] },
    },
  );

const interestOptions = (chart) =>
  options(
    chart.element,
    [
      { stroke: style("--long"), width: 2, points: { show: false } },
      { stroke: style("--short"), width: 2, dash: [6, 4], points: { show: false } },
    ],
    { scales: { y: { range: (plot, low, high) => [0, high * 1.1 || 1] } } },
  );

const interestRows = (blocks) => [
  blocks.map((b) => b.block.timestamp),
  blocks.map((b) => roughly(b.open_interest.long, WAD)),
  blocks.map((b) => roughly(b.open_interest.short, WAD)),
];

export const priceChart = new Chart("price-chart", priceOptions, priceRows);
export const interestChart = new Chart("interest-chart", interestOptions, interestRows);
