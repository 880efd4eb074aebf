// Many images at once: mark, select, answer. The server keeps the order; a screen is asked for at a time.
import { $, $$, bytes, get, hold, kind, notice, post, showState, shown, typing, w } from "./window.js";
import { chooseClass } from "./classes.js";
import { zoom } from "./zoom.js";

const SIZES = [88, 124, 168, 232, 336]; // sides of cells in pixels
const WORDS = 40, GAP = 10; // pixels below a picture for its labels, and between cells
const LEAST = 12; // cells of a screen, also of a telephone that is scrolled then
const grid = $("#grid"), query = grid.dataset.query, sort = () => $("#sort").value;
let cells = [], start = 0, total = 0, at = 0, anchor = 0, busy = false, quick = [], suggestions = "";
const chosen = new Set(); // positions on this screen
let size = 2;
try { size = Number(localStorage.getItem("labelsieve-size") ?? 2); } catch { /* the middle one */ }
$("#size").value = size;

// --- asking for a screen
const room = () => innerHeight - grid.getBoundingClientRect().top - scrollY - $(".actions").offsetHeight - 14;
// lines of a text need width
const narrow = () => (kind.canvas ? SIZES[size] : Math.min(grid.clientWidth, Math.max(2 * SIZES[size], 240)));
const columns = () => Math.max(1, Math.floor((grid.clientWidth + GAP) / (narrow() + GAP)));
function fits() {
  const wide = (grid.clientWidth - GAP * (columns() - 1)) / columns(), high = (kind.canvas ? wide : 0.65 * SIZES[size]) + (size ? WORDS : 0) + GAP - 8;
  // a row that nearly has room gets it: pictures fill the height that there is, and texts do not shrink
  const free = (room() + GAP) / high, grouped = sort() === "pair";
  const rows = Math.max(1, !grouped && kind.canvas && free % 1 > 0.55 ? Math.ceil(free) : Math.floor(free));
  const scrolled = rows * columns() < (kind.canvas ? LEAST : 4), filled = kind.canvas && !scrolled && !grouped;
  if (filled) grid.style.setProperty("--high", `${Math.floor((room() + GAP) / rows) - GAP - (size ? WORDS - 8 : 0)}px`);
  else grid.style.removeProperty("--high");
  return Math.max(rows, Math.ceil((kind.canvas ? LEAST : 4) / columns())) * columns();
}
async function load(from) {
  await ask(from, fits());
  if (sort() === "pair" && cells.length) await fill(from);
}
// Groups stand beside each other, so that how many cells have room is known once they are drawn.
async function fill(from) {
  const tall = node(0).offsetHeight, least = columns(), end = innerHeight - $(".actions").offsetHeight - 14;
  const box = (number) => node(number).getBoundingClientRect();
  const bottom = (count) => Math.max(...[...Array(count).keys()].map((n) => box(n).bottom)) + scrollY;
  const spare = () => end - bottom(cells.length);
  for (let turn = 0; turn < 4 && more() && spare() > 0; turn++) await ask(from, cells.length + Math.ceil(spare() / tall) * columns());
  // a row that nearly has room stays; a step back takes the screen that was shown, so that none is passed over
  let fitting = cells.length;
  while (fitting > least && bottom(fitting) > end + (kind.canvas ? 0.45 : 0) * tall) fitting -= 1;
  if (fitting < cells.length) await ask(from, fitting);
  const rows = new Set(cells.map((_, n) => Math.round(box(n).top))).size;
  if (kind.canvas && more() && Math.abs(spare()) < 0.6 * tall) grid.style.setProperty("--high", `${$(".frame", node(0)).offsetHeight + Math.floor(spare() / rows)}px`);
}
async function ask(from, count) {
  const wanted = new URLSearchParams(query);
  const like = new URLSearchParams(location.search).get("like");
  wanted.set("sort", sort()); wanted.set("start", Math.max(0, from)); wanted.set("count", count);
  if (like !== null) wanted.set("like", like);
  const answer = await get(`cells?${wanted}`);
  cells = answer.cells; start = answer.start; total = answer.total; suggestions = answer.suggestions; hold(answer.lease);
  chosen.clear(); at = 0; anchor = 0;
  showState(answer);
  draw();
}

