// <raw-events>: what the two legs said, asked for when somebody opens it.

class RawEvents extends HTMLElement {
  #next = 0;
  #isAsking = false;
  #rows = [];

  connectedCallback() {
    this.details = this.querySelector("details");
    this.details.addEventListener("toggle", () => this.refresh());
  }

  async refresh() {
    if (!this.details?.open || this.#isAsking || !this.source) {
      return;
    }
    this.#isAsking = true;
    try {
      let isMore = true;
      while (isMore) {
        const answer = await fetch(`${this.source}?after=${this.#next}`);
        if (!answer.ok) {
          throw new Error(String(answer.status));
        }
        const { events, next, more } = await answer.json();
        this.#next = next;
        isMore = more;
        this.#add(events);
      }
    } catch {
      this.#say("The events cannot be read right now.");
    } finally {
      this.#isAsking = false;
    }
  }

  #say(text) {
    this.#table();
    this.caption.textContent = text;
  }

  #add(events) {
    this.#table();
    for (const event of events) {
      const row = this.body.insertRow();
      const detail = JSON.stringify(event.detail);
      row.insertCell().textContent = `${(event.at_ms / 1000).toFixed(3)} s`;
      row.insertCell().textContent = event.out ? `to ${event.leg}` : `from ${event.leg}`;
      row.insertCell().textContent = event.kind;
      const text = document.createElement("pre");
      text.textContent = detail === "{}" ? "" : detail;
      const content = row.insertCell();
      content.className = "whole";
      content.append(text);
      row.dataset.leg = event.leg;
      row.dataset.text = `${event.kind} ${detail}`.toLowerCase();
      this.#rows.push(row);
    }
    this.#filter();
  }

  #table() {
    if (this.body) {
      return;
    }
    this.leg = choice("Leg", [["", "both"], ["carrier", "carrier"], ["engine", "engine"]]);
    this.text = field("Containing");
    const filters = document.createElement("div");
    filters.className = "row filters";
    filters.append(this.leg.parentElement, this.text.parentElement);
    filters.addEventListener("input", () => this.#filter());
    const table = document.createElement("table");
    table.className = "stacks";
    this.caption = table.createCaption();
    const head = table.createTHead().insertRow();
    for (const name of ["At", "Leg", "Message", "Content"]) {
      const cell = document.createElement("th");
      cell.scope = "col";
      cell.textContent = name;
      head.append(cell);
    }
    this.body = table.createTBody();
    const scroll = document.createElement("div");
    scroll.className = "scroll";
    scroll.tabIndex = 0;
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", "Raw events");
    scroll.append(table);
    this.details.append(filters, scroll);
  }

  #filter() {
    const [leg, text] = [this.leg.value, this.text.value.toLowerCase()];
    let shown = 0;
    for (const row of this.#rows) {
      row.hidden = (leg !== "" && row.dataset.leg !== leg) || !row.dataset.text.includes(text);
      shown += row.hidden ? 0 : 1;
    }
    this.caption.textContent = this.#rows.length
      ? `${shown} of ${this.#rows.length} messages; sound and secrets are left out, growing words are counted`
      : "Nothing is kept of what they said.";
  }
}

let fields = 0;

function labelled(name, control) {
  const host = document.createElement("div");
  const label = document.createElement("label");
  control.id = `raw-${++fields}`;
  label.htmlFor = control.id;
  label.textContent = name;
  host.append(label, control);
  return control;
}

function choice(name, values) {
  const select = document.createElement("select");
  for (const [value, text] of values) {
    select.add(new Option(text, value));
  }
  return labelled(name, select);
}

function field(name) {
  const input = document.createElement("input");
  input.type = "search";
  return labelled(name, input);
}

customElements.define("raw-events", RawEvents);
