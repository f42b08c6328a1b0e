// The charts of the dashboard: uPlot draws them; the legends and the text for screen readers are made here.
import { make, put } from "./page.js";
import { byUnit, clock } from "./format.js";
import { look, paint, swatch } from "./looks.js";

/* global uPlot */
const LEGEND = 6; // models named under a chart; the others are in the table
const FLOORS = { count: 4, "per second": 1, seconds: 0.1 }; // the least scale of a chart
const MARGIN = 10; // pixels right of a chart
const HALF_A_TIME = 24; // pixels that a time needs to its right
const ROW = 24; // pixels of a model in the chart of names
const STEPS = [1, 2, 2.5, 5].flatMap((digit) => [-3, -2, -1, 0, 1, 2, 3, 4, 5, 6].map((power) => digit * 10 ** power));

/** A line of a chart: {name, label, values}. What a chart shows is a function from the series to its lines. */
export const perModel = (column) => (series) =>
  series.names.map((name) => ({ name, label: name, values: series.column(name, column) }));

export const activeModels = (series) => [{ name: null, label: "active models", values: series.totals.active }];

/** The times below a chart; the last one is left out where it would be cut off. */
function times(plot, ticks) {
  const end = plot.bbox.width / devicePixelRatio + MARGIN;
  return ticks.map((tick) => (plot.valToPos(tick, "x") + HALF_A_TIME > end ? "" : clock(tick)));
}

class Chart {
  /** @param figure the element that hub.web.pages has made for it */
  constructor(figure, lines, { stepped = true, sync }) {
    this.figure = figure;
    this.box = figure.querySelector(".plot");
    this.legend = figure.querySelector(".legend");
    this.title = figure.querySelector("h2").textContent;
    this.unit = figure.dataset.unit;
    this.format = byUnit[this.unit];
    this.linesOf = lines;
    this.stepped = stepped;
    this.sync = sync;
    this.plot = null;
    this.lines = [];
    this.cursor = null; // the index of the sample under the pointer
    new ResizeObserver(() => this.plot?.setSize(this.size())).observe(this.box);
    this.box.addEventListener("keydown", (event) => this.key(event));
    this.box.addEventListener("blur", () => this.point(null));
  }

  update(series) {
    const lines = this.linesOf(series);
    const same = lines.length === this.lines.length && lines.every((line, at) => line.label === this.lines[at].label);
    this.lines = lines;
    this.times = series.times;
    if (this.plot === null || !same) this.draw();
    else this.plot.setData(this.data());
    this.tell();
  }

  /** Draws it from scratch: there are other lines, or other colours. */
  draw() {
    this.plot?.destroy();
    const empty = this.lines.length === 0 || this.times.length === 0;
    if (empty) this.box.dataset.empty = "Nothing to show yet";
    else delete this.box.dataset.empty;
    this.plot = new uPlot(this.options(), this.data(), this.box);
  }

  size() {
    return { width: this.box.clientWidth, height: Math.max(110, this.box.clientHeight - 8) };
  }

  data() {
    return [this.times, ...this.lines.map((line) => line.values)];
  }

  options() {
    const style = getComputedStyle(document.documentElement);
    const value = (name) => style.getPropertyValue(name).trim();
    const axis = {
      stroke: value("--quiet"),
      grid: { stroke: value("--line"), width: 1 },
      ticks: { show: false },
      font: `11px ${value("--font")}`,
    };
    return {
      ...this.size(),
      padding: [8, MARGIN, 0, 0],
      legend: { show: false },
      cursor: {
        y: false,
        drag: { setScale: false, x: false, y: false },
        points: { size: 6 },
        sync: { key: this.sync, setSeries: false },
      },
      focus: { alpha: 0.15 },
      scales: { x: { range: (_, low, high) => [Math.min(low, high - 60), high] }, y: { range: this.range() } },
      axes: [
        { ...axis, size: 26, space: 76, values: times },
        { ...axis, ...this.rows() },
      ],
      series: [{}, ...this.lines.map((line, index) => this.line(line, index))],
      hooks: {
        setCursor: [
          (plot) => {
            this.cursor = plot.cursor.idx ?? null;
            this.showLegend();
          },
        ],
      },
    };
  }

  range() {
    return (_, __, high) => [0, Math.max(high ?? 0, FLOORS[this.unit]) * 1.06];
  }

  rows() {
    const least = this.unit === "count" ? 1 : 0;
    return {
      size: (_, values) => 16 + 6.4 * Math.max(3, ...(values ?? []).map((text) => text.length)),
      space: 34,
      incrs: STEPS.filter((step) => step >= least && (this.unit !== "count" || step % 1 === 0)).sort((a, b) => a - b),
      values: (_, ticks) => ticks.map((tick) => this.format(tick)),
    };
  }

