import { batchEcho, callCount, callEcho, callFor, callMyModelV2, callWrap, showModel, showTask, submitEcho } from "./hub";
import { client } from "./hub/client.gen";
import { hub, report, request } from "./request";

client.setConfig({ baseUrl: hub });

const echo = await callEcho({ body: request, throwOnError: true });
report(echo.data);

const wrapped = await callWrap({ body: { text: "inner" }, throwOnError: true });
const note: string = wrapped.data.note + wrapped.data.history[0]?.text;
const grown = await callMyModelV2({ body: { label: "a", left: { label: "b" } }, throwOnError: true });
const task = await callFor({ body: {}, throwOnError: true });
const model = await showModel({ path: { model: "Echo" }, throwOnError: true });

const accepted = await submitEcho({ body: { text: "later" }, throwOnError: true });
const ended = await showTask({ path: { task_id: accepted.data.id }, query: { wait: 30 }, throwOnError: true });

const batch = await batchEcho({ body: new Blob(['{"text":"1"}\n{"text":"2"}\n']), throwOnError: true });
const lines = (await batch.data.text()).trim().split("\n").length;

const counted = await callCount({ body: { small: 2, text: "a" }, throwOnError: true });
const chunks = counted.data.map((chunk) => chunk.small + chunk.text);

// @ts-expect-error: text is no number
const refused = await callEcho({ body: { text: 1 } });
const code: string | undefined = refused.error?.code;
console.log(
  JSON.stringify([
    note,
    grown.data.left?.label,
    task.data.id,
    model.data.instances,
    ended.data.state,
    lines,
    code,
    chunks,
  ]),
);
