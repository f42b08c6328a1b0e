import createClient from "openapi-fetch";
import { hub, report, request } from "./request";
import type { paths } from "./schema";

const client = createClient<paths>({ baseUrl: hub });

const echo = await client.POST("/v1/models/Echo", { body: request });
if (!echo.data) throw new Error(echo.error.code);
report(echo.data);

const wrapped = await client.POST("/v1/models/Wrap", { body: { text: "inner" } });
const note = wrapped.data && wrapped.data.note + wrapped.data.history[0]?.text;
const grown = await client.POST("/v1/models/my-model.v2", { body: { label: "a", left: { label: "b" } } });
const task = await client.POST("/v1/models/for", { body: {} });
const model = await client.GET("/v1/models/{model}", { params: { path: { model: "Echo" } } });

const accepted = await client.POST("/v1/models/Echo/tasks", { body: { text: "later" } });
if (!accepted.data) throw new Error(accepted.error.code);
const path = { task_id: accepted.data.id };
const ended = await client.GET("/v1/tasks/{task_id}", { params: { path, query: { wait: 30 } } });

const batch = await client.POST("/v1/models/Echo/batches", {
  body: '{"text":"1"}\n{"text":"2"}\n',
  bodySerializer: (body) => body,
  headers: { "Content-Type": "application/x-ndjson" },
  parseAs: "text",
});
const lines = batch.data?.trim().split("\n").length;

const counted = await client.POST("/v1/models/Count", { body: { small: 2, text: "a" } });
const chunks = counted.data?.map((chunk) => chunk.small + chunk.text);

// @ts-expect-error: text is no number
const refused = await client.POST("/v1/models/Echo", { body: { text: 1 } });
const code: string | undefined = refused.error?.code;
console.log(
  JSON.stringify([
    note,
    grown.data?.left?.label,
    task.data?.id,
    model.data?.instances,
    ended.data?.state,
    lines,
    code,
    chunks,
  ]),
);