// --- drawing
function draw() {
  for (const name of SIZES.keys()) grid.classList.toggle(`size-${name}`, name === size);
  const nodes = [];
  let pair = null, group = null;
  cells.forEach((cell, number) => {
    const these = `${cell.given} → ${cell.offered}`;
    if (sort() === "pair" && these !== pair) {
      pair = these;
      group = element("div", "group"); group.setAttribute("role", "group"); group.setAttribute("aria-label", these);
      const title = element("button", "group-title"); title.type = "button"; title.tabIndex = -1; title.dataset.pair = these;
      title.textContent = these; title.title = "Select these"; title.setAttribute("aria-hidden", "true");
      const bunch = element("div", "bunch"); bunch.setAttribute("role", "presentation");
      bunch.append(title, group); nodes.push(bunch);
    }
    (group || { append: (node) => nodes.push(node) }).append(drawn(cell, number));
  });
  grid.replaceChildren(...nodes);
  grid.classList.toggle("grouped", sort() === "pair");
  $("#empty").hidden = cells.length > 0; grid.hidden = !cells.length;
  $("#range").textContent = cells.length ? `${(start + 1).toLocaleString("en")}–${(start + cells.length).toLocaleString("en")} of ${total.toLocaleString("en")}` : "";
  $("#count").textContent = total.toLocaleString("en"); $("[data-do=all]").disabled = !total;
  $("#back").disabled = start === 0; $("#forward").disabled = start + cells.length >= total;
  quickClasses(); marks();
}
function element(kind, name) { const node = document.createElement(kind); node.className = name; return node; }
function drawn(cell, number) {
  const node = element("div", "cell");
  node.id = `cell-${number}`; node.setAttribute("role", "option"); node.dataset.number = number;
  const frame = element("span", "frame");
  frame.append(shown(cell.row, size > 2 ? "medium" : "small"), element("span", "tick"));
  const words = element("span", "words");
  node.append(frame, words); tell(node, cell);
  return node;
}
function tell(node, cell) {
  const differs = cell.offered && cell.offered !== cell.given;
  const words = $(".words", node), line = element("span", "labels"), given = element("b", "given"), offered = element("b", "right");
  given.textContent = cell.given;
  // of sets what would change comes first: behind a long set nobody would see it
  if (cell.change) { offered.textContent = cell.change; line.append(offered, " · ", cell.given); }
  else line.append(given);
  if (differs && !cell.change) { offered.textContent = cell.offered; line.append(" → ", offered); }
  const state = element("span", "state");
  state.textContent = cell.decided ? cell.decided : cell.held ? `${cell.held} looks at it` : `wrong: ${cell.chance}`;
  words.replaceChildren(line, state);
  node.title = `${cell.path}\n${cell.given}, ${cell.full}${differs ? `; offered: ${cell.offered}${cell.change ? ` (${cell.change})` : ""}` : ""}${cell.person ? `\n${cell.person} decided` : ""}`;
  node.setAttribute("aria-label", `${cell.path}: labelled ${cell.given}, ${cell.words}${differs ? `, offered ${cell.offered}` : ""}${cell.decided ? `, decided: ${cell.decided}` : ""}`);
  for (const [name, on] of Object.entries({ settled: cell.settled, kept: cell.kept, changed: cell.settled && !cell.kept, held: Boolean(cell.held), likely: cell.primary === "accept" })) node.classList.toggle(name, Boolean(on));
}
const node = (number) => document.getElementById(`cell-${number}`);
function marks() {
  doubted = "";
  cells.forEach((_, number) => {
    const one = node(number);
    one.setAttribute("aria-selected", String(chosen.has(number))); one.classList.toggle("marked", number === at);
  });
  if (cells[at]) { grid.setAttribute("aria-activedescendant", `cell-${at}`); node(at).scrollIntoView({ block: "nearest" }); }
  else grid.removeAttribute("aria-activedescendant");
  $("#chosen").textContent = chosen.size ? `${chosen.size} selected` : `Keys act on the marked ${kind.noun}`;
  $("#chosen").classList.toggle("some", chosen.size > 0);
}
// the classes that this screen is mostly about have keys of their own
function quickClasses() {
  if (grid.dataset.labels === "set") return; // sets are too many for any of them to be likely
  const votes = new Map();
  for (const cell of cells) for (const name of [cell.offered, cell.given]) if (name) votes.set(name, (votes.get(name) || 0) + 1);
  quick = [...votes].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).slice(0, 9).map(([name]) => name);
  $("#quick").replaceChildren(...quick.map((name, number) => {
    const button = element("button", ""), key = document.createElement("kbd"), text = document.createElement("span");
    button.type = "button"; button.dataset.label = name; key.textContent = number + 1; text.textContent = name; button.append(key, text);
    return button;
  }));
}

