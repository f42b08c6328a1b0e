// A filter and buttons for lists of models that are too long for one page.
import { make, put } from "./page.js";

const WAIT_MS = 200; // after the last letter

export const SIZE = 50; // models of a page

export class Pager {
  filter = "";
  first = 0; // the number of the first one on the page, from 0

  /**
   * @param bar the element that gets the filter and the buttons; hidden while all models fit on one page
   * @param onChange called when another page is wanted
   */
  constructor(bar, onChange) {
    this.bar = bar;
    this.onChange = onChange;
    this.input = make("input", { type: "search", placeholder: "Filter by name", "aria-label": "Filter models by name", autocomplete: "off", spellcheck: "false" });
    this.range = make("span", { role: "status" });
    this.back = make("button", { type: "button" }, "Previous");
    this.next = make("button", { type: "button" }, "Next");
    bar.prepend(this.input);
    bar.append(this.range, this.back, this.next);
    let timer = 0;
    this.input.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => this.go(0, this.input.value.trim()), WAIT_MS);
    });
    this.back.addEventListener("click", () => this.go(Math.max(0, this.first - SIZE)));
    this.next.addEventListener("click", () => this.go(this.first + SIZE));
  }

  go(first, filter = this.filter) {
    this.first = first;
    this.filter = filter;
    this.onChange();
  }

  /** Goes to the page that this name is on. */
  find(name, names) {
    const at = names.indexOf(name);
    if (at >= SIZE) this.go(Math.floor(at / SIZE) * SIZE, "");
  }

  /** Shows where the page is among the models that the filter leaves. */
  show(matching, known) {
    this.bar.hidden = known <= SIZE;
    const last = Math.min(this.first + SIZE, matching);
    put(this.range, matching === 0 ? "No model has such a name" : `${this.first + 1} to ${last} of ${matching}`);
    this.back.disabled = this.first === 0;
    this.next.disabled = last >= matching;
  }

  /** The names of the page, out of all of them. */
  page(names) {
    const wanted = this.filter.toLowerCase();
    const matching = names.filter((name) => name.toLowerCase().includes(wanted));
    if (this.first >= matching.length) this.first = Math.max(0, Math.ceil(matching.length / SIZE) - 1) * SIZE;
    this.show(matching.length, names.length);
    return matching.slice(this.first, this.first + SIZE);
  }
}
