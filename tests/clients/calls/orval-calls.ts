import { batchEcho, callCount, callEcho, callFor, callMyModelV2, callWrap, showModel, showTask, submitEcho } from "./orval";
import { report, request } from "./request";

const echo = await callEcho(request);
if (echo.status !== 200) throw new Error(echo.data.code);
report(echo.data);

const wrapped = await callWrap({ text: "inner" });
const note = wrapped.status === 200 ? wrapped.data.note + wrapped.data.history[0]?.text : wrapped.data.code;
const grown = await callMyModelV2({ label: "a", left: { label: "b" } });
const left = grown.status === 200 ? grown.data.left?.label : grown.data.code;
const task = await callFor({});
const id = task.status === 200 ? task.data.id : task.data.code;
const model = await showModel("Echo");
const instances = model.status === 200 ? model.data.instances : model.status === 304 ? 0 : model.data.code;

const accepted = await submitEcho({ text: "later" });
if (accepted.status !== 202) throw new Error(String(accepted.status));
const ended = await showTask(accepted.data.id, { wait: 30 });
const state = ended.status === 200 ? ended.data.state : ended.status;

const batch = await batchEcho(new Blob(['{"text":"1"}\n{"text":"2"}\n']));
const lines = batch.status === 200 ? (await new Response(batch.stream.body).text()).trim().split("\n").length : 0;

const counted = await callCount({ small: 2, text: "a" });
const chunks = counted.status === 200 ? counted.data.map((chunk) => chunk.small + chunk.text) : [];

// @ts-expect-error: text is no number
const refused = await callEcho({ text: 1 });
const code: string = refused.status === 200 ? "" : refused.data.code;
console.log(JSON.stringify([note, left, id, instances, state, lines, code, chunks]));