// --- answers
const aimed = () => chosen.size ? [...chosen].sort((a, b) => a - b) : cells[at] ? [at] : [];
let doubted = ""; // the answer that a person was asked about, as it would take the place of another one
// what this window knows to be decided is changed by the same key twice; of many it stays as it is
function meant(numbers, verdict, label) {
  const fresh = numbers.filter(open), wish = [verdict, label, ...numbers].join();
  if (fresh.length === numbers.length || doubted === wish) return numbers;
  if (fresh.length) return fresh;
  doubted = wish;
  const said = numbers.length === 1 ? `Decided already: ${cells[numbers[0]].decided}.` : `All ${numbers.length} are decided already.`;
  notice(`${said} The same answer again changes it.`, true);
  return [];
}
async function decide(wanted, verdict, label = "") {
  if (busy) return;
  // what the page shows is what is accepted, and where it shows nothing there is nothing to accept
  if (verdict === "accept") wanted = wanted.filter((number) => cells[number].offer);
  if (!wanted.length) { if (cells[at]) notice("Nothing is suggested there: name the class, or press K or N.", true); return; }
  const numbers = meant(wanted, verdict, label), stay = wanted.length - numbers.length;
  if (!numbers.length) return;
  busy = true;
  const many = numbers.map((number) => cells[number]);
  try {
    const answer = await post("decide-many", { rows: many.map((c) => c.row).join(), seen: many.map((c) => c.seen).join(), verdict, label, offered: JSON.stringify(many.map((c) => c.offer)) });
    const some = answer.written === 1 ? "1 answer saved" : `${answer.written} answers saved`, same = stay ? `; ${stay} decided before ${stay === 1 ? "stays" : "stay"} as ${stay === 1 ? "it is" : "they are"}` : "";
    notice(answer.refused ? `${some}; ${answer.refused} had been decided by somebody else meanwhile: look again.` : `${some}${same}.`, answer.refused > 0);
    await refresh();
    const one = !chosen.size;
    chosen.clear();
    if (cells.some(untouched)) at = nextOpen();
    // one by one goes on where the screen ends; what was done to many stays to be looked at
    else if (one && more()) { await next(); at = Math.max(0, cells.findIndex((_, n) => untouched(cells[n]))); }
    marks();
  } catch { /* `trouble` has said it */ } finally { busy = false; }
}
const open = (number) => !cells[number].settled;
const untouched = (cell) => !cell.decided; // one that was skipped is passed over, too
const more = () => start + cells.length < total;
function nextOpen() {
  for (let step = 1; step <= cells.length; step++) if (untouched(cells[(at + step) % cells.length])) return (at + step) % cells.length;
  return at;
}
// the same images as they are now: they keep their places, so that nothing moves under a hand
async function refresh() {
  if (!cells.length) return;
  const wanted = new URLSearchParams(query); wanted.set("rows", cells.map((c) => c.row).join());
  const answer = await get(`some?${wanted}`);
  answer.cells.forEach((cell, number) => { cells[number] = cell; tell(node(number), cell); });
  showState(answer);
}
async function rest() {
  const left = cells.keys().filter ? [...cells.keys()].filter((n) => open(n) && !chosen.has(n)) : [];
  if (left.length) { chosen.clear(); left.forEach((n) => chosen.add(n)); await decide(left, "keep"); }
  if (!busy) await next();
}
// what was decided on this screen is no longer in a list of what is open
const onlyOpen = () => !new URLSearchParams(query).has("decided");
const next = () => { trail.push(start); return load(start + (onlyOpen() ? cells.filter((c) => !c.settled).length : cells.length)); };
// screens that were left for the next one: groups make them of different length
let trail = [];
const back = () => {
  const before = trail.pop();
  return load(before < start ? before : start - (sort() === "pair" ? columns() : fits()));
};
async function undo() {
  if (busy) return;
  busy = true;
  try {
    const answer = await post("undo-many", {});
    notice(answer.notice); await refresh();
    const shown = cells.findIndex((cell) => cell.row === answer.rows[0]);
    if (shown >= 0) { at = shown; marks(); }
  } catch { /* said */ } finally { busy = false; }
}
function askAll() {
  $("#confirm-words").textContent = `${total.toLocaleString("en")} ${kind.noun}s pass the filters. One answer about all of them is one decision, and one undo takes it back.`;
  $("#confirm").showModal();
}
$("#confirm").addEventListener("close", async () => {
  if ($("#confirm").returnValue !== "yes") return;
  const verdict = $("#confirm input:checked").value;
  try {
    const answer = await post("decide-all", { ...Object.fromEntries(new URLSearchParams(query)), count: total, verdict, suggestions });
    notice(`${answer.written.toLocaleString("en")} answers saved.`);
  } catch { /* said */ }
  load(0);
});

