// The common part of all pages with a stream: shows the state of the connection, and asks for a key when one is required.
import { clock } from "./format.js";
import { at, follow, keyHeaders } from "./stream.js";

export const byId = (id) => document.getElementById(id);

/** Sets the text of an element only if it differs: screen readers read what changes. */
export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Makes the children of `box` what `wanted` says, and leaves alone what is right: focus, selection and scrolling stay. Styles too: the
 *  policy of the page lets scripts set them on elements only, not as attributes. */
export function patch(box, wanted) {
  const old = [...box.childNodes];
  wanted.forEach((next, at) => {
    const now = old[at];
    if (now === undefined) box.append(next);
    else if (now.nodeName !== next.nodeName) now.replaceWith(next);
    else if (now.nodeType === Node.TEXT_NODE) put(now, next.textContent);
    else {
      for (const { name } of [...now.attributes]) if (name !== "style" && !next.hasAttribute(name)) now.removeAttribute(name);
      for (const { name, value } of next.attributes) if (now.getAttribute(name) !== value) now.setAttribute(name, value);
      patch(now, [...next.childNodes]);
    }
  });
  for (const extra of old.slice(wanted.length)) extra.remove();
}

export const badge = (level, text) => make("span", { class: "badge", "data-level": level }, text);

export function say(level, text) {
  byId("status").dataset.level = level;
  put(byId("status"), text);
}

/** Shows a sentence above everything else; an empty one takes it away. */
export function warn(text, level = "warn") {
  byId("notice").hidden = text === "";
  byId("notice").dataset.level = level;
  put(byId("notice"), text);
}

/** A GET with the key. Throws `TypeError` when there is no good answer. */
export async function read(path) {
  const reply = await fetch(at(path), { headers: keyHeaders(), cache: "no-store" });
  if (!reply.ok) throw new TypeError(`${path} answered ${reply.status}`);
  return reply.json();
}

/**
 * Follows a stream and shows its state. `content` gets data-state: loading, live or lost.
 * @param onRefused (status, problem): the server does not give this stream
 */
export function live(path, { onEvent, onRefused = () => {}, over = "" }) {
  const content = byId("content");
  let heardAt = null;
  const stream = follow(path, {
    onEvent(name, data) {
      heardAt = Date.now();
      return onEvent(name, data);
    },
    onState(state, details) {
      const asking = state === "key";
      if (asking && byId("key-form").hidden) {
        byId("key-form").hidden = false;
        byId("key").focus();
      }
      if (state === "live") byId("key-form").hidden = true;
      if (state === "connecting") say("busy", "Connecting");
      if (state === "live") {
        content.dataset.state = "live";
        say("good", "Live");
        warn("");
      }
      if (state === "over") say("off", over);
      if (asking) {
        say("warn", "Needs a key");
        warn(sessionStorage.getItem("hub-key") ? "That key was not taken." : "");
      }
      if (state === "refused") {
        content.dataset.state = "live";
        say("bad", details.problem.title ?? `Error ${details.status}`);
        onRefused(details.status, details.problem);
      }
      if (state === "lost") {
        const since = heardAt === null ? "" : ` What you see is from ${clock(heardAt / 1000)}.`;
        if (heardAt !== null) content.dataset.state = "lost";
        say("bad", "Not connected");
        warn(`The server does not answer; trying again by itself.${since}`, "bad");
      }
    },
  });
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem("hub-key", byId("key").value.trim());
    stream.restart();
  });
  return stream;
}
