// Shows the API description and follows it: a new or removed model changes the page without a reload.
import { byId, make, patch } from "./page.js";
import { Pager } from "./pager.js";

/* global SwaggerUIBundle */
const { openapi: address, most } = document.documentElement.dataset;
const notice = byId("notice");
const one = new URLSearchParams(location.search).get("model");
const RETRY_MS = 2000;
const HOLD_SECONDS = 30;

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function say(text) {
  notice.textContent = text;
  notice.hidden = text === "";
}

function followColourScheme() {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const apply = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
  dark.addEventListener("change", apply);
  apply();
}

// Streams are beside the content of a reply, where code generators do not see them; this page offers them.
function withStreams(description) {
  for (const path of Object.values(description.paths)) {
    for (const operation of Object.values(path)) {
      for (const response of Object.values(operation.responses ?? {})) {
        if (response["x-hub-streams"]) response.content = { ...response.content, ...response["x-hub-streams"] };
      }
    }
  }
  return description;
}

let listed = new Map(); // name -> a model of the index
const pager = new Pager(byId("pager"), drawIndex);

function drawIndex() {
  const link = (name) => make("a", { href: `?model=${encodeURIComponent(name)}` }, name);
  const row = ({ name, request, response, streaming }) =>
    make("li", {}, link(name), make("code", {}, request), streaming ? "→ a stream of" : "→", make("code", {}, response));
  patch(byId("listed"), pager.page([...listed.keys()]).map((name) => row(listed.get(name))));
}

/** With an index the page lists the models, and leads a link to one of them to its own page. */
function index(description) {
  listed = new Map((description["x-hub-models"] ?? []).map((model) => [model.name, model]));
  byId("index").hidden = listed.size === 0;
  byId("up").hidden = one === null;
  if (listed.size > 0) drawIndex();
  const wanted = decodeURIComponent(location.hash.slice(2).split("/")[0]);
  if (listed.has(wanted)) location.replace(`?model=${encodeURIComponent(wanted)}${location.hash}`);
  const models = Object.keys(description.paths).filter((path) => /^\/v1\/models\/[^{]+\/batches$/.test(path));
  if (Number(most) > 0 && models.length > Number(most)) location.reload();
  return description;
}

async function load(etag) {
  const headers = { Accept: "application/json" };
  if (etag) {
    headers["If-None-Match"] = etag;
    headers.Prefer = `wait=${HOLD_SECONDS}`;
  }
  const reply = await fetch(address, { headers, cache: "no-store" });
  if (reply.status === 304) return { etag, text: null, held: reply.headers.has("Preference-Applied") };
  if (reply.status === 404 && one !== null) throw new Error(`it has no live model ${one}`);
  if (!reply.ok) throw new Error(`${reply.status} ${reply.statusText}`);
  return { etag: reply.headers.get("ETag"), text: await reply.text(), held: reply.headers.has("Preference-Applied") };
}

async function main() {
  followColourScheme();
  let ui = null;
  let etag = null;
  for (;;) {
    try {
      const { etag: seen, text, held } = await load(etag);
      if (text !== null && ui === null) {
        ui = SwaggerUIBundle({
          spec: withStreams(index(JSON.parse(text))),
          dom_id: "#swagger-ui",
          deepLinking: true,
          validatorUrl: null,
          tryItOutEnabled: true,
          displayRequestDuration: true,
          docExpansion: "list",
          defaultModelsExpandDepth: 0,
        });
      } else if (text !== null) {
        ui.specActions.updateSpec(JSON.stringify(withStreams(index(JSON.parse(text)))));
      }
      etag = seen;
      say("");
      if (!etag) return;
      if (!held && text === null) await pause(RETRY_MS);
    } catch (error) {
      say(`The server does not answer (${error.message}). What you see may be out of date; trying again.`);
      await pause(RETRY_MS);
    }
  }
}

main();
