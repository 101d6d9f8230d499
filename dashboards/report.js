// Everything can be read without this script. It adds: sorting, filtering, grouping and columns of
// the trial table; trials.csv unpacked; every folded part open on paper.
(() => {
"use strict";
const made = (tag, properties = {}, ...children) => {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
};
const save = (blob, name) => {
  const address = URL.createObjectURL(blob);
  made("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60000);
};
const tell = (name, detail) => document.dispatchEvent(new CustomEvent(name, { detail }));
const compare = (a, b) => {
  if (typeof a === typeof b) {
    return typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true });
  }
  return typeof a === "number" ? -1 : 1; // cells without a number go last
};

const unpackTrials = () => {
  const link = document.getElementById("trials-csv");
  if (!link || !window.DecompressionStream) return;
  const packed = link.href;
  link.textContent = link.download = "trials.csv";
  link.addEventListener("click", async (event) => {
    event.preventDefault();
    const bytes = Uint8Array.from(atob(packed.slice(packed.indexOf(",") + 1)), (c) => c.charCodeAt(0));
    const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    save(new Blob([await new Response(plain).arrayBuffer()], { type: "text/csv" }), "trials.csv");
  });
};

const openForPaper = () => {
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    for (const part of opened) part.open = true;
  });
  addEventListener("afterprint", () => {
    for (const part of opened) part.open = false;
  });
};

