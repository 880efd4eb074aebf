// What stands on every page: filters that apply at once, the list of keys, the name, keys that lead to other views.
import { $, person, renew, say, setPerson, typing } from "./window.js";
import "./zoom.js";

const filters = $("#filters");
// without scripts a button sends the filters; fields that say nothing stay out of the address
function send() {
  for (const field of filters.elements) {
    if (field.name && field.name !== "w" && ["", "0"].includes(field.value)) field.disabled = true;
    const usual = { show: "flagged", decided: "open", sort: "suspicion" }[field.name];
    if (field.value === usual) field.disabled = true;
  }
  filters.submit();
}
if (filters) {
  for (const field of filters.elements) field.addEventListener("change", send);
  filters.addEventListener("submit", (event) => { event.preventDefault(); send(); });
}

// --- who decides
const naming = $("#naming");
function showPerson() { $("#who").textContent = person() || "Your name"; $("#who").classList.toggle("named", Boolean(person())); }
$("#who").addEventListener("click", () => { $("#name").value = person(); naming.showModal(); });
naming.addEventListener("close", () => {
  if (naming.returnValue !== "save") return;
  setPerson($("#name").value.trim()); showPerson(); renew();
});
showPerson();
if (person()) renew(); // so that others see the name before the first answer

// --- keys
$("#help").addEventListener("click", () => $("#keys").showModal());
const PAGES = { g: "grid", c: "./", m: "map" };
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || document.querySelector("dialog[open]")) return;
  if (typing(event.target)) { if (event.key === "Escape") event.target.blur(); return; }
  if (event.key === "?") { event.preventDefault(); $("#keys").showModal(); }
  else if (event.key === "/" && filters) { event.preventDefault(); filters.elements.text.focus(); }
  else if (PAGES[event.key] && !event.shiftKey) {
    const link = $(`.views a[href^="${PAGES[event.key]}?"]`);
    if (link && !link.hasAttribute("aria-current")) link.click();
  }
});

// A form of a history page carries the name, too; htmx adds it itself.
document.addEventListener("submit", (event) => {
  if (event.target.method !== "post" || event.target.elements.name) return;
  const field = document.createElement("input");
  field.type = "hidden"; field.name = "name"; field.value = person();
  event.target.append(field);
});
document.addEventListener("htmx:configRequest", (event) => { if (event.detail.verb === "post") event.detail.parameters.name = person(); });
export { say };
