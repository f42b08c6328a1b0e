// The data of the charts: the history that the server sends first, and each sample after it.

const KEPT_MODELS = 200; // that have been on a page; with fewer of them a model that is gone stays in the charts
const KEPT_SECONDS = 15 * 60;
const COLUMNS = {
  live: (model) => model.live,
  ready: (model) => model.queue?.ready,
  dead: (model) => model.queue?.dead,
  oldest: (model) => model.queue?.oldest_seconds,
  finished: (model) => model.work?.finished_per_second,
  failing: (model) => model.work?.failed_per_second,
  failed: (model) => model.work?.failed,
  run: (model) => model.work?.run.p95,
  wait: (model) => model.work?.wait.p95,
};

export class Series {
  times = [];
  models = new Map(); // name -> column -> numbers, as many as there are times
  totals = { active: [], failed: [] }; // of all models, of which this page may show a part
  shown = null; // names of the models in the charts, if not of all

  load(history) {
    this.times = history.times;
    this.totals = history.totals;
    this.models = new Map(history.models.map(({ name, ...columns }) => [name, columns]));
  }

  add(sample) {
    const at = Date.parse(sample.at) / 1000;
    while (this.times.length > 0 && this.times.at(-1) >= at) this.#each((column) => column.pop());
    for (const model of sample.models) {
      if (this.models.has(model.name)) continue;
      const empty = () => new Array(this.times.length).fill(null);
      this.models.set(model.name, Object.fromEntries(Object.keys(COLUMNS).map((column) => [column, empty()])));
    }
    const shown = new Set(sample.models.map((model) => model.name));
    for (const name of this.models.keys()) if (this.models.size > KEPT_MODELS && !shown.has(name)) this.models.delete(name);
    const told = new Map(sample.models.map((model) => [model.name, model]));
    this.times.push(at);
    for (const [column, values] of Object.entries(this.totals)) values.push(sample.totals[column]);
    for (const [name, columns] of this.models) {
      const model = told.get(name);
      for (const [column, value] of Object.entries(COLUMNS)) columns[column].push((model && value(model)) ?? null);
    }
    while (this.times.length > 2 && this.times[0] < at - KEPT_SECONDS) this.#each((column) => column.shift());
  }

  /** Restricts the charts to these models, or to none in particular. */
  show(names) {
    this.shown = names;
  }

  get names() {
    return [...(this.shown ?? this.models.keys())].sort();
  }

  column(name, column) {
    return this.models.get(name)[column];
  }

  /** By how much the count of a model has risen since the first time. */
  risen(name, column) {
    return risen(this.column(name, column));
  }

  #each(change) {
    change(this.times);
    for (const values of Object.values(this.totals)) change(values);
    for (const columns of this.models.values()) for (const column of Object.values(columns)) change(column);
  }
}

/** By how much a count has risen since the first time; a fall adds nothing. */
export function risen(values) {
  let last = null;
  let sum = 0;
  for (const value of values) {
    if (value === null) continue;
    if (last !== null && value > last) sum += value - last;
    last = value;
  }
  return sum;
}