const PAGE = 100; // rows shown at once
const trialTable = () => {
  const table = document.getElementById("trial-table");
  const tools = document.getElementById("trial-tools");
  if (!table) return;
  const heads = [...table.tHead.rows[0].cells];
  const titles = heads.map((head) => head.textContent);
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => ({
    row,
    line: Number(row.dataset.line || 0),
    text: row.textContent.toLowerCase(),
    values: [...row.cells].map((c) => (c.dataset.v === undefined ? c.textContent.trim() : Number(c.dataset.v))),
    shown: [...row.cells].map((c) => c.textContent.trim()),
  }));
  const state = { words: [], sort: -1, down: false, group: -1, limit: PAGE, off: new Set(), lines: null };

  const filter = made("input", { type: "search", placeholder: "lotus seed0", autocomplete: "off", id: "trial-filter" });
  const options = (first) => [made("option", { value: -1, textContent: first }), ...titles.map((t, i) => made("option", { value: i, textContent: t }))];
  const sort = made("select", { id: "trial-sort" }, ...options("as listed"));
  const turn = made("button", { type: "button", id: "trial-turn", textContent: "ascending" });
  const group = made("select", { id: "trial-group" }, ...options("nothing"));
  const count = made("output", { id: "trial-count" });
  const more = made("button", { type: "button", id: "trial-more" });
  const boxes = made("div", { className: "columns" }, ...titles.map((title, i) => {
    const box = made("input", { type: "checkbox", checked: true });
    box.addEventListener("change", () => {
      if (box.checked) state.off.delete(i);
      else state.off.add(i);
      for (const cell of [heads[i], ...rows.map((r) => r.row.cells[i])]) cell.hidden = !box.checked;
      draw();
    });
    return made("label", {}, box, ` ${title}`);
  }));
  const columns = made("details", { id: "trial-columns" }, made("summary", { textContent: "Columns" }), boxes);

  const average = (members, i) => {
    const known = members.map((r) => r.values[i]).filter((v) => typeof v === "number");
    return known.length ? `${((100 * known.reduce((a, b) => a + b, 0)) / known.length).toFixed(1)} %` : "";
  };
  const heading = (name, members) => {
    const said = [`${titles[state.group]}: ${name || "none"}`, `${members.length} trials`];
    for (const title of ["Val. accuracy", "Test accuracy"]) {
      const mean = titles.includes(title) && average(members, titles.indexOf(title));
      if (mean) said.push(`mean ${title.toLowerCase()} ${mean}`);
    }
    return made("tr", { className: "group" }, made("th", { colSpan: titles.length - state.off.size, scope: "rowgroup", textContent: said.join(" · ") }));
  };
  const draw = () => {
    const left = rows.filter((r) => (!state.lines || state.lines.has(r.line)) && state.words.every((word) => r.text.includes(word)));
    if (state.sort >= 0) {
      const sign = state.down ? -1 : 1;
      left.sort((a, b) => {
        const [x, y] = [a.values[state.sort], b.values[state.sort]];
        return typeof x === typeof y ? sign * compare(x, y) : compare(x, y);
      });
    }
    const groups = new Map();
    for (const r of left) {
      const name = state.group < 0 ? "" : r.shown[state.group];
      if (groups.has(name)) groups.get(name).push(r);
      else groups.set(name, [r]);
    }
    const content = [];
    let room = state.limit;
    for (const [name, members] of [...groups].sort(([a], [b]) => (state.group < 0 ? 0 : compare(a, b)))) {
      if (room <= 0) break;
      if (state.group >= 0) content.push(heading(name, members));
      content.push(...members.slice(0, room).map((r) => r.row));
      room -= members.length;
    }
    body.replaceChildren(...content);
    const drawn = Math.min(left.length, state.limit);
    const [shown, found, all] = [drawn, left.length, rows.length].map((n) => n.toLocaleString("en"));
    count.textContent = `${shown} of ${found} shown${found === all ? "" : `, of ${all} trials`}`;
    more.hidden = drawn === left.length;
    more.textContent = `Show all ${found}`;
    heads.forEach((head, i) => {
      if (i === state.sort) head.setAttribute("aria-sort", state.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    sort.value = state.sort;
    turn.textContent = state.down ? "descending" : "ascending";
    turn.disabled = state.sort < 0;
    const narrowed = left.length < rows.length;
    tell("trials-shown", { lines: narrowed ? new Set(left.map((r) => r.line)) : null, count: left.length, all: rows.length });
  };
  const set = (changes) => {
    Object.assign(state, changes);
    draw();
  };
  filter.addEventListener("input", () => set({ words: filter.value.toLowerCase().split(/\s+/).filter(Boolean) }));
  sort.addEventListener("change", () => set({ sort: Number(sort.value), down: false }));
  turn.addEventListener("click", () => set({ down: !state.down }));
  group.addEventListener("change", () => set({ group: Number(group.value) }));
  more.addEventListener("click", () => set({ limit: Infinity }));
  heads.forEach((head, i) => {
    head.classList.add("sorts");
    head.addEventListener("click", () => set({ sort: i, down: state.sort === i && !state.down }));
  });
  // A figure whose lines are settings: `linked.js`.
  document.addEventListener("lines-chosen", ({ detail }) => set({ lines: detail }));
  document.addEventListener("line-pointed", ({ detail }) => {
    for (const r of rows) r.row.classList.toggle("pointed", detail > 0 && r.line === detail);
  });
  let pointed = 0;
  const point = (line) => { if (line !== pointed) tell("line-pointed", pointed = line); };
  body.addEventListener("mouseover", (event) => point(Number(event.target.closest("tr")?.dataset.line || 0)));
  body.addEventListener("mouseleave", () => point(0));
  // On paper all trials stand that are not filtered out.
  let limit = PAGE;
  addEventListener("beforeprint", () => { limit = state.limit; set({ limit: Infinity }); });
  addEventListener("afterprint", () => set({ limit }));
  tools.append(made("label", {}, "Filter ", filter), made("label", {}, "Sort by ", sort), turn, made("label", {}, "Group by ", group), columns, count, more);
  tools.hidden = false;
  draw();
};

const figureFiles = () => {
  for (const place of document.querySelectorAll("[data-figure]")) {
    // The picture as it came, in the colours of a light page: var(--name, #light) -> #light.
    const name = place.dataset.figure;
    const picture = place.innerHTML.replace(/var\(--[\w-]+,\s*([^()]+)\)/g, "$1");
    const button = made("button", { type: "button", textContent: "SVG" });
    button.setAttribute("aria-label", `SVG: ${name}`);
    button.addEventListener("click", () => save(new Blob([picture], { type: "image/svg+xml" }), `${name}.svg`));
    document.querySelector(`[data-values="${name}"]`)?.querySelector("summary").after(button);
  }
};

// A page of a running sweep loads itself again, for as long as the reader wants that.
const renew = () => {
  const seconds = Number(document.body.dataset.live);
  const place = document.getElementById("renew");
  if (!seconds || !place) return;
  const box = made("input", { type: "checkbox", checked: true, id: "renew-box" });
  place.append(" ", made("label", {}, box, ` Load it again every ${seconds} s`));
  setInterval(() => { if (box.checked && !document.hidden) location.reload(); }, 1000 * seconds);
};

figureFiles();
renew();
unpackTrials();
openForPaper();
trialTable();
})();
