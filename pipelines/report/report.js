"use strict";
// Without this script everything is there; with it tables sort, features filter, and print opens what is folded.
for (const table of document.querySelectorAll("table[data-sortable]")) {
  const body = table.tBodies[0];
  table.querySelectorAll("th[data-sort]").forEach((head) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") === "descending" || (head.dataset.first === "up" && head.getAttribute("aria-sort") === "none");
      table.querySelectorAll("th[data-sort]").forEach((other) => other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = head.dataset.sort;
      const value = (row) => { const text = row.dataset[key] ?? ""; const figure = Number(text); return text === "" || Number.isNaN(figure) ? text : figure; };
      const compare = (a, b) => {
        const [x, y] = [value(a), value(b)];
        return typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y));
      };
      const pinned = [...body.rows].filter((row) => row.dataset.pinned);
      const rows = [...body.rows].filter((row) => !row.dataset.pinned);
      rows.sort((a, b) => (up ? compare(a, b) : compare(b, a)));
      body.append(...pinned, ...rows);
    });
  });
}
for (const input of document.querySelectorAll("input[data-filters]")) {
  const table = document.getElementById(input.dataset.filters);
  const told = document.getElementById(input.dataset.filters + "-told");
  input.closest(".filter").hidden = false;
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of table.tBodies[0].rows) {
      row.hidden = !words.every((word) => row.dataset.text.includes(word));
      shown += row.hidden ? 0 : 1;
    }
    told.textContent = words.length ? shown + " shown" : "";
  });
}
addEventListener("beforeprint", () => document.querySelectorAll("details:not([data-long])").forEach((part) => { part.open = true; }));
addEventListener("hashchange", () => {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const fold = target && target.querySelector("details");
  if (fold) fold.open = true;
});
