// All images by what they look like: drag moves, the wheel zooms, a lasso catches, keys step through suspects.
import { $, bytes, get, hold, image, kind as item, notice, post, say, showState, shown, typing, w } from "./window.js";
import { FEW, MARKED, Points, SIDE, category, css, rgb, suspicion } from "./points.js";
import { chooseClass } from "./classes.js";
import { zoom } from "./zoom.js";

const atlas = $("#atlas"), query = atlas.dataset.query, classes = JSON.parse(atlas.dataset.classes), names = JSON.parse(atlas.dataset.marks);
const plane = $("#plane"), over = $("#over"), context = plane.getContext("2d"), marks = over.getContext("2d");
const dark = matchMedia("(prefers-color-scheme: dark)");
const CLOSE = 14; // screen pixels within which a point is meant
const CORNERS = 120; // of a lasso in an address
const MARGIN = 24; // screen pixels around all points
let points = null, p = null, state = null, ratio = 1, lasso = false, pictured = item.canvas, caught = "", shape = [];
let view = { scale: 1, left: 0, top: 0 }, list = [], at = -1, cell = null, busy = false;

// --- drawing
function sized() {
  ratio = devicePixelRatio || 1;
  const box = $(".plane").getBoundingClientRect();
  for (const canvas of [plane, over]) { canvas.width = Math.round(box.width * ratio); canvas.height = Math.round(box.height * ratio); }
}
function all() {
  const side = Math.min(plane.width, plane.height) - 2 * MARGIN * ratio;
  view = { scale: side / SIDE, left: (plane.width - side) / 2, top: (plane.height - side) / 2 };
  redraw();
}
// points grow as one comes nearer, and with fewer of them
function width() {
  const near = view.scale * SIDE / Math.min(plane.width, plane.height), many = points.n > 20000 ? 2 : points.n > 3000 ? 4 : 9;
  return Math.round(ratio * Math.min(16, many * Math.max(1, near) ** 0.5));
}
let asked = 0;
function redraw() { if (!asked) asked = requestAnimationFrame(() => { asked = 0; draw(); }); }
function draw() {
  if (!points) return;
  const background = dark.matches ? rgb(20, 23, 28) : rgb(255, 255, 255), before = performance.now();
  const seen = points.draw(context, plane.width, plane.height, view, background, width());
  if (pictured && seen.length <= FEW) pictures(seen);
  plane.dataset.ms = (performance.now() - before).toFixed(1);
  drawMarks();
}
// Small pictures in place of points, framed in their colours, as large as there is room for.
const made = new Map(), KEPT = 1500; // pictures that are kept
function pictures(seen) {
  const side = ratio * Math.max(22, Math.min(84, 0.62 * Math.sqrt(plane.width * plane.height / seen.length / ratio ** 2)));
  for (const row of seen) {
    let picture = made.get(row);
    if (!picture) {
      picture = new Image(); picture.decoding = "async"; picture.onload = redraw; picture.src = image(row, "small"); made.set(row, picture);
      if (made.size > KEPT) made.delete(made.keys().next().value);
    }
    if (!picture.complete || !picture.naturalWidth) continue;
    const scale = side / Math.max(picture.naturalWidth, picture.naturalHeight), wide = picture.naturalWidth * scale, high = picture.naturalHeight * scale;
    const x = points.x[row] * view.scale + view.left - wide / 2, y = points.y[row] * view.scale + view.top - high / 2, frame = 2 * ratio;
    context.globalAlpha = state[row] & 128 ? 1 : 0.2;
    context.fillStyle = css(points.colour[row]); context.fillRect(x - frame, y - frame, wide + 2 * frame, high + 2 * frame);
    context.drawImage(picture, x, y, wide, high);
  }
  context.globalAlpha = 1;
}
function drawMarks() {
  marks.clearRect(0, 0, over.width, over.height);
  marks.lineWidth = 2 * ratio; marks.strokeStyle = getComputedStyle(document.body).getPropertyValue("--focus");
  if (shape.length) {
    marks.beginPath(); shape.forEach(([x, y]) => marks.lineTo(x * view.scale + view.left, y * view.scale + view.top));
    marks.closePath(); marks.stroke(); marks.globalAlpha = 0.08; marks.fillStyle = marks.strokeStyle; marks.fill(); marks.globalAlpha = 1;
  }
  if (cell && points) {
    marks.beginPath(); marks.arc(points.x[cell.row] * view.scale + view.left, points.y[cell.row] * view.scale + view.top, width() / 2 + 5 * ratio, 0, 7); marks.stroke();
    const picture = pictured && made.get(cell.row);
    if (picture?.complete && picture.naturalWidth) { // the marked picture lies on top, larger
      const side = 96 * ratio, scale = side / Math.max(picture.naturalWidth, picture.naturalHeight), wide = picture.naturalWidth * scale, high = picture.naturalHeight * scale;
      const x = points.x[cell.row] * view.scale + view.left - wide / 2, y = points.y[cell.row] * view.scale + view.top - high / 2;
      marks.drawImage(picture, x, y, wide, high); marks.lineWidth = 3 * ratio; marks.strokeRect(x, y, wide, high);
    }
  }
}
function paint() {
  const by = $("#colour").value, colours = MARKED(dark.matches), rank = new Uint8Array(points.n);
  for (let i = 0; i < points.n; i++) {
    const passes = state[i] & 128, kind = state[i] & 127;
    const c = by === "given" ? category(points.given[i], classes.length) : by === "decision" ? colours[kind] : suspicion(p[i] / 255, dark.matches);
    points.colour[i] = rgb(...c, passes ? 235 : 40);
    // what one looks for lies on top
    rank[i] = (passes ? 128 : 0) + (by === "suspicion" ? p[i] >> 1 : kind);
  }
  points.layer(rank); legend(by, colours); redraw();
}
function legend(by, colours) {
  let entries = names.map((name, number) => [name, colours[number]]);
  if (by === "given") entries = classes.slice(0, 24).map((name, number) => [name, category(number, classes.length)]);
  if (by === "suspicion") entries = [0.001, 0.5, 0.999].map((share) => [`${percent(share)} likely to be wrong`, suspicion(share, dark.matches)]);
  $("#legend").replaceChildren(...entries.map(([name, colour]) => {
    const item = document.createElement("li"), svg = document.createElementNS("http://www.w3.org/2000/svg", "svg"), dot = document.createElementNS("http://www.w3.org/2000/svg", "circle");
    svg.setAttribute("viewBox", "0 0 10 10"); svg.setAttribute("aria-hidden", "true");
    for (const [key, value] of Object.entries({ cx: 5, cy: 5, r: 5, fill: css(rgb(...colour)) })) dot.setAttribute(key, value);
    svg.append(dot); item.append(svg, name); return item;
  }));
}
async function states() {
  const buffer = await bytes(`states?${query}`);
  p = new Uint8Array(buffer, 0, points.n); state = new Uint8Array(buffer, points.n, points.n);
  paint();
}

