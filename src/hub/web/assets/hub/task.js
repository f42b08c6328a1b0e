// The page of a task, live from its own stream of events until it has ended.
import { count, moment, seconds, shortId } from "./format.js";
import { byId, live, make, patch, put, say, warn } from "./page.js";
import { taskLevel } from "./states.js";
import { at, follow, keyHeaders } from "./stream.js";

const id = byId("content").dataset.task;
const UUID = /^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$/i;
const SHOWN = 20_000; // characters of a result
const SHOWN_CHUNKS = 200; // the last ones of a stream
const ENDED = new Set(["succeeded", "failed", "cancelled", "expired", "dead"]);

let task = null;
const stream = { opened: false, attempt: 0, count: 0, problem: "", lines: [], drawing: false };

const unix = (text) => (text ? Date.parse(text) / 1000 : null);

function explain(title, ...texts) {
  byId("explained").replaceChildren(make("h2", {}, title), ...texts.map((text) => make("p", { class: "quiet" }, text)));
  byId("explained").hidden = false;
  byId("task").hidden = true;
  byId("content").dataset.state = "live";
}

function phase(kind, title, detail, { level = "", size = 1 } = {}) {
  const texts = [make("strong", {}, title), make("span", {}, detail)];
  return make("li", { "data-phase": kind, "data-level": level, "data-size": size }, ...texts);
}

function showTimeline() {
  const created = unix(task.created_at);
  const finished = unix(task.finished_at);
  const started = unix(task.started_at);
  const end = finished ?? Date.now() / 1000;
  const waited = Math.max(0, (started ?? end) - created);
  const ran = started === null ? 0 : Math.max(0, end - started);
  const share = (value) => Math.max(0.12, value / Math.max(waited + ran, 1e-6));
  const phases = [phase("wait", started === null && !finished ? "Waiting" : "Waited", seconds(waited), { size: share(waited) })];
  if (started !== null) phases.push(phase("run", finished ? "Ran" : "Running", seconds(ran), { size: share(ran) }));
  if (finished) phases.push(phase("end", "Ended", moment(finished), { level: taskLevel(task.state), size: 0.12 }));
  patch(byId("timeline"), phases);
  for (const item of byId("timeline").children) item.style.flexGrow = item.dataset.size;
}

function showFacts() {
  const deadline = unix(task.deadline);
  const left = deadline === null ? null : deadline - Date.now() / 1000;
  const until = left > 0 && !ENDED.has(task.state) ? `, in ${seconds(left)}` : "";
  const facts = [
    ["Model", make("a", { href: at(`/models#${encodeURIComponent(task.model)}`) }, task.model)],
    task.parent && ["Called by", make("a", { href: at(`/tasks/${task.parent}`) }, make("code", { title: task.parent }, shortId(task.parent)))],
    ["Created", moment(unix(task.created_at))],
    task.started_at && ["Started", moment(unix(task.started_at))],
    task.finished_at && ["Finished", moment(unix(task.finished_at))],
    ["Attempt", count(task.attempt)],
    ["Retries", `${count(task.retries)}${task.retry_at ? `, the next at ${moment(unix(task.retry_at))}` : ""}`],
    ["Instance", task.instance ? make("code", { title: task.instance }, shortId(task.instance)) : "none"],
    ["Deadline", deadline === null ? "none" : `${moment(deadline)}${until}`],
    ["Kept until", moment(unix(task.expires_at))],
  ];
  const shown = facts.filter(Boolean);
  patch(byId("facts"), shown.map(([term, value]) => make("div", {}, make("dt", {}, term), make("dd", {}, value))));
}

function showProgress() {
  const { progress } = task;
  byId("progress").hidden = !progress || ENDED.has(task.state);
  if (!progress) return;
  const fraction = progress.fraction ?? null;
  if (fraction === null) byId("bar").removeAttribute("value");
  else byId("bar").value = fraction;
  const parts = [fraction === null ? "" : `${Math.round(fraction * 100)} %`, progress.message ?? ""];
  put(byId("progress-text"), parts.filter(Boolean).join(" · ") || "under way");
}

function showFailure() {
  const { failure } = task;
  byId("failure").hidden = !failure;
  if (!failure) return;
  put(byId("failure-message"), failure.message || failure.code);
  put(byId("failure-code"), [failure.code, failure.type].filter(Boolean).join(" · "));
  showWhere(failure);
  byId("dead").hidden = task.state !== "dead";
  put(byId("replay"), `hub dead replay ${task.model} ${task.id}`);
  byId("traceback").hidden = !failure.traceback;
  put(byId("traceback").querySelector("pre"), failure.traceback ?? "");
}

/** Who knows more about a failure: the traceback is in the log of the instance, unless it is here. */
function showWhere({ type, traceback }) {
  byId("failure-where").hidden = !task.instance;
  if (!task.instance) return;
  const what = type && !traceback ? "The traceback is in the log of instance " : "More may be in the log of instance ";
  byId("failure-where").replaceChildren(
    what,
    make("code", {}, task.instance),
    ` at ${moment(unix(task.finished_at))}, in the line whose task is the id above.`,
  );
}

