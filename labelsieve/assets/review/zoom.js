// A picture enlarged up to its full resolution: wheel and buttons zoom, dragging moves, Z or Esc closes.
import { $, image, kind, shown } from "./window.js";

const dialog = $("#zoom"), picture = $("#zoomed"), pane = $("#zoom .pane");
const STEP = 1.4, MOST = 32; // one press of a button; screen pixels to one of the picture
let last = [0, "", "full"]; // what is shown: row, path, size
let scale = 1, fit = 1, x = 0, y = 0, drag = null;

function draw() { picture.style.transform = `translate(${x}px, ${y}px) scale(${scale})`; words(); }
function words() {
  const size = picture.naturalWidth ? `${picture.naturalWidth} × ${picture.naturalHeight}, shown at ${Math.round(100 * scale)} %` : "loading …";
  $("#zoom-words").textContent = `${picture.alt} · ${size}`;
  picture.classList.toggle("pixels", scale >= 3);
}
function fitted() {
  const box = pane.getBoundingClientRect();
  fit = Math.min(box.width / picture.naturalWidth, box.height / picture.naturalHeight, 8) || 1;
  scale = fit; x = (box.width - scale * picture.naturalWidth) / 2; y = (box.height - scale * picture.naturalHeight) / 2;
  draw();
}
function zoomAt(factor, px, py) {
  const next = Math.max(fit / 2, Math.min(MOST, scale * factor));
  x = px - (px - x) * next / scale; y = py - (py - y) * next / scale; scale = next;
  draw();
}
const middle = () => { const box = pane.getBoundingClientRect(); return [box.width / 2, box.height / 2]; };

// from the part of a picture that is judged to the whole one, and back
const boxed = "boxed" in document.body.dataset;
const around = () => zoom(last[0], last[1], last[2] === "around" ? "full" : "around");

// what is no picture is read, not looked at: it scrolls
function inFull(row, path) {
  const item = shown(row, "full", path);
  item.tabIndex = 0;
  pane.replaceChildren(item);
  $("#zoom-words").textContent = path;
  for (const name of ["in", "out", "fit"]) $(`#zoom-${name}`).hidden = true;
}

export const zoomed = () => dialog.open;
// size: "full", or "around": the whole picture that a box was cut from
export function zoom(row, path, size = "full") {
  if (kind.canvas) { picture.alt = path; picture.removeAttribute("src"); picture.src = image(row, size); }
  else inFull(row, path);
  last = [row, path, size];
  $("#zoom-around").hidden = !boxed;
  $("#zoom-around span").textContent = size === "around" ? "What is judged" : "Whole picture";
  const query = new URLSearchParams(location.search);
  $("#zoom-open").href = `./?${new URLSearchParams({ w: query.get("w") || "", row })}`;
  if (!dialog.open) dialog.showModal();
  if (kind.canvas) words();
}
picture.addEventListener("load", fitted);
pane.addEventListener("wheel", (event) => {
  if (!kind.canvas) return;
  event.preventDefault();
  const box = pane.getBoundingClientRect();
  zoomAt(Math.exp(-event.deltaY / 400), event.clientX - box.left, event.clientY - box.top);
}, { passive: false });
pane.addEventListener("pointerdown", (event) => { if (!kind.canvas) return; drag = [event.clientX - x, event.clientY - y]; pane.setPointerCapture(event.pointerId); });
pane.addEventListener("pointermove", (event) => { if (drag) { x = event.clientX - drag[0]; y = event.clientY - drag[1]; draw(); } });
pane.addEventListener("pointerup", () => { drag = null; });
pane.addEventListener("dblclick", (event) => { if (!kind.canvas) return; const box = pane.getBoundingClientRect(); if (scale > fit * 1.01) fitted(); else zoomAt(Math.max(1 / scale, 2.5), event.clientX - box.left, event.clientY - box.top); });
$("#zoom-in").addEventListener("click", () => zoomAt(STEP, ...middle()));
$("#zoom-out").addEventListener("click", () => zoomAt(1 / STEP, ...middle()));
$("#zoom-fit").addEventListener("click", fitted);
$("#zoom-around").addEventListener("click", around);
dialog.addEventListener("keydown", (event) => {
  const step = { "+": STEP, "=": STEP, "-": 1 / STEP }[event.key];
  if (!kind.canvas && event.key.toLowerCase() !== "z") return;
  if (step) zoomAt(step, ...middle());
  else if (event.key === "0") fitted();
  else if (event.key.toLowerCase() === "z") dialog.close();
  else if (boxed && event.key.toLowerCase() === "v") around();
  else return;
  event.preventDefault(); event.stopPropagation();
});
document.addEventListener("click", (event) => {
  const button = event.target.closest?.("[data-zoom]");
  if (button) { event.preventDefault(); zoom(button.dataset.zoom, button.dataset.path, button.dataset.size); }
});
