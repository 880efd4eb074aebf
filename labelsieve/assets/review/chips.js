// Sets of labels: chips put classes in and out, and the set that they make is one answer.
import { $, $$ } from "./window.js";

// chips stand by likelihood; a set is read in one order everywhere, so that two that are the same look the same
const on = () => $$("#chips [aria-pressed=true]").map((chip) => chip.dataset.chip).sort();
function told() {
  const place = $("#chosen-set");
  if (place) place.textContent = on().join(", ") || "none of the classes";
}
function toggle(chip) { chip.setAttribute("aria-pressed", String(chip.getAttribute("aria-pressed") !== "true")); told(); }

// a class that was typed: in, whatever it was before; one that has no chip gets one
export function putIn(label) {
  const chips = $("#chips");
  if (!chips) return false;
  let chip = $$("#chips [data-chip]").find((each) => each.dataset.chip === label);
  if (!chip) {
    const item = document.createElement("li"), name = document.createElement("span");
    chip = document.createElement("button"); chip.type = "button"; chip.dataset.chip = label; name.textContent = label;
    chip.append(name); item.append(chip); chips.append(item);
  }
  chip.setAttribute("aria-pressed", "true"); told();
  return true;
}

document.addEventListener("click", (event) => {
  const chip = event.target.closest?.("[data-chip]");
  if (chip) toggle(chip);
  if (event.target.closest?.("#take-set")) { $("#label").value = JSON.stringify(on()); $("#take").click(); }
});
document.addEventListener("htmx:afterSwap", told);
told();
