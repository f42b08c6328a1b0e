// Shows the API description and follows it: a new or removed model changes the page without a reload.
"use strict";

const address = document.documentElement.dataset.openapi;
const notice = document.getElementById("notice");
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

async function load(etag) {
  const headers = { Accept: "application/json" };
  if (etag) {
    headers["If-None-Match"] = etag;
    headers.Prefer = `wait=${HOLD_SECONDS}`;
  }
  const reply = await fetch(address, { headers, cache: "no-store" });
  if (reply.status === 304) return { etag, text: null, held: reply.headers.has("Preference-Applied") };
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
          spec: withStreams(JSON.parse(text)),
          dom_id: "#swagger-ui",
          deepLinking: true,
          validatorUrl: null,
          tryItOutEnabled: true,
          displayRequestDuration: true,
          docExpansion: "list",
          defaultModelsExpandDepth: 0,
        });
      } else if (text !== null) {
        ui.specActions.updateSpec(JSON.stringify(withStreams(JSON.parse(text))));
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
