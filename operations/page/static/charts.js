// Lines over time. What is drawn goes through floating point; no figure is read off here.

import { WAD, roughly } from "./numbers.js";

const { uPlot } = window;
const MARKS = { liquidated: { glyph: "▼", offset: 9 }, deleveraged: { glyph: "◆", offset: -9 } };

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

/** Shades what was restricted, under the lines. */
function drawSpans(chart, plot) {
  const { ctx, bbox } = plot;
  const { blocks } = chart;
  ctx.save();
  clip(plot);
  for (let i = 0; i + 1 < blocks.length; i++) {
    const { block, breaker, price: at } = blocks[i];
    const name = at.held !== null ? "--held" : breaker.until > block.timestamp ? "--restricted" : null;
    if (name === null) continue;
    const from = plot.valToPos(block.timestamp, "x", true);
    ctx.fillStyle = style(name);
    ctx.fillRect(from, bbox.top, plot.valToPos(blocks[i + 1].block.timestamp, "x", true) - from, bbox.height);
  }
  ctx.restore();
}

/** Draws who was closed beside the line of the price: losers below, winners above. */
function drawMarks(chart, plot) {
  const { ctx } = plot;
  ctx.save();
  clip(plot);
  ctx.textAlign = "center";
  ctx.textBaseline = "middle";
  ctx.font = `${11 * devicePixelRatio}px sans-serif`;
  for (const { block, price: at, events } of chart.blocks) {
    const kinds = new Set(events.map((event) => event.kind));
    for (const [kind, { glyph, offset }] of Object.entries(MARKS)) {
      if (!kinds.has(kind)) continue;
      ctx.fillStyle = style(`--${kind}`);
      const y = plot.valToPos(price(at.value), "y", true) + offset * devicePixelRatio;
      ctx.fillText(glyph, plot.valToPos(block.timestamp, "x", true), y);
    }
  }
  ctx.restore();
}

function clip({ ctx, bbox }) {
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
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
      hooks: {
        drawClear: [(plot) => drawSpans(chart, plot)],
        draw: [(plot) => drawMarks(chart, plot)],
      },
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
