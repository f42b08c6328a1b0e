// The data of the charts: the history that the server sends first, and each sample after it.

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

  load(history) {
    this.times = history.times;
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
    const told = new Map(sample.models.map((model) => [model.name, model]));
    this.times.push(at);
    for (const [name, columns] of this.models) {
      const model = told.get(name);
      for (const [column, value] of Object.entries(COLUMNS)) columns[column].push((model && value(model)) ?? null);
    }
    while (this.times.length > 2 && this.times[0] < at - KEPT_SECONDS) this.#each((column) => column.shift());
  }

  get names() {
    return [...this.models.keys()].sort();
  }

  column(name, column) {
    return this.models.get(name)[column];
  }

  /** How many models had a live instance, at each time. */
  active() {
    const columns = [...this.models.values()].map((model) => model.live);
    return this.times.map((_, index) => columns.reduce((sum, live) => sum + (live[index] > 0 ? 1 : 0), 0));
  }

  /** By how much a count has risen since the first time; a fall adds nothing. */
  risen(name, column) {
    let last = null;
    let sum = 0;
    for (const value of this.column(name, column)) {
      if (value === null) continue;
      if (last !== null && value > last) sum += value - last;
      last = value;
    }
    return sum;
  }

  #each(change) {
    change(this.times);
    for (const columns of this.models.values()) for (const column of Object.values(columns)) change(column);
  }
}