/** The chunks as they come, from a stream of their own that begins when the task is known to have some. */
function showStream() {
  byId("stream").hidden = task.chunks_url === undefined;
  if (task.chunks_url === undefined || stream.opened) return;
  stream.opened = true;
  follow(`/v1/tasks/${encodeURIComponent(id)}/chunks`, { onEvent: onChunkEvent, onState: () => {}, resumes: true });
  drawStream();
}

function onChunkEvent(name, data) {
  if (name === "chunk") {
    stream.count += 1;
    stream.lines.push(JSON.stringify(data));
    if (stream.lines.length > SHOWN_CHUNKS) stream.lines.shift();
  }
  if (name === "restarted") Object.assign(stream, { attempt: data.attempt, count: 0, lines: [] });
  if (name === "problem") stream.problem = ` The rest cannot be read: ${data.detail}`;
  if (!stream.drawing) {
    stream.drawing = true;
    requestAnimationFrame(drawStream);
  }
  return name === "problem" || (name === "task" && ENDED.has(data.state));
}

function drawStream() {
  stream.drawing = false;
  const box = byId("chunks");
  const atEnd = box.scrollTop + box.clientHeight >= box.scrollHeight - 8;
  put(box, stream.lines.join("\n"));
  if (atEnd) box.scrollTop = box.scrollHeight;
  const last = stream.count > stream.lines.length ? `, of which these are the last ${count(stream.lines.length)}` : "";
  const again = stream.attempt > 1 ? ` Attempt ${count(stream.attempt)} has begun again.` : "";
  const all = make("code", {}, task.chunks_url);
  byId("stream-note").replaceChildren(`${count(stream.count)} so far${last}.${again}${stream.problem} All of them: `, all);
}

function showResult() {
  const none = task.result_url === undefined || task.chunks_url !== undefined;
  byId("result").hidden = none;
  if (none) return;
  const text = task.result === undefined ? "" : JSON.stringify(task.result, null, 2);
  put(byId("result-text"), text.length > SHOWN ? `${text.slice(0, SHOWN)}\n…` : text);
  byId("result-text").hidden = text === "";
  const cut = text.length > SHOWN ? `The first ${count(SHOWN)} of ${count(text.length)} characters. ` : "";
  const why = task.result_error ? `${task.result_error.code}: ${task.result_error.message}. ` : "It has no JSON form here. ";
  const missing = text === "" ? why : "";
  byId("result-note").replaceChildren(cut + missing, "All of it, as JSON or protobuf: ", make("code", {}, task.result_url));
}

function show(next) {
  task = next;
  byId("explained").hidden = true;
  byId("task").hidden = false;
  byId("state").dataset.level = taskLevel(task.state);
  put(byId("state"), task.state);
  put(byId("task-id"), task.id);
  document.title = `${task.state} · ${task.model} · hub`;
  byId("cancel").hidden = ENDED.has(task.state);
  if (ENDED.has(task.state) && byId("confirm").open) byId("confirm").close();
  showProgress();
  showTimeline();
  showFacts();
  showFailure();
  showStream();
  showResult();
  return ENDED.has(task.state);
}

async function cancel() {
  byId("confirm").close();
  byId("cancel").disabled = true;
  try {
    const reply = await fetch(at(`/v1/tasks/${task.id}`), { method: "DELETE", headers: keyHeaders() });
    const body = await reply.json();
    if (reply.ok) show(body);
    else warn(body.detail ?? "It could not be cancelled.");
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    warn("The server does not answer; the task was not cancelled, as far as this page knows.", "bad");
  } finally {
    byId("cancel").disabled = false;
  }
}

const REFUSALS = {
  404: () => explain("There is no such task here", "Its id may be mistyped, or the task may belong to another hub."),
  410: () => explain("This task has expired", "Results are kept for some time after a task has ended, a day by default. This time is over."),
};

byId("cancel").addEventListener("click", () => byId("confirm").showModal());
byId("keep").addEventListener("click", () => byId("confirm").close());
byId("really").addEventListener("click", cancel);
byId("find").value = id;

if (!UUID.test(id)) {
  say("bad", "Not an id");
  explain("This is not the id of a task", `Ids look like 01890c7e-6d1f-7c3a-9b52-3f6f0f3c2a11. This is: ${id.slice(0, 100)}`);
} else {
  live(`/v1/tasks/${encodeURIComponent(id)}`, {
    over: "Ended",
    onEvent: (name, data) => {
      if (name !== "gone") return show(data);
      (REFUSALS[data.status] ?? REFUSALS[404])();
      return true;
    },
    onRefused: (status, problem) => (REFUSALS[status] ?? (() => explain(problem.title ?? "Refused", problem.detail ?? "")))(),
  });
  setInterval(() => task && !ENDED.has(task.state) && (showTimeline(), showFacts()), 1000);
}
