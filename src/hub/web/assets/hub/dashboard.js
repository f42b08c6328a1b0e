// The dashboard: totals, charts and the table of models, from /v1/overview/events.
import { activeModels, lineChart, namesChart, perModel } from "./charts.js";
import { count, rate, seconds } from "./format.js";
import { assign, swatch } from "./looks.js";
import { badge, byId, live, make, patch, put, warn } from "./page.js";
import { Pager, SIZE } from "./pager.js";
import { Series, risen } from "./series.js";
import { modelState } from "./states.js";
import { at } from "./stream.js";

const series = new Series();
const smooth = { stepped: false };
const charts = [
  lineChart("queue", perModel("ready")),
  lineChart("models", activeModels),
  namesChart("names"),
  lineChart("instances", perModel("live")),
  lineChart("throughput", perModel("finished"), smooth),
  lineChart("latency", perModel("run"), smooth),
  lineChart("wait", perModel("wait"), smooth),
  lineChart("failures", perModel("failing"), smooth),
  lineChart("dead", perModel("dead")),
  lineChart("oldest", perModel("oldest"), smooth),
];

// For tests and for debugging: the present content of a chart.
window.hubCharts = Object.fromEntries(charts.map((chart) => [chart.figure.id.replace("chart-", ""), chart]));

function showFigures({ totals, broker }) {
  put(byId("active"), count(totals.active));
  put(byId("live"), count(totals.live));
  put(byId("waiting"), broker ? count(totals.waiting ?? 0) : "–");
  put(byId("finished"), rate(totals.finished_per_second));
  const failed = risen(series.totals.failed);
  put(byId("failed"), totals.failed === null ? "–" : count(failed));
  byId("failed").closest("div").dataset.level = failed > 0 ? "bad" : "";
}

/** A figure that leads to the tasks it counts. */
function counted(value, model, state) {
  if (!(value > 0)) return count(value);
  return make("a", { href: at(`/tasks?state=${state}&model=${encodeURIComponent(model)}`) }, count(value));
}

function row(model) {
  const { name, queue, work } = model;
  const link = make("a", { href: at(`/models#${encodeURIComponent(name)}`) }, name);
  const loud = (value) => (value > 0 ? { class: "loud" } : {});
  const failed = series.risen(name, "failed");
  const instances = model.live === model.instances ? count(model.live) : `${model.live} of ${model.instances}`;
  return make(
    "tr",
    { "data-name": name },
    make("th", { scope: "row" }, swatch(name), link),
    make("td", {}, badge(...modelState(model))),
    make("td", {}, instances),
    make("td", {}, count(queue?.ready)),
    make("td", {}, queue?.ready > 0 ? seconds(queue?.oldest_seconds) : "–"),
    make("td", {}, counted(work?.in_flight, name, "running")),
    make("td", {}, rate(work?.finished_per_second)),
    make("td", {}, seconds(work?.run.p95)),
    make("td", {}, seconds(work?.wait.p95)),
    make("td", loud(failed), work ? counted(failed, name, "failed,expired,dead") : "–"),
    make("td", loud(queue?.dead), counted(queue?.dead, name, "dead")),
  );
}

function show(sample) {
  const { totals, matching } = sample;
  const few = totals.known <= SIZE;
  if (few) sample.models.sort((one, other) => (one.name < other.name ? -1 : 1)); // the order matters where there are pages
  pager.show(matching, totals.known);
  assign(sample.models.map((model) => model.name));
  series.add(sample);
  series.show(few ? null : sample.models.map((model) => model.name));
  for (const chart of charts) chart.update(series);
  showFigures(sample);
  patch(byId("models"), sample.models.map(row));
  byId("empty").hidden = totals.known > 0;
  const lost = [!sample.registry && "registry", !sample.broker && "broker"].filter(Boolean).join(" and the ");
  warn(lost && `The gateway cannot reach the ${lost}. What comes from there is missing or old.`);
}

const order = byId("order");
const pager = new Pager(byId("pager"), () => stream.restart());
order.addEventListener("change", () => pager.go(0));

function path() {
  const wanted = new URLSearchParams({ name: pager.filter, sort: order.value, offset: pager.first, limit: SIZE });
  return `/v1/overview/events?${wanted}`;
}

const stream = live(path, {
  onEvent(name, data) {
    if (name === "history") {
      assign(data.models.map((model) => model.name));
      series.load(data);
    }
    if (name === "sample") show(data);
  },
});

// The model under the pointer, or whose link has the focus, is highlighted in all charts.
let standsOut = null;
for (const kind of ["pointerover", "focusin"]) {
  document.addEventListener(kind, ({ target }) => {
    const name = target.closest?.("[data-name]")?.dataset.name ?? null;
    if (name === standsOut) return;
    standsOut = name;
    for (const chart of charts) chart.emphasise(name);
  });
}

const dark = window.matchMedia("(prefers-color-scheme: dark)");
dark.addEventListener("change", () => charts.forEach((chart) => chart.plot && chart.draw()));

for (const button of document.querySelectorAll(".copy")) {
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.previousElementSibling.textContent);
    put(button, "Copied");
    setTimeout(() => put(button, "Copy"), 1500);
  });
}
