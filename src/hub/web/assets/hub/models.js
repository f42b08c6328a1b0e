// The page of models: each with its instances and their changes. An event of the stream triggers the next request.
import { ago, clock, count, moment, seconds, shortId } from "./format.js";
import { assign, swatch } from "./looks.js";
import { badge, byId, live, make, patch, put, read, warn } from "./page.js";
import { Pager } from "./pager.js";
import { instanceLevel, modelState } from "./states.js";
import { at } from "./stream.js";

const AGAIN_MS = 5000; // pings change nothing in the list of models, but the times of the answers
const EVENTS = 100;

let models = [];
let instances = new Map(); // name of a model -> its instances
const pager = new Pager(byId("pager"), draw);
let clockAhead = 0; // seconds that the server's clock is ahead of ours
let listed = "";
let asked = 0;
let asking = false;

const unix = (text) => Date.parse(text) / 1000;
const now = () => Date.now() / 1000 + clockAhead;

function age(text) {
  const element = make("time", text === null ? {} : { datetime: text, title: moment(unix(text)) });
  element.dataset.at = text === null ? "" : unix(text);
  tickOne(element);
  return element;
}

function tickOne(element) {
  put(element, ago(element.dataset.at === "" ? null : Math.max(0, now() - Number(element.dataset.at))));
}

function busy(instance) {
  return instance.busy_seconds > 0 && `busy: its code has held its event loop up for ${Math.round(instance.busy_seconds)} s`;
}

function instanceRow(instance, model) {
  const state = make("td", {}, badge(instanceLevel(instance.state), instance.state));
  const name = make("th", { scope: "row" }, make("code", { title: instance.id }, shortId(instance.id)));
  if (instance.fingerprint !== model.fingerprint) {
    const contract = make("code", { title: instance.fingerprint }, instance.fingerprint.slice(0, 12));
    name.append(make("span", { class: "quiet" }, " with contract ", contract));
  }
  return make(
    "tr",
    {},
    name,
    state,
    make("td", {}, age(instance.answered_at)),
    make("td", { class: "number" }, count(instance.in_flight)),
    make("td", {}, age(instance.logged_in_at)),
    make("td", {}, make("code", {}, instance.url)),
    make("td", { class: "reason" }, instance.reason || busy(instance) || "–"),
  );
}

function table(model, own) {
  const heads = ["Instance", "State", "Last ping", "In flight", "Logged in", "Address", "Reason"];
  const head = (text) => make("th", text === "In flight" ? { scope: "col", class: "number" } : { scope: "col" }, text);
  return make(
    "div",
    { class: "scroll", role: "region", tabindex: "0", "aria-label": `Instances of ${model.name}` },
    make(
      "table",
      { class: "instances" },
      make("thead", {}, make("tr", {}, ...heads.map(head))),
      make("tbody", {}, ...own.map((instance) => instanceRow(instance, model))),
    ),
  );
}

function capacity({ concurrency, max_batch_size: batch }) {
  if (batch > 1) return concurrency > 1 ? `${count(concurrency)} batches of up to ${count(batch)} tasks` : `a batch of up to ${count(batch)} tasks`;
  return concurrency > 1 ? `${count(concurrency)} tasks at a time` : "one task at a time";
}

function card(model) {
  const own = instances.get(model.name) ?? [];
  const fact = (term, ...value) => make("div", {}, make("dt", {}, term), make("dd", {}, ...value));
  const links = make("div", { class: "links" });
  if (model.active) links.append(make("a", { href: at(`/docs#/${encodeURIComponent(model.name)}`) }, "API page"));
  const { queue } = model;
  const waiting = queue ? `${count(queue.ready)}${queue.ready > 0 && queue.oldest_seconds ? `, the oldest for ${seconds(queue.oldest_seconds)} at most` : ""}` : "–";
  const consumers = queue ? `${count(queue.consumers)}${queue.consumers < model.live ? ` of ${count(model.live)} live instances` : ""}` : "–";
  return make(
    "section",
    { class: "card", id: model.name, "aria-label": model.name, tabindex: "-1" },
    make("div", { class: "model-head" }, make("h2", {}, swatch(model.name), ` ${model.name}`), badge(...modelState(model)), links),
    make(
      "dl",
      { class: "contract" },
      fact("Takes", make("code", {}, model.request)),
      fact("Gives", model.streaming ? "a stream of " : "", make("code", {}, model.response)),
      fact("Each instance processes", capacity(model)),
      fact("Contract", make("code", { title: model.fingerprint }, model.fingerprint.slice(0, 12))),
      fact("Waiting", waiting),
      fact("Consumers", consumers),
    ),
    own.length > 0 ? table(model, own) : make("p", { class: "quiet" }, "No instance is logged in."),
  );
}

function draw() {
  const page = new Set(pager.page(models.map((model) => model.name)));
  patch(byId("models"), models.filter((model) => page.has(model.name)).map(card));
  byId("models").ariaBusy = "false";
  byId("empty").hidden = models.length > 0;
}

function change(state, otherwise) {
  return state === null ? badge("off", otherwise) : badge(instanceLevel(state), state);
}

function eventRow(event) {
  return make(
    "tr",
    {},
    make("td", {}, make("time", { datetime: event.at }, moment(unix(event.at)))),
    make("td", {}, event.model),
    make("td", {}, make("code", { title: `${event.instance} at ${event.url}` }, shortId(event.instance))),
    make("td", {}, change(event.before, "logged in"), make("span", { class: "arrow" }, "→"), change(event.after, "removed")),
    make("td", {}, event.reason || "–"),
  );
}

async function ask() {
  if (asking) return;
  asking = true;
  try {
    const all = await read("/v1/instances");
    clockAhead = unix(all.at) - Date.now() / 1000;
    instances = Map.groupBy(all.instances, (instance) => instance.model);
    asked = Date.now();
    draw();
    const { events } = await read(`/v1/history?limit=${EVENTS}`);
    if (events.length > 0) patch(byId("history"), events.map(eventRow));
    warn("");
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    warn(`The registry does not answer. What you see of instances is from ${asked ? clock(asked / 1000) : "nowhere"}.`);
  } finally {
    asking = false;
  }
}

function show(sample) {
  assign(sample.models.map((model) => model.name));
  models = sample.models;
  const key = JSON.stringify(models.map(({ name, states, fingerprint }) => [name, states, fingerprint]));
  if (key !== listed || Date.now() - asked >= AGAIN_MS) ask();
  else draw();
  if (listed === "" && location.hash) {
    const wanted = decodeURIComponent(location.hash.slice(1));
    pager.find(wanted, models.map((model) => model.name));
    requestAnimationFrame(() => document.getElementById(wanted)?.scrollIntoView());
  }
  listed = key;
}

live("/v1/overview/events", { onEvent: (name, data) => void (name === "sample" && show(data)) });
setInterval(() => document.querySelectorAll("time[data-at]").forEach(tickOne), 1000);
