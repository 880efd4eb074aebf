// The list of classes that opens while one types: arrows, Enter, click. Calls back with the class that was chosen.
import { $, $$ } from "./window.js";

export function chooseClass(chosen) {
  let asked = 0, listed = null, enter = false;
  const field = () => $("#other"), list = () => $("#options");

  function close() {
    list()?.replaceChildren(); listed = null; enter = false;
    field()?.setAttribute("aria-expanded", "false"); field()?.removeAttribute("aria-activedescendant");
  }
  function pick(label) { const box = field(); box.value = ""; close(); box.blur(); chosen(label); }

  async function look(box) {
    const mine = ++asked, words = box.value;
    let html;
    try { html = await (await fetch(`classes?${new URLSearchParams({ q: words })}`)).text(); } catch { return; }
    // an answer that was overtaken by a later one, or by another card, is no longer wanted
    if (mine !== asked || box !== field()) return;
    list().innerHTML = html; listed = words;
    const first = $("#options [data-label]");
    box.setAttribute("aria-expanded", String(Boolean(first)));
    if (first) box.setAttribute("aria-activedescendant", first.id); else box.removeAttribute("aria-activedescendant");
    if (enter && first) { enter = false; pick(first.dataset.label); }
  }

  function move(options, at, step) {
    const next = Math.max(0, Math.min(options.length - 1, at + step));
    options.forEach((o, i) => o.setAttribute("aria-selected", String(i === next)));
    if (!options[next]) return;
    options[next].scrollIntoView({ block: "nearest" }); field().setAttribute("aria-activedescendant", options[next].id);
  }

  document.addEventListener("keydown", (event) => {
    if (event.target.id !== "other") return;
    const options = $$("#options [data-label]"), at = options.findIndex((o) => o.getAttribute("aria-selected") === "true");
    if (event.key === "Escape") { event.preventDefault(); event.target.value = ""; close(); event.target.blur(); }
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") { event.preventDefault(); move(options, at, event.key === "ArrowDown" ? 1 : -1); }
    else if (event.key === "Enter") {
      event.preventDefault();
      const words = event.target.value.trim().toLowerCase();
      const exact = options.find((o) => o.dataset.label.toLowerCase() === words);
      if (exact) pick(exact.dataset.label);
      else if (listed !== event.target.value) enter = true; // the list is still on its way: take its first
      else if (options[at]) pick(options[at].dataset.label);
    }
  });
  document.addEventListener("input", (event) => { if (event.target.id === "other") { enter = false; look(event.target); } });
  document.addEventListener("focusin", (event) => { if (event.target.id === "other") look(event.target); });
  document.addEventListener("focusout", (event) => { if (event.target.id === "other") setTimeout(() => { if (document.activeElement !== field()) { asked++; close(); } }, 150); });
  document.addEventListener("mousedown", (event) => {
    const option = event.target.closest?.("#options [data-label]");
    if (option) { event.preventDefault(); pick(option.dataset.label); }
  });
}
