// Keys, the type-ahead list, and a word when the server is gone. Decisions themselves are plain forms sent by htmx.
(() => {
  const $ = (selector) => document.querySelector(selector);
  const typing = (target) => target.matches("input:not([type=hidden]):not([type=checkbox]), select, textarea");
  let busy = false;

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.id === "other") return choose(event);
    if (typing(event.target) || busy) return;
    const key = event.key.toLowerCase();
    if (key === "o" && $("#other")) { event.preventDefault(); $("#other").focus(); return; }
    const button = /^[a-z]$/.test(key) && $(`[data-key~="${key}"]`);
    if (button && !event.repeat) { event.preventDefault(); button.click(); }
  });

  function choose(event) {
    const options = [...document.querySelectorAll("#options [role=option]")];
    const at = options.findIndex((o) => o.getAttribute("aria-selected") === "true");
    if (event.key === "Escape") { event.target.value = ""; event.target.blur(); close(event.target); }
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      const next = Math.max(0, Math.min(options.length - 1, at + (event.key === "ArrowDown" ? 1 : -1)));
      options.forEach((o, i) => o.setAttribute("aria-selected", String(i === next)));
      if (options[next]) { options[next].scrollIntoView({ block: "nearest" }); event.target.setAttribute("aria-activedescendant", options[next].id); }
    } else if (event.key === "Enter") {
      event.preventDefault();
      const exact = options.find((o) => o.dataset.label.toLowerCase() === event.target.value.trim().toLowerCase());
      if (exact) pick(exact.dataset.label);
      else if ($("#options").dataset.q !== event.target.value) enter = true; // the list is still on its way: take its first
      else if (options[at]) pick(options[at].dataset.label);
    }
  }

  function close(field) {
    $("#options").replaceChildren();
    field.setAttribute("aria-expanded", "false");
    field.removeAttribute("aria-activedescendant");
  }

  let enter = false;
  document.addEventListener("input", (event) => { if (event.target.id === "other") enter = false; });
  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.target.id !== "options") { enter = false; say(); return; }
    const field = $("#other"), first = $("#options [role=option]");
    event.target.dataset.q = event.detail.requestConfig.parameters.q; // what was typed for this list, on this card
    field.setAttribute("aria-expanded", String(Boolean(first)));
    if (first) { field.setAttribute("aria-activedescendant", first.id); event.target.scrollIntoView({ block: "nearest" }); }
    if (enter && event.target.dataset.q === field.value && first) { enter = false; pick(first.dataset.label); }
  });
  document.addEventListener("click", (event) => {
    const option = event.target.closest?.("#options [role=option]");
    if (option) pick(option.dataset.label);
  });

  function pick(label) {
    if (busy) return;
    $("#label").value = label;
    $("#other").blur(); // or the next card's field would have the focus, and swallow keys
    $("#take").click();
  }

  $("#pair")?.addEventListener("change", (event) => {
    const chosen = event.target.selectedOptions[0].dataset, form = $("#bulk-form");
    form.elements.given.value = chosen.given;
    form.elements.suggested.value = chosen.suggested;
  });

  // What this window shows is kept from others while it is open, and given back when it is closed.
  const HEARTBEAT = 20000; // milliseconds; the server takes a window for gone after 90 s
  function tell(route) {
    const stage = $("#stage");
    if (stage?.dataset.lease) navigator.sendBeacon(route, new URLSearchParams({ w: stage.dataset.w, lease: stage.dataset.lease }));
  }
  addEventListener("pagehide", () => tell("release"));
  setInterval(() => tell("renew"), HEARTBEAT);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) tell("renew"); });
  // a page from the browser's history shows what may have been decided, or given to another window, since
  addEventListener("pageshow", (event) => { if (event.persisted && $("#stage")) location.reload(); });

  // The card is exchanged as a whole; a region that stays tells a screen reader what the new one asks.
  function say() {
    const words = [...document.querySelectorAll("#stage .notice, #stage .question, #stage .finished h1")];
    $("#said").textContent = words.map((w) => w.innerText.replace(/\s+/g, " ").trim()).filter(Boolean).join(". ");
  }

  const trouble = (text) => { const box = $("#trouble"); box.hidden = !text; box.textContent = text; };
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
  document.addEventListener("htmx:sendError", () => trouble("The server does not answer; the last key was not saved. Start labelsieve review again and open its new address."));
  document.addEventListener("htmx:responseError", (event) => trouble(`Not saved: ${event.detail.xhr.responseText.slice(0, 200)}`));
})();
