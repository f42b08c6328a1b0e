// The page of lists of tasks: the filter is in the URL, and an event of the stream triggers the next request.
import { ago, clock, count, moment, seconds, shortId } from "./format.js";
import { assign, swatch } from "./looks.js";
import { badge, byId, live, make, patch, put, warn } from "./page.js";
import { taskLevel } from "./states.js";
import { at, keyHeaders } from "./stream.js";

const PAGE = 100;

let tasks = [];
let wanted = PAGE;
let more = false;
let clockAhead = 0; // seconds that the server's clock is ahead of ours
let asked = 0;
let asking = false;
let outdated = false; // the filter has changed since the request

const unix = (text) => (text ? Date.parse(text) / 1000 : null);
const now = () => Date.now() / 1000 + clockAhead;

/** What is asked for, from the address of the page. */
function question() {
  const given = new URLSearchParams(location.search);
  return { state: given.getAll("state").join(","), model: given.get("model") ?? "" };
}

function address({ state, model }) {
  const parts = [state && `state=${state.split(",").map(encodeURIComponent).join(",")}`, model && `model=${encodeURIComponent(model)}`];
  return parts.filter(Boolean).join("&");
}

/** Makes a select show a value, which it may not have had yet. */
function choose(select, value) {
  if (![...select.options].some((option) => option.value === value)) select.append(make("option", { value }, value));
  select.value = value;
}

function cell(label, attributes, ...children) {
  return make("td", { "data-label": label, ...attributes }, ...children);
}

function when(task) {
  const running = task.state === "running";
  const text = running ? task.started_at : task.finished_at;
  const words = ago(Math.max(0, now() - unix(text)));
  return make("time", { datetime: text, title: moment(unix(text)) }, running ? `since ${clock(unix(text))}` : words);
}

function reason({ failure, progress }) {
  if (failure) return [make("code", {}, failure.type || failure.code), ` ${failure.message}`];
  if (!progress) return ["–"];
  const fraction = progress.fraction === undefined ? "" : `${Math.round(progress.fraction * 100)} %`;
  return [[fraction, progress.message].filter(Boolean).join(" · ") || "under way"];
}

function row(task) {
  const started = unix(task.started_at);
  const ran = started === null ? null : Math.max(0, (unix(task.finished_at) ?? now()) - started);
  const link = make("a", { href: at(`/tasks/${task.id}`), title: task.id, "aria-label": `Task ${task.id}` }, make("code", {}, shortId(task.id)));
  return make(
    "tr",
    {},
    make("th", { scope: "row", "data-label": "Task" }, link),
    cell("State", {}, badge(taskLevel(task.state), task.state)),
    cell("Model", {}, make("span", {}, swatch(task.model), ` ${task.model}`)),
    cell("When", {}, when(task)),
    cell("Reason", { class: "reason" }, make("span", {}, ...reason(task))),
    cell("Ran for", {}, seconds(ran)),
    cell("Attempt", {}, count(task.attempt)),
    cell("Instance", {}, task.instance ? make("code", { title: task.instance }, shortId(task.instance)) : "–"),
  );
}

function draw() {
  patch(byId("tasks"), tasks.map(row));
  byId("list").hidden = tasks.length === 0;
  byId("none").hidden = tasks.length > 0;
  byId("more").hidden = !more;
}

/** Shows why there is no list. */
function refuse(text) {
  tasks = [];
  more = false;
  put(byId("none"), text);
  draw();
}

async function fetchPage(path) {
  const reply = await fetch(at(path), { headers: keyHeaders(), cache: "no-store" });
  if (reply.status === 400) return { problem: await reply.json() };
  if (!reply.ok) throw new TypeError(`${path} answered ${reply.status}`);
  return reply.json();
}

async function ask() {
  if (asking) {
    outdated = true;
    return;
  }
  asking = true;
  try {
    const found = [];
    let path = `/v1/tasks?limit=${PAGE}&${address(question())}`;
    while (path && found.length < wanted) {
      const page = await fetchPage(path);
      if (page.problem) return refuse(page.problem.detail);
      found.push(...page.tasks);
      path = page.next && `/v1/tasks${new URL(page.next, location.href).search}`;
    }
    if (outdated) return;
    tasks = found;
    more = Boolean(path);
    asked = Date.now();
    put(byId("none"), "No such task lately, or its record is not kept any more.");
    draw();
    warn("");
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    warn(`The list cannot be read${asked ? `; what you see is from ${clock(asked / 1000)}` : ""}.`);
  } finally {
    asking = false;
    if (outdated) {
      outdated = false;
      ask();
    }
  }
}

function show(sample) {
  clockAhead = unix(sample.at) - Date.now() / 1000;
  const names = sample.models.map((model) => model.name);
  assign(names);
  const select = byId("model");
  for (const name of names) {
    if (![...select.options].some((option) => option.value === name)) select.append(make("option", { value: name }, name));
  }
  ask();
}

function follow() {
  const { state, model } = question();
  choose(byId("state"), state);
  choose(byId("model"), model);
  const [what] = byId("state").selectedOptions;
  document.title = `${state ? `Tasks: ${what.textContent}` : "Tasks"}${model ? ` of ${model}` : ""} · hub`;
}

byId("filter").addEventListener("change", () => {
  const query = address({ state: byId("state").value, model: byId("model").value });
  history.pushState(null, "", query ? `?${query}` : location.pathname);
  wanted = PAGE;
  follow();
  ask();
});
byId("filter").addEventListener("submit", (event) => event.preventDefault());
byId("more").addEventListener("click", () => {
  wanted = tasks.length + PAGE;
  ask();
});
addEventListener("popstate", () => {
  follow();
  ask();
});

follow();
live("/v1/overview/events", { onEvent: (name, data) => void (name === "sample" && show(data)) });
setInterval(() => tasks.length > 0 && draw(), 1000);
