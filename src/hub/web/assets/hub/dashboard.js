// Reads /v1/overview every two seconds and draws it. Nothing is kept when the page is closed.
"use strict";

const PERIOD_MS = 2000;
const KEPT_SECONDS = 15 * 60;
const LIGHT = ["#2a5bd7", "#c2500a", "#0f7b6c", "#a3287f", "#7a6200", "#5b49c8", "#b3261e", "#3c6e1f"];
const DARK = ["#7ea6ff", "#ff9d5c", "#4fd1bd", "#f08bd0", "#e0c24a", "#b3a6ff", "#ff8a80", "#9bd673"];
const DASHES = [[], [6, 4], [2, 3]];

const byId = (id) => document.getElementById(id);
const dark = window.matchMedia("(prefers-color-scheme: dark)");

const times = [];
const counts = [];
const queues = new Map(); // model -> tasks waiting, one entry for each entry of `times`
let charts = [];

function look(index) {
  const colours = dark.matches ? DARK : LIGHT;
  return { stroke: colours[index % colours.length], dash: DASHES[Math.floor(index / colours.length) % DASHES.length] };
}

function remember(overview) {
  times.push(Date.parse(overview.at) / 1000);
  counts.push(overview.models.filter((model) => model.active).length);
  let newcomers = false;
  for (const model of overview.models) {
    if (!queues.has(model.name)) {
      queues.set(model.name, new Array(times.length - 1).fill(null));
      newcomers = true;
    }
  }
  const waiting = new Map(overview.models.map((model) => [model.name, model.queue ? model.queue.ready : null]));
  for (const [name, values] of queues) values.push(waiting.get(name) ?? null);
  while (times.length > 2 && times[0] < times[times.length - 1] - KEPT_SECONDS) {
    times.shift();
    counts.shift();
    for (const values of queues.values()) values.shift();
  }
  return newcomers;
}

function chart(element, series, data) {
  const style = getComputedStyle(document.documentElement);
  const quiet = style.getPropertyValue("--quiet").trim();
  const line = style.getPropertyValue("--line").trim();
  const axis = { size: 30, stroke: quiet, grid: { stroke: line, width: 1 }, ticks: { show: false }, font: "12px system-ui" };
  const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString([], { hour12: false });
  const plot = new uPlot(
    {
      width: element.clientWidth,
      height: 240,
      padding: [8, 12, 0, 0],
      legend: { live: true, markers: { width: 0, fill: (self, index) => self.series[index].stroke() } },
      cursor: { y: false, points: { size: 7 } },
      scales: {
        x: { range: (_, low, high) => [Math.min(low, high - 60), high] },
        y: { range: (_, low, high) => [0, Math.max(high, 4) * 1.05] },
      },
      axes: [
        { ...axis, space: 70, values: (_, ticks) => ticks.map(clock) },
        { ...axis, size: 36, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 1e6] },
      ],
      series: [{ label: "Time", value: (_, seconds) => (seconds === null ? "" : clock(seconds)) }, ...series],
    },
    data,
    element,
  );
  new ResizeObserver(() => plot.setSize({ width: element.clientWidth, height: 240 })).observe(element);
  return plot;
}

function drawCharts() {
  for (const plot of charts) plot.destroy();
  const value = (_, number) => (number === null ? "" : String(number));
  const stepped = uPlot.paths.stepped({ align: 1 });
  const lines = [...queues.keys()].map((name, index) => ({
    label: name,
    width: 2,
    points: { show: false },
    paths: stepped,
    value,
    ...look(index),
  }));
  charts = [
    chart(byId("queues-chart"), lines, [times, ...queues.values()]),
    chart(
      byId("count-chart"),
      [{ label: "Active models", width: 2, points: { show: false }, paths: stepped, value, ...look(0) }],
      [times, counts],
    ),
  ];
}

function cell(tag, text, attributes = {}) {
  const element = document.createElement(tag);
  element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function row(model) {
  const line = document.createElement("tr");
  const name = cell("th", model.name, { scope: "row" });
  const swatch = cell("span", "", { class: "swatch", "aria-hidden": "true" });
  swatch.style.background = look([...queues.keys()].indexOf(model.name)).stroke;
  name.prepend(swatch);
  const state = cell("span", model.active ? "active" : "not alive", {
    class: "state",
    "data-level": model.active ? "good" : "warn",
  });
  const stateCell = document.createElement("td");
  stateCell.append(state);
  const instances = model.live === model.instances ? String(model.live) : `${model.live} of ${model.instances}`;
  line.append(
    name,
    stateCell,
    cell("td", instances),
    cell("td", model.queue ? String(model.queue.ready) : "–"),
    cell("td", model.queue ? String(model.queue.consumers) : "–"),
    cell("td", model.queue ? String(model.queue.dead) : "–"),
  );
  return line;
}

function show(overview) {
  const active = overview.models.filter((model) => model.active);
  const sum = (values) => values.reduce((total, value) => total + value, 0);
  byId("active").textContent = String(active.length);
  byId("live").textContent = String(sum(overview.models.map((model) => model.live)));
  byId("waiting").textContent = overview.broker
    ? String(sum(overview.models.map((model) => (model.queue ? model.queue.ready : 0))))
    : "–";
  byId("models").replaceChildren(...overview.models.map(row));
  byId("no-models").hidden = overview.models.length > 0;
  const lost = [!overview.registry && "registry", !overview.broker && "broker"].filter(Boolean).join(" and ");
  say(lost ? "warn" : "good", lost ? `The gateway cannot reach the ${lost}` : "Live");
}

function say(level, text) {
  byId("status").dataset.level = level;
  byId("status").textContent = text;
}

async function beat() {
  const key = sessionStorage.getItem("hub-key");
  try {
    const reply = await fetch("/v1/overview", { headers: key ? { "X-API-Key": key } : {}, cache: "no-store" });
    byId("key-form").hidden = reply.status !== 401;
    if (!reply.ok) {
      const problem = await reply.json().catch(() => ({}));
      say(reply.status === 401 ? "warn" : "bad", problem.title ?? `The server answered ${reply.status}`);
      return;
    }
    const overview = await reply.json();
    const newcomers = remember(overview);
    show(overview);
    if (newcomers || charts.length === 0) {
      drawCharts();
    } else {
      charts[0].setData([times, ...queues.values()]);
      charts[1].setData([times, counts]);
    }
  } catch (error) {
    say("bad", "The server does not answer");
    if (!(error instanceof TypeError)) throw error;
  }
}

async function main() {
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem("hub-key", byId("key").value);
    beat();
  });
  dark.addEventListener("change", () => charts.length && drawCharts());
  for (;;) {
    if (!document.hidden) await beat();
    await new Promise((resolve) => setTimeout(resolve, PERIOD_MS));
  }
}

main();