// --- mouse: click selects one, Shift up to there, Ctrl one more, dragging a rectangle
let drag = null;
grid.addEventListener("pointerdown", (event) => {
  if (event.button || event.pointerType === "touch") return;
  if (event.target.closest(".group-title")) return;
  drag = { x: event.pageX, y: event.pageY, moved: false, before: new Set(event.shiftKey || event.ctrlKey || event.metaKey ? chosen : []) };
});
addEventListener("pointermove", (event) => {
  if (!drag) return;
  if (!drag.moved && Math.hypot(event.pageX - drag.x, event.pageY - drag.y) < 6) return;
  if (!drag.moved) { drag.moved = true; drag.box = element("div", "rubber"); document.body.append(drag.box); getSelection()?.removeAllRanges(); }
  const [left, right] = [drag.x, event.pageX].sort((a, b) => a - b), [top, bottom] = [drag.y, event.pageY].sort((a, b) => a - b);
  Object.assign(drag.box.style, { left: `${left}px`, top: `${top}px`, width: `${right - left}px`, height: `${bottom - top}px` });
  chosen.clear(); drag.before.forEach((n) => chosen.add(n));
  cells.forEach((_, number) => {
    const box = node(number).getBoundingClientRect();
    if (box.right + scrollX > left && box.left + scrollX < right && box.bottom + scrollY > top && box.top + scrollY < bottom) { chosen.add(number); at = number; }
  });
  marks();
});
addEventListener("pointerup", () => { if (drag?.moved) { drag.box.remove(); dragged = performance.now(); } drag = null; });
let dragged = -1e9; // the click that ends a drag selects nothing
grid.addEventListener("click", (event) => {
  const title = event.target.closest(".group-title");
  if (title) {
    chosen.clear();
    cells.forEach((c, number) => { if (`${c.given} → ${c.offered}` === title.dataset.pair && open(number)) chosen.add(number); });
    marks(); return;
  }
  const one = event.target.closest(".cell");
  if (!one || performance.now() - dragged < 50) return;
  const number = Number(one.dataset.number);
  if (event.shiftKey) range(anchor, number);
  else { if (chosen.has(number)) chosen.delete(number); else chosen.add(number); anchor = number; }
  at = number; grid.focus({ preventScroll: true }); marks();
});
grid.addEventListener("dblclick", (event) => {
  const one = event.target.closest(".cell");
  if (one) { const cell = cells[one.dataset.number]; chosen.delete(Number(one.dataset.number)); marks(); zoom(cell.row, cell.path); }
});
function range(from, to) { chosen.clear(); for (let n = Math.min(from, to); n <= Math.max(from, to); n++) chosen.add(n); }

