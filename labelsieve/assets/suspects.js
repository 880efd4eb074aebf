// Cards of the suspects: filter, sort, pages, and a dialog that enlarges. Names come with the data: they are put in as text only.
(() => {
  const rows = JSON.parse(document.getElementById("rows").textContent);
  const kind = ITEMS[rows.kind], list = document.getElementById("cards"), form = document.getElementById("tools");
  if (!list) return;
  const $ = (id) => document.getElementById(id);
  const first = Number(list.dataset.first);
  const name = (k) => (k < 0 ? "no class" : rows.classes[k]);
  const number = (n) => n.toLocaleString("en");
  // of sets of labels people filter by the classes in them, as whole sets hardly repeat
  const labelled = rows.labels.length ? rows.labels : rows.classes, inside = (k) => (rows.labels.length ? rows.members[k] || [] : [k]);
  const WORDS = { keep: "the label is right", none: "no class fits", wrong: "the label is wrong" };
  const verdict = (i) => (rows.verdict[i] ? WORDS[rows.verdict[i]] || "it is " + name(rows.decided[i]) : "");
  let shown = [], page = 0;

  function make(tag, words, kind) {
    const element = document.createElement(tag);
    if (words) element.textContent = words;
    if (kind) element.className = kind;
    return element;
  }
  function picture(data, words) {
    if (!data) return make("span", "cannot be read", "gone");
    return kind.embedded(data, words);
  }
  // by the probability that is shown below; what people named is no guess
  const surely = (i) => (rows.verdict[i] && rows.decided[i] >= 0 ? "" : howLikely(rows.suggested_prob[i]));
  function labels(i, into) {
    into.replaceChildren(make("span", name(rows.given[i]), "label wrong"), " → ", make("span", surely(i) && surely(i) + " ", "quiet"), make("span", name(rows.suggested[i]), "label right"));
    return into;
  }
  function facts(i) {
    // of data with votes of several people alone
    const votes = rows.agreement[i] == null ? [] : [make("p", percent(rows.agreement[i]) + " of the votes are for the label", "quiet")];
    if (rows.verdict[i]) return [make("p", "decided: " + verdict(i), "verdict"), ...votes];
    return [make("p", percent(rows.wrong[i]) + " likely to be wrong"), make("p", percent(rows.suggested_prob[i]) + " likely to be " + name(rows.suggested[i]), "quiet"), ...votes];
  }
  const says = (i) => `${rows.path[i]}, labelled ${name(rows.given[i])}, ${surely(i)} ${name(rows.suggested[i])}`;
  function card(i) {
    const item = make("li", "", "card" + (rows.verdict[i] ? " done" : ""));
    const button = make("button", "", "shot");
    button.type = "button";
    button.setAttribute("aria-label", "Enlarge " + says(i));
    button.append(picture(rows.picture[i], says(i)));
    button.addEventListener("click", () => open(i));
    const words = make("div", "", "words");
    words.append(labels(i, make("p", "", "labels")), ...facts(i), make("span", rows.path[i], "path"));
    item.append(button, words);
    return item;
  }

  const sorts = {
    rank: (a, b) => a - b, last: (a, b) => b - a, path: (a, b) => (rows.path[a] < rows.path[b] ? -1 : 1),
    given: (a, b) => name(rows.given[a]).localeCompare(name(rows.given[b])) || a - b,
    suggested: (a, b) => name(rows.suggested[a]).localeCompare(name(rows.suggested[b])) || a - b,
  };
  function choose() {
    const text = form.text.value.toLowerCase(), given = form.given.value, suggested = form.suggested.value, state = form.state.value;
    shown = rows.path.map((_, i) => i).filter((i) =>
      (!text || rows.path[i].toLowerCase().includes(text)) && (given === "" || inside(rows.given[i]).includes(Number(given))) &&
      (suggested === "" || inside(rows.suggested[i]).includes(Number(suggested))) && (!state || (state === "done") === Boolean(rows.verdict[i])));
    shown.sort(sorts[form.sort.value]);
    page = 0;
    draw();
  }
  function draw() {
    const many = Number($("many").value), pages = Math.max(1, Math.ceil(shown.length / many));
    page = Math.min(page, pages - 1);
    list.replaceChildren(...shown.slice(page * many, (page + 1) * many).map(card));
    const all = rows.path.length;
    $("count").textContent = shown.length === all ? (all === 1 ? `1 flagged ${kind.noun}` : `${number(all)} flagged ${kind.noun}s`) : `${number(shown.length)} of ${number(all)} flagged ${kind.noun}s`;
    $("where").textContent = `page ${page + 1} of ${pages}`;
    $("before").disabled = page === 0;
    $("after").disabled = page + 1 >= pages;
  }
  function turn(by) {
    page += by;
    draw();
    list.scrollIntoView({ block: "start" });
  }
  function resize() { list.style.setProperty("--side", form.size.value + "rem"); }

  const dialog = $("zoom");
  let at = 0;
  function near(i) {
    const parts = [];
    for (const [label, numbers] of rows.near[i] || []) {
      if (!numbers.length) continue;
      const line = make("div", "", "near");
      numbers.forEach((n) => line.append(picture(rows.pool[n], "confident " + name(label))));
      const words = make("p", `Most similar ${kind.noun}s that surely are `);
      words.append(make("span", name(label), "label"));
      parts.push(words, line);
    }
    return parts;
  }
  function show() {
    const i = shown[at];
    $("zoom-item").replaceChildren(picture(rows.picture[i], says(i)));
    labels(i, $("zoom-labels"));
    $("zoom-facts").replaceChildren(make("p", `number ${number(first + i)} by suspicion`, "quiet"), ...facts(i));
    $("zoom-near").replaceChildren(...near(i));
    $("zoom-path").textContent = rows.path[i];
    $("zoom-before").disabled = at === 0;
    $("zoom-after").disabled = at + 1 === shown.length;
  }
  function open(i) {
    at = shown.indexOf(i);
    show();
    dialog.showModal();
  }
  function step(by) {
    if (at + by < 0 || at + by >= shown.length) return;
    at += by;
    show();
  }
  dialog.addEventListener("keydown", (e) => { if (e.key === "ArrowRight") step(1); if (e.key === "ArrowLeft") step(-1); });
  dialog.addEventListener("click", (e) => { if (e.target === dialog) dialog.close(); });
  $("zoom-before").addEventListener("click", () => step(-1));
  $("zoom-after").addEventListener("click", () => step(1));
  $("zoom-close").addEventListener("click", () => dialog.close());

  for (const [field, column] of [["given", rows.given], ["suggested", rows.suggested]]) {
    const counts = new Map();
    column.flatMap(inside).forEach((k) => counts.set(k, (counts.get(k) || 0) + 1));
    for (const [k, n] of [...counts].sort((a, b) => b[1] - a[1])) {
      const option = make("option", `${k < 0 ? "no class" : labelled[k]} (${number(n)})`);
      option.value = k;
      form[field].append(option);
    }
  }
  form.addEventListener("submit", (e) => e.preventDefault());
  form.addEventListener("input", (e) => (e.target.name === "size" ? resize() : choose()));
  $("many").addEventListener("change", () => { page = 0; draw(); });
  $("before").addEventListener("click", () => turn(-1));
  $("after").addEventListener("click", () => turn(1));
  resize();
  choose();
})();