  line({ name }) {
    const { colour, dash } = name === null ? { colour: 1, dash: [] } : look(name);
    const fill = this.lines.length === 1 ? `${paint(colour)}22` : undefined;
    return {
      stroke: paint(colour),
      fill,
      dash,
      width: 2,
      points: { show: false },
      spanGaps: false,
      paths: this.stepped ? uPlot.paths.stepped({ align: 1 }) : uPlot.paths.linear(),
    };
  }

  /** Lets the line of one model stand out, or of none. */
  emphasise(name) {
    const index = this.lines.findIndex((line) => line.name !== null && line.name === name);
    this.plot?.setSeries(index < 0 ? null : index + 1, { focus: index >= 0 });
  }

  /** The newest value of each line, or the one that the cursor is at. */
  now(line) {
    return line.values[this.cursor ?? line.values.length - 1] ?? null;
  }

  showLegend() {
    const shown = this.ranked().slice(0, LEGEND);
    const items = [...this.legend.children];
    shown.forEach((line, at) => {
      if (items[at]?.dataset.name !== line.label) {
        const item = make("li", { "data-name": line.label });
        if (line.name !== null) item.append(swatch(line.name));
        item.append(make("span", { class: "name", title: line.label }, line.label), make("span", { class: "value" }));
        if (items[at]) items[at].replaceWith(item);
        else this.legend.append(item);
        items[at] = item;
      }
      put(items[at].querySelector(".value"), this.format(this.now(line)));
    });
    for (const item of items.slice(shown.length)) item.remove();
    const more = this.lines.length - shown.length;
    if (more > 0) this.legend.append(make("li", { class: "note" }, `and ${more} more in the table`));
  }

  /** Those with the highest values first, when not all have a place. */
  ranked() {
    if (this.lines.length <= LEGEND) return this.lines;
    const latest = (line) => line.values.at(-1) ?? -1;
    return [...this.lines].sort((a, b) => latest(b) - latest(a));
  }

  tell() {
    this.showLegend();
    const latest = this.lines.map((line) => `${line.label} ${this.spoken(line)}`);
    const text = latest.length > 0 ? `Latest: ${latest.join(", ")}.` : "No figures yet.";
    this.box.setAttribute("aria-label", `${this.title}. ${text}`);
  }

  spoken(line) {
    const value = line.values.at(-1) ?? null;
    return value === null ? "unknown" : this.format(value);
  }

  /** The arrow keys move through time, as the mouse does. */
  key(event) {
    const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -30, PageDown: 30, Home: -Infinity, End: Infinity };
    if (event.key === "Escape") return this.point(null);
    if (!(event.key in steps) || !this.plot || this.times.length === 0) return;
    event.preventDefault();
    const last = this.times.length - 1;
    this.point(Math.min(last, Math.max(0, (this.cursor ?? last) + steps[event.key])));
  }

  point(index) {
    const left = index === null ? -10 : this.plot?.valToPos(this.times[index], "x");
    this.plot?.setCursor({ left, top: 10 });
  }
}

/** A bar for each model, as long as it was alive. */
class Names extends Chart {
  draw() {
    this.box.style.minHeight = `${Math.min(this.lines.length, 12) * ROW + 40}px`; // more of them scroll
    super.draw();
  }

  size() {
    return { width: this.box.clientWidth - 2, height: Math.max(this.box.clientHeight - 8, this.lines.length * ROW + 30) };
  }

  data() {
    const row = (index) => this.lines.length - 1 - index; // the first name at the top
    return [
      this.times,
      ...this.lines.map((line, index) => line.values.map((live) => (live > 0 ? row(index) : null))),
    ];
  }

  range() {
    return () => [-0.6, Math.max(this.lines.length, 1) - 0.4];
  }

  rows() {
    const short = (name) => (name.length > 14 ? `${name.slice(0, 13)}…` : name);
    const longest = Math.max(4, ...this.lines.map((line) => short(line.label).length));
    return {
      size: 18 + longest * 6.6,
      grid: { show: false },
      splits: () => this.lines.map((_, index) => index),
      values: (_, ticks) => ticks.map((tick) => short(this.lines[this.lines.length - 1 - tick]?.label ?? "")),
    };
  }

  line({ name }) {
    const bar = { ...super.line({ name }), width: 12, fill: undefined, dash: [], cap: "butt" };
    return { ...bar, paths: uPlot.paths.stepped({ align: 1 }) };
  }

  showLegend() {} // the names are beside the bars

  spoken(line) {
    return (line.values.at(-1) ?? 0) > 0 ? "alive" : "not alive";
  }
}

export function lineChart(id, lines, options = {}) {
  return new Chart(document.getElementById(`chart-${id}`), lines, { sync: "hub", ...options });
}

export function namesChart(id) {
  return new Names(document.getElementById(`chart-${id}`), perModel("live"), { sync: "hub" });
}
