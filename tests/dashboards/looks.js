// What is wrong with how a page lies on the screen: one sentence for each fault.
(() => {
  const faults = [];
  const width = document.documentElement.clientWidth;
  const said = (node) => `<${node.localName}${node.id ? `#${node.id}` : ""}> ${node.textContent.trim().slice(0, 40)}`;
  const seen = (node) => node.checkVisibility({ contentVisibilityAuto: true, visibilityProperty: true }) && !node.closest(".unseen, .skip");
  if (document.documentElement.scrollWidth > width) faults.push(`the page scrolls sideways: ${document.documentElement.scrollWidth} of ${width} px`);
  for (const node of document.querySelectorAll("body *")) {
    if (!seen(node) || node.closest("svg, [data-figure], thead") && !node.matches("svg, [data-figure], table")) continue;
    const box = node.getBoundingClientRect();
    if (!box.width) continue;
    if (box.right > width + 1 || box.left < -1) faults.push(`beyond the window: ${said(node)}`);
    const style = getComputedStyle(node);
    if (style.display !== "inline" && style.overflowX !== "visible" && node.scrollWidth > node.clientWidth + 1) faults.push(`cut: ${said(node)}`);
  }
  for (const table of document.querySelectorAll("table")) {
    if (!seen(table)) continue;
    const room = table.closest(".table").getBoundingClientRect();
    if (table.getBoundingClientRect().right > room.right + 1) faults.push(`table cut: ${said(table.caption)}`);
    for (const cell of table.querySelectorAll("td")) {
      if (!cell.hidden && cell.scrollWidth > cell.clientWidth + 1) faults.push(`text beyond its cell: ${said(cell)}`);
    }
  }
  for (const svg of document.querySelectorAll("main svg")) {
    const frame = svg.getBoundingClientRect();
    for (const text of svg.querySelectorAll("text")) {
      const box = text.getBoundingClientRect();
      if (box.width && (box.right > frame.right + 1 || box.left < frame.left - 1 || box.bottom > frame.bottom + 1 || box.top < frame.top - 1)) faults.push(`text beyond its figure: ${text.textContent}`);
    }
    for (const axis of svg.querySelectorAll(".role-axis-label")) {
      const ticks = [...axis.querySelectorAll("text")].filter((t) => t.getAttribute("opacity") !== "0").map((t) => t.textContent);
      if (new Set(ticks).size < ticks.length) faults.push(`tick labels twice: ${ticks.join(" | ")}`);
    }
  }
  const ids = [...document.querySelectorAll("[id]")].map((n) => n.id);
  for (const id of new Set(ids.filter((id, i) => ids.indexOf(id) < i))) faults.push(`id twice: ${id}`);
  for (const link of document.querySelectorAll('a[href^="#"]')) {
    if (!document.getElementById(link.getAttribute("href").slice(1))) faults.push(`link to nothing: ${said(link)}`);
  }
  return faults;
})()