// --- keys
// steps to the nearest image of the next row below (1) or above (-1), wherever groups have put it
function upright(way) {
  if (!cells[at]) return 0;
  const here = node(at).getBoundingClientRect();
  let best = at, least = Infinity;
  cells.forEach((_, number) => {
    const box = node(number).getBoundingClientRect(), down = way * (box.top - here.top);
    const far = 10 * down + Math.abs(box.left - here.left); // the next row, and in it the nearest
    if (down > 1 && far < least) { best = number; least = far; }
  });
  return best - at;
}
const MOVES = { ArrowRight: () => 1, ArrowLeft: () => -1, ArrowDown: () => upright(1), ArrowUp: () => upright(-1), Home: () => -at, End: () => cells.length - 1 - at };
// past the last image of a screen comes the next one, and before the first the one before
async function turn(key) {
  if (/Right|Down/.test(key) && more()) return next();
  if (!/Left|Up/.test(key) || !start) return;
  await back(); at = cells.length - 1; anchor = at; marks();
}
const ACTS = { a: "accept", k: "keep", n: "none", s: "skip" };
const DOES = {
  r: rest, u: undo, pagedown: next, pageup: back, "+": () => resize(1), "=": () => resize(1), "-": () => resize(-1),
  i: () => { cells.forEach((_, n) => { if (chosen.has(n)) chosen.delete(n); else if (open(n)) chosen.add(n); }); marks(); },
  escape: () => { chosen.clear(); marks(); }, o: () => $("#other").focus(),
  z: () => cells[at] && zoom(cells[at].row, cells[at].path),
  l: () => { if (cells[at]) location.href = `grid?${new URLSearchParams({ w, show: "all", decided: "any", sort: "similar", like: cells[at].row })}`; },
  enter: () => { if (cells[at]) location.href = `./?${query}&row=${cells[at].row}`; },
};
document.addEventListener("keydown", (event) => {
  if (event.altKey || event.defaultPrevented || $("dialog[open]") || typing(event.target)) return;
  const key = event.key.toLowerCase();
  if (event.ctrlKey || event.metaKey) {
    if (key === "a") { event.preventDefault(); cells.forEach((_, n) => { if (open(n)) chosen.add(n); }); marks(); }
    return;
  }
  if (event.target.matches("button, a") && (key === "enter" || key === " ")) return;
  if (event.target.matches("input[type=range]") && MOVES[event.key]) return;
  if (MOVES[event.key]) {
    event.preventDefault();
    const to = at + MOVES[event.key]();
    if (to < 0 || to >= cells.length || to === at) return event.shiftKey || busy ? undefined : turn(event.key);
    at = to;
    if (event.shiftKey) range(anchor, at); else anchor = at;
    return marks();
  }
  if (key === " ") { event.preventDefault(); if (chosen.has(at)) chosen.delete(at); else if (cells[at]) chosen.add(at); anchor = at; return marks(); }
  const act = ACTS[key], label = /^[1-9]$/.test(key) && quick[key - 1], job = DOES[key];
  if (!act && !label && !job) return;
  event.preventDefault();
  if (event.repeat && !["pagedown", "pageup"].includes(key)) return;
  if (act) decide(aimed(), act); else if (label) decide(aimed(), "other", label); else if (!busy) job();
});
document.addEventListener("click", (event) => {
  const button = event.target.closest?.("[data-act], [data-do], #quick [data-label]");
  if (!button) return;
  if (button.dataset.act) decide(aimed(), button.dataset.act);
  else if (button.dataset.label) decide(aimed(), "other", button.dataset.label);
  else ({ rest, undo, all: askAll })[button.dataset.do]();
});
chooseClass((label) => { decide(aimed(), "other", label); grid.focus({ preventScroll: true }); });
$("#back").addEventListener("click", back);
$("#forward").addEventListener("click", next);

// --- sizes
function resize(step) { $("#size").value = Math.max(0, Math.min(4, size + step)); resized(); }
function resized() {
  size = Number($("#size").value);
  try { localStorage.setItem("labelsieve-size", size); } catch { /* forgotten, then */ }
  load(start);
}
$("#size").addEventListener("input", resized);
let waiting = 0;
addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(() => load(start), 250); });
load(0).then(() => grid.focus({ preventScroll: true })).catch(() => {});
export { $$, bytes };
