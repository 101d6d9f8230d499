// Draws every <div data-figure="NAME"> from the JSON block of the page, in place of its picture.
// Fails softly: where something is wrong, the picture stays. Colours are CSS variables, so that a
// change between light and dark needs no drawing.
(() => {
  "use strict";
  const block = document.getElementById("figure-specifications");
  const vega = window.lotusVega;
  if (!block || !vega) return;
  const specs = JSON.parse(block.textContent);
  const NARROWEST = 150; // CSS pixels, of what is drawn inside the axes
  const WIDEST = 1.6; // times the width that a figure was made for

  // A copy of the specification that fits into `room` pixels.
  const fitted = (spec, room) => {
    const fit = spec.usermeta.fit;
    const side = Math.min(fit.margin, 0.4 * room);
    const gap = 30;
    const most = Math.floor((room - side + gap) / (NARROWEST + gap));
    const columns = Math.max(1, Math.min(fit.columns, most));
    const free = (room - side - gap * (columns - 1)) / columns;
    const inner = Math.round(Math.max(NARROWEST, Math.min(WIDEST * fit.inner, free)));
    const resized = (value) => {
      if (Array.isArray(value)) return value.map(resized);
      if (value === null || typeof value !== "object") return value;
      return Object.fromEntries(Object.entries(value).map(([key, item]) => {
        if (key === "width" && item === fit.inner) return [key, inner];
        if (key === "values" || key === "datasets") return [key, item];
        return [key, resized(item)];
      }));
    };
    const copy = resized(spec);
    if ("columns" in copy) copy.columns = columns;
    if (copy.config.legend && room < 480) {
      copy.config = { ...copy.config, legend: { ...copy.config.legend, columns: 2 } };
    }
    if (copy.config.axis && room < 480) {
      const axis = { ...copy.config.axis, labelLimit: Math.max(80, 0.34 * room), tickCount: 4 };
      copy.config = { ...copy.config, axis };
    }
    return copy;
  };

  // One box of text for all figures. Its content is text, whatever a name holds.
  const box = document.createElement("div");
  box.className = "figure-tip";
  box.hidden = true;
  box.setAttribute("role", "tooltip");
  document.body.append(box);
  const tip = (_handler, event, _item, value) => {
    if (value === null || value === undefined || value === "") {
      box.hidden = true;
      return;
    }
    box.textContent = String(value);
    box.hidden = false;
    const { offsetWidth: w, offsetHeight: h } = box;
    const left = Math.min(event.clientX + 14, document.documentElement.clientWidth - w - 8);
    const below = event.clientY + 16;
    const top = below + h > window.innerHeight ? event.clientY - h - 12 : below;
    box.style.left = `${Math.max(8, left)}px`;
    box.style.top = `${Math.max(8, top)}px`;
  };
  document.addEventListener("scroll", () => { box.hidden = true; }, { passive: true });

  const views = new Map(); // place -> what is drawn there
  const draw = async (place) => {
    const room = place.clientWidth;
    const before = views.get(place);
    if (!room || before?.room === room) return;
    views.set(place, { ...before, room });
    const spec = specs[place.dataset.figure];
    const stage = document.createElement("div");
    const compiled = vega.compile(fitted(spec, room)).spec;
    const view = new vega.View(vega.parse(compiled, {}, { ast: true }), {
      expr: vega.interpreter,
      renderer: "svg",
      container: stage,
      hover: false,
      tooltip: tip,
    });
    await view.runAsync();
    if (views.get(place).room !== room) {
      view.finalize();
      return;
    }
    before?.view?.finalize();
    place.replaceChildren(stage.querySelector("svg"));
    place.dataset.drawn = "yes";
    views.set(place, { room, view });
    // For scripts that know more of the figure than how to draw it.
    place.dispatchEvent(new CustomEvent("figure-drawn", { detail: { view } }));
  };

  const attempt = (place) => draw(place).catch((error) => {
    place.dataset.drawn = "no";
    console.error(`figure ${place.dataset.figure}: ${error.message}`);
  });
  const places = [...document.querySelectorAll("[data-figure]")].filter(
    (place) => specs[place.dataset.figure],
  );
  let waiting = 0;
  const watch = new ResizeObserver(() => {
    clearTimeout(waiting);
    waiting = setTimeout(() => places.forEach(attempt), 150);
  });
  // A figure is drawn when it comes near; until then, and on paper, its picture stands.
  const near = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) {
        near.unobserve(entry.target);
        attempt(entry.target);
        watch.observe(entry.target);
      }
    }
  }, { rootMargin: "600px" });
  places.forEach((place) => near.observe(place));
})();
