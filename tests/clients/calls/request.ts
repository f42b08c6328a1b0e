// What each TypeScript client sends to `Echo`: each kind of field, in one of the forms that a request may have.
declare const process: { env: Record<string, string> };

/** Address of the gateway. */
export const hub = process.env["HUB"];

export const request = {
  flag: true,
  small: "7",
  big: "9007199254740993",
  huge: 5,
  score: "NaN",
  single: 0.1,
  text: "text",
  raw: "aHVi",
  color: "COLOR_CRIMSON" as const,
  colors: ["COLOR_BELOW" as const, 1, 7],
  item: { name: "one", kind: "KIND_SMALL" as const, part: { count: 1 } },
  otherItem: { id: "1", prices: [{ amount: 1.5, currency: "EUR" }] },
  tree: { label: "root", children: [{ label: "leaf" }] },
  self: { text: "inner" },
  weights: { "1": 0.5 },
  maybeText: null,
  asNumber: "7",
  any: { "@type": "type.googleapis.com/google.protobuf.Duration", value: "1.5s" },
  duration: "1.5s",
  mask: "a,bC",
  struct: { a: [1, null, { b: "c" }] },
  value: [1, "two", null],
  list: [1, "two"],
  timestamp: "2026-01-31T12:00:00Z",
  int64Value: "9007199254740993",
  for: "for",
  class: "class",
  default: "default",
  import: "import",
  URL: "upper",
  url: "lower",
  "with space": "spaced",
};

type Reply = {
  score: number | "NaN" | "Infinity" | "-Infinity";
  small: number;
  big: string;
  text: string;
  color: "COLOR_UNSPECIFIED" | "COLOR_RED" | "COLOR_BELOW" | number;
  colors: unknown[];
  scores: (number | "NaN" | "Infinity" | "-Infinity")[];
  labels: Record<string, string>;
  item?: { name: string; part?: { count: number } };
  otherItem?: { id: string; prices: { amount: unknown; currency: string }[] };
  tree?: { children: { label: string }[] };
  maybeText?: string;
  for: string;
  class: string;
  default: string;
  URL: string;
  url: string;
  value?: unknown;
  struct?: Record<string, unknown>;
  timestamp?: string;
};

/** Accepts a reply only if its type is as plain as `Reply`; says what came of the request. */
export function report(reply: Reply): void {
  console.log(
    JSON.stringify([
      reply.score,
      reply.small + 1,
      reply.big,
      reply.color,
      reply.colors,
      reply.scores.length,
      reply.item?.part?.count,
      reply.otherItem?.prices[0]?.currency,
      reply.tree?.children[0]?.label,
      reply.maybeText === undefined,
      reply.for.length + reply.class.length + reply.default.length,
      reply.URL,
      reply.url,
      reply.value,
      reply.struct,
      reply.timestamp,
    ]),
  );
}
