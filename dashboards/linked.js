// Links the figure of settings as lines with the table of trials. A range on an axis, drawn with the
// mouse or chosen below the figure, narrows both; so does the table's own filter. What is pointed at
// in one stands out in the other.
(() => {
"use strict";
const NAME = "settings_lines";
const place = document.querySelector(`[data-figure="${NAME}"]`);
const block = document.getElementById("figure-specifications");
if (!place || !block || !document.getElementById("trial-table")) return;
const link = JSON.parse(block.textContent)[NAME]?.usermeta.link;
if (!link) return;
const NEAR = 1e-6;
const [LOWEST, HIGHEST] = [-0.04, 1.04]; // what the axes of the figure show
const STRIP = 26; // CSS pixels beside an axis in which the mouse draws a range

const made = (tag, properties = {}, ...children) => {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
};
const tell = (name, detail) => document.dispatchEvent(new CustomEvent(name, { detail }));

const ranges = link.axes.map(() => null); // of each axis: the first and last chosen value, or all
let view = null;
let chosen = null;

// The lines that lie within all ranges; null = all.
const within = () => {
  if (ranges.every((range) => range === null)) return null;
  const inside = (heights) => ranges.every((range, i) => {
    if (range === null) return true;
    const [low, high] = range.map((at) => link.axes[i].values[at][1]);
    return heights[i] >= low - NEAR && heights[i] <= high + NEAR;
  });
  return new Set(link.lines.flatMap((heights, i) => (inside(heights) ? [i + 1] : [])));
};

const boxes = link.axes.map((axis, i) => {
  const options = () => axis.values.map(([text], at) => made("option", { value: at, textContent: text }));
  const [first, last] = [made("select", {}, ...options()), made("select", {}, ...options())];
  first.setAttribute("aria-label", `${axis.name}, from`);
  last.setAttribute("aria-label", `${axis.name}, to`);
  const changed = (moved) => {
    let pair = [Number(first.value), Number(last.value)];
    if (pair[0] > pair[1]) pair = moved === first ? [pair[0], pair[0]] : [pair[1], pair[1]];
    choose(i, pair);
  };
  for (const box of [first, last]) box.addEventListener("change", () => changed(box));
  return { first, last };
});
const choose = (i, pair) => {
  const end = link.axes[i].values.length - 1;
  ranges[i] = pair && (pair[0] > 0 || pair[1] < end) ? pair : null;
  show();
};
const whole = made("button", { type: "button", textContent: "All settings", hidden: true });
whole.addEventListener("click", () => {
  ranges.fill(null);
  show();
});
const count = made("output", { id: "lines-count" });
const rows = link.axes.map((axis, i) => made("div", {}, made("span", { textContent: axis.name }), boxes[i].first, made("span", { textContent: "to" }), boxes[i].last));
const tools = made("details", { id: "lines-tools" }, made("summary", { textContent: "Choose settings by axis" }), ...rows);
place.closest("figure").querySelector("figcaption").after(made("div", { className: "lines" }, count, whole, tools));

const show = () => {
  boxes.forEach(({ first, last }, i) => {
    const [low, high] = ranges[i] ?? [0, link.axes[i].values.length - 1];
    first.value = low;
    last.value = high;
  });
  whole.hidden = ranges.every((range) => range === null);
  mark();
  tell("lines-chosen", within());
};

// The drawing: which lines are faded, and which stands out.
const signal = (name, value) => {
  if (view) view.signal(name, value).runAsync();
};
document.addEventListener("trials-shown", ({ detail }) => {
  chosen = detail.lines && [...detail.lines];
  signal("chosen", chosen);
  count.replaceChildren();
  if (chosen) {
    const [some, all] = [detail.count, detail.all].map((n) => n.toLocaleString("en"));
    const words = `${some} of ${all} trials are in the table`;
    count.append(made("a", { href: "#trials", textContent: words }), " ");
  }
});
document.addEventListener("line-pointed", ({ detail }) => signal("pointed", detail));

// Strips over the axes, for the mouse. A finger scrolls; it has the boxes below.
const strips = link.axes.map((_, i) => {
  const range = made("div", { className: "range", hidden: true });
  const strip = made("div", { className: "strip", title: "Draw a range to choose settings" }, range);
  const height = (event) => {
    const box = strip.getBoundingClientRect();
    const part = Math.min(1, Math.max(0, (event.clientY - box.top) / box.height));
    return HIGHEST - part * (HIGHEST - LOWEST);
  };
  strip.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "touch" || event.button !== 0) return;
    event.preventDefault();
    strip.setPointerCapture(event.pointerId);
    const from = height(event);
    const ended = (last) => {
      strip.removeEventListener("pointerup", ended);
      const [low, high] = [from, height(last)].sort((a, b) => a - b);
      const at = link.axes[i].values.flatMap(([, h], n) => (h >= low && h <= high ? [n] : []));
      choose(i, at.length ? [at[0], at[at.length - 1]] : null);
    };
    strip.addEventListener("pointerup", ended);
  });
  return { strip, range };
});
const mark = () => strips.forEach(({ range }, i) => {
  range.hidden = ranges[i] === null;
  if (!ranges[i]) return;
  const [low, high] = ranges[i].map((at) => link.axes[i].values[at][1]);
  const of = (h) => (100 * (HIGHEST - h)) / (HIGHEST - LOWEST);
  range.style.top = `${of(high) - 1}%`;
  range.style.height = `${of(low) - of(high) + 2}%`;
});
place.addEventListener("figure-drawn", ({ detail }) => {
  view = detail.view;
  const [left, top] = view.origin();
  const x = view.scale("x");
  place.classList.add("linked");
  strips.forEach(({ strip }, i) => {
    strip.style.left = `${left + x(link.axes[i].name) - STRIP / 2}px`;
    strip.style.top = `${top}px`;
    strip.style.width = `${STRIP}px`;
    strip.style.height = `${view.height()}px`;
    place.append(strip);
  });
  view.addEventListener("mouseover", (_, item) => tell("line-pointed", item?.datum?.line ?? 0));
  view.addEventListener("mouseout", () => tell("line-pointed", 0));
  signal("chosen", chosen);
  mark();
});
})();