// --- moving about
const place = (event) => { const box = plane.getBoundingClientRect(); return [(event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio]; };
const onMap = ([x, y]) => [(x - view.left) / view.scale, (y - view.top) / view.scale];
const under = (spot) => points ? points.nearest(...onMap(spot), CLOSE * ratio / view.scale) : -1;
function zoomAt(factor, [x, y]) {
  const least = (Math.min(plane.width, plane.height) - 2 * MARGIN * ratio) / SIDE;
  const scale = Math.max(least / 2, Math.min(least * 400, view.scale * factor));
  view = { scale, left: x - (x - view.left) * scale / view.scale, top: y - (y - view.top) * scale / view.scale };
  redraw();
}
const middle = () => [plane.width / 2, plane.height / 2];
function move(dx, dy) { view.left += dx * ratio; view.top += dy * ratio; redraw(); }
plane.addEventListener("wheel", (event) => { event.preventDefault(); zoomAt(Math.exp(-event.deltaY / 300), place(event)); }, { passive: false });

let drag = null;
const fingers = new Map();
plane.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  plane.setPointerCapture(event.pointerId); fingers.set(event.pointerId, place(event)); hide();
  drag = { from: place(event), last: place(event), lasso: lasso || event.shiftKey, moved: false };
  if (drag.lasso) { shape = [onMap(drag.from)]; drawMarks(); }
});
plane.addEventListener("pointermove", (event) => {
  const spot = place(event);
  if (!drag) { hover(spot, event); return; }
  if (fingers.size === 2) { pinch(event.pointerId, spot); return; }
  fingers.set(event.pointerId, spot);
  drag.moved ||= Math.hypot(spot[0] - drag.from[0], spot[1] - drag.from[1]) > 4 * ratio;
  if (drag.lasso) { shape.push(onMap(spot)); drawMarks(); }
  else if (drag.moved) { view.left += spot[0] - drag.last[0]; view.top += spot[1] - drag.last[1]; redraw(); }
  drag.last = spot;
});
function pinch(id, spot) {
  const [other] = [...fingers].filter(([key]) => key !== id).map(([, value]) => value), before = fingers.get(id);
  zoomAt(Math.hypot(spot[0] - other[0], spot[1] - other[1]) / Math.max(1, Math.hypot(before[0] - other[0], before[1] - other[1])), other);
  fingers.set(id, spot);
}
function lifted(event) {
  fingers.delete(event.pointerId);
  if (!drag) return;
  if (drag.lasso && drag.moved) capture();
  else if (!drag.moved) { if (drag.lasso) shape = []; const row = under(drag.from); if (row >= 0) mark(row); }
  drag = null;
}
plane.addEventListener("pointerup", lifted);
plane.addEventListener("pointercancel", lifted);
plane.addEventListener("pointerleave", () => hide());

