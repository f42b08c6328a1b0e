// Follows a stream of server-sent events with fetch: an EventSource cannot send an API key.

const SILENCE_MS = 30_000; // the server sends something every 15 s at least
const DELAYS_MS = [500, 1000, 2000, 4000, 8000];
const HIDDEN_MS = 20_000; // a hidden tab closes its connection: browsers have six for a server

/** Where the server is, seen from here: `/`, or the path below which a proxy shows it. */
const root = new URL("../..", import.meta.url).pathname;

/** The address of a path of the server, such as `/v1/models`. */
export const at = (path) => root + path.slice(1);

export const keyHeaders = () => {
  const key = sessionStorage.getItem("hub-key");
  return key ? { "X-API-Key": key } : {};
};

/**
 * @param path the path of the stream at the server, or a function that returns it for each connection
 * @param onEvent (name, data): one event; when it returns true the stream is over
 * @param onState (state, details): "connecting"; "live"; "lost", {retryAt}; "key"; "refused", {status, problem}; "over"
 * @param resumes whether the next connection goes on after the last event; otherwise it begins anew
 * @returns {{restart: () => void}}
 */
export function follow(path, { onEvent, onState, resumes = false }) {
  let current = null;
  let lastId = "";
  let timer = 0;
  let tries = 0;
  let state = "";

  const say = (next, details = {}) => {
    state = next;
    onState(next, details);
  };

  async function connect() {
    clearTimeout(timer);
    current?.abort();
    const own = (current = new AbortController());
    if (state !== "lost") say("connecting");
    try {
      const reply = await fetch(at(typeof path === "function" ? path() : path), {
        headers: { Accept: "text/event-stream", ...(resumes && lastId ? { "Last-Event-ID": lastId } : {}), ...keyHeaders() },
        cache: "no-store",
        signal: own.signal,
      });
      if (reply.status === 401) return say("key");
      if (reply.status >= 400 && reply.status < 500) {
        return say("refused", { status: reply.status, problem: await reply.json().catch(() => ({})) });
      }
      if (reply.status === 204) return say("over");
      if (!reply.ok) throw new TypeError(`the server answered ${reply.status}`);
      for await (const { name, data, id } of events(reply.body, own)) {
        tries = 0;
        lastId = id ?? lastId;
        if (state !== "live") say("live");
        if (onEvent(name, data)) {
          own.abort();
          return say("over");
        }
      }
    } catch (error) {
      if (!(error instanceof TypeError || error.name === "AbortError")) throw error;
    }
    if (own === current) retry();
  }

  function retry() {
    const delay = DELAYS_MS[Math.min(tries++, DELAYS_MS.length - 1)];
    say("lost", { retryAt: Date.now() + delay });
    timer = setTimeout(connect, delay);
  }

  function restart() {
    tries = 0;
    connect();
  }

  let hiding = 0;
  document.addEventListener("visibilitychange", () => {
    clearTimeout(hiding);
    if (document.hidden) {
      hiding = setTimeout(() => {
        const running = current;
        current = null;
        clearTimeout(timer);
        running?.abort();
      }, HIDDEN_MS);
    } else if (current === null || state === "lost") {
      restart();
    }
  });
  window.addEventListener("online", () => state === "lost" && restart());

  connect();
  return { restart };
}

/** The events of a reply; aborts `own` when nothing comes for too long. */
async function* events(body, own) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const watchdog = setTimeout(() => own.abort(), SILENCE_MS);
    const { value, done } = await reader.read().finally(() => clearTimeout(watchdog));
    if (done) return;
    text += value;
    const blocks = text.split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const fields = parse(block);
      if (fields.data !== undefined) yield { name: fields.event ?? "message", data: JSON.parse(fields.data), id: fields.id };
    }
  }
}

function parse(block) {
  const fields = {};
  for (const line of block.split("\n")) {
    const colon = line.indexOf(": ");
    if (colon > 0) fields[line.slice(0, colon)] = line.slice(colon + 2);
  }
  return fields;
}
