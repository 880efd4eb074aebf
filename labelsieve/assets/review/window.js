// What every view needs: which window this is, who sits at it, telling the server, and words to a person.
export const $ = (selector, within = document) => within.querySelector(selector);
export const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];
export const typing = (target) => target.matches("input:not([type=hidden]):not([type=checkbox]):not([type=radio]):not([type=range]), select, textarea");
export const w = document.body.dataset.w;

const NAME = "labelsieve-name";
export function person() { try { return localStorage.getItem(NAME) || ""; } catch { return ""; } }
export function setPerson(name) { try { localStorage.setItem(NAME, name); } catch { /* a browser that keeps nothing asks again */ } }

export function trouble(text) { const box = $("#trouble"); box.hidden = !text; box.textContent = text; }
export function say(text) { $("#said").textContent = text; }
export function notice(text, conflict = false) {
  const box = $("#notice");
  box.textContent = text; box.classList.toggle("conflict", conflict);
  if (text) say(text);
}
export const GONE = "The server does not answer; the last answer was not saved. Start labelsieve review again and open its new address.";

async function answered(promise) {
  let response;
  try { response = await promise; } catch { trouble(GONE); throw new Error(GONE); }
  if (!response.ok) {
    const text = (await response.text()).slice(0, 200);
    trouble(`Not saved: ${text}`); throw new Error(text);
  }
  trouble("");
  return response;
}
export const get = async (address) => (await answered(fetch(address))).json();
export const bytes = async (address) => (await answered(fetch(address))).arrayBuffer();
export async function post(route, fields) {
  const body = new URLSearchParams({ w, name: person(), ...fields });
  return (await answered(fetch(route, { method: "POST", body }))).json();
}

// What this window shows is kept from others while it is open, and given back when it is closed.
const HEARTBEAT = 20000; // milliseconds; the server takes a window for gone after 90 s
let held = 0; // of views whose lease does not stand in the page
export function hold(lease) { held = lease; }
function lease() { return held || $("#stage")?.dataset.lease; }
function tell(route) {
  if (lease()) navigator.sendBeacon(route, new URLSearchParams({ w, lease: lease(), name: person() }));
}
export const renew = () => tell("renew");
addEventListener("pagehide", () => tell("release"));
setInterval(renew, HEARTBEAT);
document.addEventListener("visibilitychange", () => { if (!document.hidden) renew(); });
// a page from the browser's history shows what may have been decided, or given to another window, since
addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });

function showProgress(progress) {
  const box = $("#progress");
  if (!box || !progress) return;
  const number = (value) => Math.round(value).toLocaleString("en");
  $("progress", box).max = Math.max(progress.all, 1); $("progress", box).value = progress.done;
  $("p", box).innerHTML = "<b></b> of <span></span> left <span class='quiet more'></span>";
  $("b", box).textContent = number(progress.all - progress.done); $("p span", box).textContent = number(progress.all);
  $("p", box).title = `${progress.headline}.`;
  $(".more", box).textContent = `· ${progress.words}`;
}
// when the review may stop, once an audit tells: a sentence, and a bar towards it
export function showStop(stop) {
  const box = $("#promise"); if (!box) return;
  box.hidden = !stop; if (!stop) return;
  const now = document.createElement("span"), bar = document.createElement("progress");
  now.className = "quiet"; now.textContent = `Now: at most ${percent(stop.remaining, 1)}.`;
  bar.max = stop.rank || 1; bar.value = Math.min(stop.done, stop.rank || 0); bar.setAttribute("aria-label", "reviewed of what must be"); bar.hidden = !stop.rank;
  box.replaceChildren(bar, ` ${stop.sentence} `, now);
}
// everything that an answer changes around a view
export function showState(answer) { showProgress(answer.progress); showOthers(answer.others && `${answer.others}.`); showStop(answer.stop); }
function showOthers(text) { const box = $("#others"); if (box) box.textContent = text; }

// A picture of the user's data by its row; the address is the same each time, so browsers keep it.
export const image = (row, size) => `image?row=${row}&size=${size}`;
// how the items of this run are drawn; scripts that are deferred run in their order, so it is there
export const kind = ITEMS[document.body.dataset.kind];
export const shown = (row, size, words) => kind.served(image(row, size), words);

// Pictures of so few pixels are icons and digits, whose single pixels count: not smeared, in every view.
const FEW = 64;
function crisp(image) {
  if (image instanceof HTMLImageElement && image.naturalWidth && Math.max(image.naturalWidth, image.naturalHeight) <= FEW) image.classList.add("crisp");
}
document.addEventListener("load", (event) => crisp(event.target), true); // load does not bubble
[...document.images].forEach(crisp);