// --- what lies under the pointer
let hovered = -1, timer = 0;
function hide() { hovered = -1; clearTimeout(timer); $("#hover").hidden = true; }
function hover(spot, event) {
  const row = under(spot);
  if (row < 0) return hide();
  const box = $(".plane").getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top, figure = $("#hover"), wide = item.canvas ? 170 : 275;
  Object.assign(figure.style, { left: `${x + wide > box.width ? x - wide + 4 : x + 14}px`, top: `${Math.max(4, Math.min(y + 10, box.height - 210))}px` });
  if (row === hovered) return;
  hovered = row; clearTimeout(timer);
  timer = setTimeout(async () => {
    const [about] = (await get(`some?${query}&rows=${row}`)).cells;
    if (row !== hovered) return;
    $("div", figure).replaceChildren(shown(row, "small")); $("figcaption", figure).textContent = line(about); figure.hidden = false;
  }, 30);
}
const line = (about) => `${about.given}: ${about.decided || about.words}${about.offered && about.offered !== about.given && !about.settled ? `, rather ${about.offered}` : ""}`;

// --- the lasso
async function capture() {
  const step = Math.max(1, Math.ceil(shape.length / CORNERS));
  shape = shape.filter((_, number) => number % step === 0);
  caught = shape.flat().map((v) => Math.round(Math.max(0, Math.min(SIDE, v)))).join();
  await show(0);
}
async function show(first) {
  const wanted = new URLSearchParams(query);
  if (caught) { wanted.set("lasso", caught); wanted.set("show", "all"); }
  const answer = await get(`rows?${wanted}`);
  list = answer.rows; at = -1;
  $("#caught").hidden = !caught; $("#caught-count").textContent = `${answer.total.toLocaleString("en")} caught`; $("#caught-link").href = `grid?${wanted}`;
  if (caught) say(`${answer.total} ${item.noun}s caught`);
  if (first !== undefined && caught && list.length) await mark(list[first]);
}
function release() { shape = []; caught = ""; drawMarks(); show(); }
function picturing() { if (!item.canvas) return; pictured = !pictured; $("#thumbs").setAttribute("aria-pressed", String(pictured)); redraw(); }
function toggle() { lasso = !lasso; $("#lasso").setAttribute("aria-pressed", String(lasso)); }

