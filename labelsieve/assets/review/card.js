// One image at a time. Decisions are plain forms, sent by htmx.
import { $, $$, GONE, say, trouble, typing, w } from "./window.js";
import { zoom } from "./zoom.js";
import { chooseClass } from "./classes.js";
import { putIn } from "./chips.js";

let busy = false;

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || $("dialog[open]")) return;
  if (typing(event.target) || busy) return;
  const key = event.key.toLowerCase();
  if (key === "o" && $("#other")) { event.preventDefault(); $("#other").focus(); return; }
  if (key === "z" && $(".look .enlarge")) { event.preventDefault(); const b = $(".look .enlarge"); zoom(b.dataset.zoom, b.dataset.path); return; }
  const button = /^[a-z1-9]$/.test(key) && $(`#stage [data-key~="${key}"]`);
  if (button && !event.repeat) { event.preventDefault(); button.click(); }
});

function answer(label) { if (putIn(label)) return; if ($("#label") && !busy) { $("#label").value = label; $("#take").click(); } }
chooseClass(answer);
document.addEventListener("click", (event) => {
  const button = event.target.closest?.("[data-class]");
  if (button) answer(button.dataset.class);
});

// The card is exchanged as a whole; a region that stays tells a screen reader what the new one asks.
let focused = "";
document.addEventListener("htmx:beforeSwap", () => { focused = document.activeElement?.id || ""; });
document.addEventListener("htmx:afterSwap", () => {
  const words = $$("#stage .notice, #stage .question, #stage .verdict, #stage .finished h1");
  say(words.map((each) => each.innerText.replace(/\s+/g, " ").trim()).filter(Boolean).join(". "));
  // whoever goes from button to button stays there
  if (focused && focused !== "other" && document.activeElement === document.body) document.getElementById(focused)?.focus();
  // the address of one image would show it again on reload
  if (new URLSearchParams(location.search).has("row")) {
    const query = new URLSearchParams(location.search); query.delete("row");
    history.replaceState(null, "", `?${query}`);
  }
});

const isDecision = (event) => event.detail.requestConfig?.verb === "post";
document.addEventListener("htmx:beforeRequest", (event) => {
  if (!isDecision(event)) return;
  if (busy) { event.preventDefault(); return; }
  busy = true; document.body.classList.add("busy");
});
document.addEventListener("htmx:afterRequest", (event) => {
  if (!isDecision(event)) return;
  busy = false; document.body.classList.remove("busy");
  if (event.detail.successful) trouble("");
});
document.addEventListener("htmx:sendError", () => trouble(GONE));
document.addEventListener("htmx:responseError", (event) => trouble(`Not saved: ${event.detail.xhr.responseText.slice(0, 200)}`));
export { w };