// --- one image
async function mark(row) {
  const answer = await get(`some?${query}&rows=${row}&hold=1`);
  [cell] = answer.cells; at = list.indexOf(row); hold(answer.lease);
  showState(answer); tell(); inside();
}
function inside() { // bring the point into view
  const x = points.x[cell.row] * view.scale + view.left, y = points.y[cell.row] * view.scale + view.top;
  if (x < 20 || y < 20 || x > plane.width - 20 || y > plane.height - 20) { view.left += plane.width / 2 - x; view.top += plane.height / 2 - y; redraw(); } else drawMarks();
}
function tell() {
  const differs = cell.offered && cell.offered !== cell.given;
  $("#side-item").replaceChildren(shown(cell.row, "large", `${cell.path}, labelled ${cell.given}`));
  $("#side-path").textContent = cell.path; $("#side-zoom").dataset.zoom = cell.row; $("#side-zoom").dataset.path = cell.path;
  const label = document.createElement("span"); label.className = "label given"; label.textContent = cell.given;
  $("#side-question").replaceChildren("labelled ", label);
  $("#side-words").textContent = cell.decided ? `${cell.person || "decided"}: ${cell.decided}` : `${cell.full}${cell.held ? ` · ${cell.held} looks at it` : ""}`;
  $("#side-given").textContent = cell.given; $("#side-offered").textContent = cell.offered || "";
  $("#side-buttons").hidden = false; $("#side-more").hidden = false; $("[data-act=accept]").hidden = !differs;
  for (const act of ["keep", "accept"]) $(`[data-act=${act}]`).classList.toggle("primary", cell.primary === act);
  say(`${cell.path}, labelled ${cell.given}, ${$("#side-words").textContent}${differs ? `, offered ${cell.offered}` : ""}`);
}
async function step(by) {
  if (!list.length) return;
  const next = Math.max(0, Math.min(list.length - 1, at + by));
  await mark(list[next]);
}
async function decide(verdict, label = "") {
  if (busy || !cell) return;
  busy = true;
  try {
    const answer = await post("decide-many", { rows: cell.row, seen: cell.seen, verdict, label, offered: JSON.stringify([cell.offer]) });
    if (answer.refused) { notice(`Somebody else decided about this ${item.noun} meanwhile: look again.`, true); await mark(cell.row); }
    else {
      notice("");
      const done = cell.row;
      // what was answered is passed over by the keys
      const next = list.indexOf(done); if (next >= 0) list.splice(next, 1);
      at = next - 1; states().catch(() => {});
      if (list.length) await mark(list[Math.min(Math.max(next, 0), list.length - 1)]); else { await mark(done); await show(); }
    }
  } catch { /* `trouble` has said it */ } finally { busy = false; }
}
async function undo() {
  if (busy) return;
  busy = true;
  try {
    const answer = await post("undo-many", {}); notice(answer.notice); await show(); await states();
    if (answer.rows.length) await mark(answer.rows[0]);
  } catch { /* said */ } finally { busy = false; }
}

// --- keys and buttons
const ACTS = { a: "accept", k: "keep", n: "none", s: "skip" };
const DOES = {
  arrowright: () => step(1), arrowdown: () => step(1), arrowleft: () => step(-1), arrowup: () => step(-1), u: undo, l: toggle, p: picturing, "0": all, o: () => $("#other").focus(),
  "+": () => zoomAt(1.5, middle()), "=": () => zoomAt(1.5, middle()), "-": () => zoomAt(1 / 1.5, middle()), escape: release,
  z: () => cell && zoom(cell.row, cell.path), enter: () => { if (cell) location.href = `./?${query}&row=${cell.row}`; },
};
const PANS = { arrowright: [-60, 0], arrowleft: [60, 0], arrowdown: [0, -60], arrowup: [0, 60] };
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || $("dialog[open]") || typing(event.target)) return;
  const key = event.key.toLowerCase();
  if (event.target.matches("button, a") && (key === "enter" || key === " ")) return;
  if (event.shiftKey && PANS[key]) { event.preventDefault(); return move(...PANS[key]); }
  if (!ACTS[key] && !DOES[key]) return;
  event.preventDefault();
  // a key is no more than its button: what is hidden does nothing
  if (ACTS[key] && !event.repeat && !$(`[data-act=${ACTS[key]}]`).closest("[hidden]")) decide(ACTS[key]); else if (DOES[key]) DOES[key]();
});
document.addEventListener("click", (event) => {
  const button = event.target.closest?.("[data-act], [data-do]");
  if (button) button.dataset.act ? decide(button.dataset.act) : undo();
});
chooseClass((label) => { decide("other", label); plane.focus({ preventScroll: true }); });
$("#lasso").addEventListener("click", toggle);
$("#thumbs").addEventListener("click", picturing); $("#thumbs").hidden = !item.canvas;
$("#reset").addEventListener("click", all);
$("#caught-clear").addEventListener("click", release);
$("#colour").addEventListener("change", paint);
dark.addEventListener("change", () => points && paint());
addEventListener("resize", () => { sized(); redraw(); });

async function begin() {
  sized();
  const buffer = await bytes("points");
  if (!buffer.byteLength) { $("#waiting").textContent = "The map needs the features of the scan, which are no longer in the cache: scan again."; return; }
  points = new Points(buffer);
  await states(); $("#waiting").hidden = true; all(); await show(); plane.focus({ preventScroll: true });
  atlas.dataset.ready = "1";
}
begin().catch(() => {});
export { w };
