// Draws three charts with Observable Plot, and the map. Colours come from the page, so that dark mode and print follow it.
(() => {
  const data = JSON.parse(document.getElementById("charts").textContent);
  const short = (name) => (name.length > 22 ? name.slice(0, 21) + "…" : name);
  const widest = (names) => Math.min(200, 20 + 7.6 * Math.max(...names.map((n) => short(n).length)));
  const percent = (share) => globalThis.percent(share, 1), tick = (share) => `${+(100 * share).toFixed(1)} %`;
  const style = { fontSize: "13px", fontFamily: "inherit", background: "none", color: "var(--ink)" };
  const tip = { fill: "var(--paper)", stroke: "var(--line)" };

  function classes(width) {
    const names = data.classes.map((c) => c.name), known = data.classes.filter((c) => c.rate !== null);
    // without a number where the model knows too little to name one
    const said = (c) => (c.rate !== null ? percent(c.rate) : c.low === null ? "unknown" : `${percent(c.low)} to ${percent(c.high)}`);
    // shares stand in a column of their own: at the end of a whisker one is read as the whisker's end
    const right = 14 + 7.4 * Math.max(...data.classes.map((c) => said(c).length)), left = Math.min(widest(names), Math.max(70, width - right - 90));
    const letters = Math.max(6, Math.floor((left - 20) / 7.6)), fitted = (name) => (short(name).length > letters ? name.slice(0, letters - 1) + "…" : short(name));
    return Plot.plot({
      width, style, marginLeft: left, marginRight: right, marginBottom: 44, height: 60 + 24 * names.length,
      x: { label: "share wrong", labelOffset: 38, tickFormat: tick, domain: [0, Math.max(0.01, ...data.classes.map((c) => Math.max(c.rate ?? 0, c.high ?? 0))) ], ticks: width < 500 ? 2 : 6, grid: true },
      y: { label: null, domain: names, tickFormat: fitted },
      marks: [
        Plot.barX(known, { x: "rate", y: "name", fill: "var(--wrong)", insetTop: 1, insetBottom: 1 }),
        Plot.ruleY(data.classes.filter((c) => c.low !== null), { x1: "low", x2: "high", y: "name", stroke: "var(--ink)", strokeWidth: 2 }),
        Plot.text(data.classes, { frameAnchor: "right", y: "name", text: said, textAnchor: "start", dx: 10, fill: "var(--ink)" }),
        Plot.tip(data.classes, Plot.pointerY({ x: (c) => c.rate ?? c.high ?? 0, y: "name", title: (c) => `${c.name}\n${said(c)} of ${c.images.toLocaleString("en")} labels`, ...tip })),
        Plot.ruleX([0], { stroke: "var(--quiet)" }),
      ],
    });
  }

  function matrix(width) {
    const { classes: names, cells } = data.matrix;
    const left = widest(names), side = Math.max(24, Math.min(44, (Math.min(width, 900) - left - 20) / names.length));
    const rotate = names.some((n) => short(n).length * 7.2 > side) ? -45 : 0;
    return Plot.plot({
      width: left + 60 + side * names.length, height: (rotate ? left : 40) + 30 + side * names.length, style,
      marginLeft: left, marginRight: 60, marginTop: (rotate ? left : 40), marginBottom: 20, padding: 0.04,
      x: { axis: "top", label: null, domain: names, tickFormat: short, tickRotate: rotate },
      y: { label: null, domain: names, tickFormat: short },
      opacity: { domain: [0, 1], range: [0, 1], type: "sqrt" },
      marks: [
        Plot.cell(cells, { x: "suggested", y: "given", fill: "var(--raised)", stroke: "var(--line)" }),
        Plot.cell(cells, { x: "suggested", y: "given", fill: (c) => (c.given === c.suggested ? "var(--right)" : "var(--wrong)"), fillOpacity: "share" }),
        Plot.text(cells.filter((c) => c.share >= 0.005 && side >= 34), { x: "suggested", y: "given", text: (c) => (100 * c.share).toFixed(0), fill: "var(--ink)", stroke: "var(--paper)", strokeWidth: 3, strokeOpacity: 0.8 }),
        Plot.tip(cells, Plot.pointer({ x: "suggested", y: "given", title: (c) => `labelled ${c.given}\nin truth ${c.suggested}\n${percent(c.share)}`, ...tip })),
      ],
    });
  }

  function scores(width) {
    const { bins, threshold } = data.histogram;
    const bars = bins.flatMap((b) => [{ ...b, n: b.flagged, kind: "flagged" }, { ...b, n: b.kept, kind: "not flagged" }]).filter((b) => b.n);
    return Plot.plot({
      width, style, height: 260, marginLeft: 60, marginBottom: 44,
      color: { domain: ["flagged", "not flagged"], range: ["var(--wrong)", "var(--right)"], legend: true },
      x: { label: "probability that the label is right", labelOffset: 38, domain: [0, 1] },
      y: { label: "images", type: "sqrt", grid: true, ticks: 5 },
      marks: [
        Plot.rectY(bars, Plot.stackY({ x1: "x1", x2: "x2", y: "n", fill: "kind", insetLeft: 0.5, insetRight: 0.5, title: (b) => `${b.x1.toFixed(3)} to ${b.x2.toFixed(3)}\n${b.n.toLocaleString("en")} ${b.kind}`, tip })),
        Plot.ruleY([0], { stroke: "var(--quiet)" }),
        threshold === null ? null : Plot.ruleX([threshold], { stroke: "var(--ink)", strokeDasharray: "4 3" }),
        threshold === null ? null : Plot.text([threshold], { x: (t) => t, frameAnchor: "top", text: () => "threshold", textAnchor: threshold > 0.8 ? "end" : "start", dx: threshold > 0.8 ? -5 : 5, fill: "var(--ink)" }),
      ],
    });
  }

  function draw() {
    for (const [id, make] of [["chart-classes", classes], ["chart-matrix", matrix], ["chart-scores", scores]]) {
      const place = document.getElementById(id);
      if (!place) continue; // sets of labels have no matrix
      const chart = make(Math.max(260, Math.min(900, place.clientWidth)));
      place.replaceChildren(chart);
      place.querySelectorAll("svg").forEach((svg) => svg.setAttribute("aria-hidden", "true")); // the place says what it is
    }
    map();
  }
  // The map: a canvas, as thousands of shapes in a page are slow.
  function map() {
    const canvas = document.getElementById("map-canvas");
    if (!canvas) return;
    const { x, y, given, issue, names, path } = data.map, how = document.getElementById("map-colour").value;
    const wide = canvas.parentElement.clientWidth, high = Math.min(520, Math.round(0.62 * wide)), ratio = window.devicePixelRatio || 1;
    canvas.width = wide * ratio;
    canvas.height = high * ratio;
    canvas.style.height = high + "px";
    const pen = canvas.getContext("2d"), ink = (name) => getComputedStyle(document.body).getPropertyValue(name);
    pen.scale(ratio, ratio);
    const counts = new Map();
    given.forEach((k) => counts.set(k, (counts.get(k) || 0) + 1));
    const known = [...counts].sort((a, b) => b[1] - a[1]).slice(0, 10).map(([k]) => k);
    const paint = (k) => (known.includes(k) ? d3.schemeTableau10[known.indexOf(k)] : "#888");
    const colour = (i) => (how === "given" ? paint(given[i]) : ink(issue[i] ? "--wrong" : "--right"));
    const at = (i) => [10 + x[i] * (wide - 20), 10 + (1 - y[i]) * (high - 20)];
    x.forEach((_, i) => {
      const [left, top] = at(i);
      pen.beginPath();
      pen.arc(left, top, issue[i] ? 4.2 : 3, 0, 7);
      pen.globalAlpha = issue[i] ? 0.95 : 0.55;
      pen.fillStyle = colour(i);
      pen.fill();
      if (issue[i]) { pen.lineWidth = 1.3; pen.strokeStyle = ink("--ink"); pen.stroke(); }
    });
    const legend = document.getElementById("map-legend");
    legend.replaceChildren(...(how === "given" ? known : []).map((k) => {
      const item = document.createElement("li"), dot = document.createElement("i");
      dot.style.background = paint(k);
      item.append(dot, names[k]);
      return item;
    }));
    canvas.onmousemove = (event) => {
      let best = -1, nearest = 100;
      x.forEach((_, i) => {
        const [left, top] = at(i), far = (left - event.offsetX) ** 2 + (top - event.offsetY) ** 2;
        if (far < nearest) { nearest = far; best = i; }
      });
      document.getElementById("map-said").textContent = best < 0 ? "\u00a0" : `${path[best]}, labelled ${names[given[best]]}${issue[best] ? ", suspicious" : ""}`;
    };
  }
  document.getElementById("map-colour")?.addEventListener("change", map);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", map);

  let drawn = 0;
  const again = () => { if (Math.abs(window.innerWidth - drawn) > 20) { drawn = window.innerWidth; draw(); } };
  const settings = [...document.querySelectorAll("[aria-labelledby=settings] details")];
  window.addEventListener("beforeprint", () => settings.forEach((d) => { d.open = true; })); // on paper nobody can open them
  window.addEventListener("resize", () => requestAnimationFrame(again));
  again();
  document.documentElement.dataset.charts = "drawn";
})();
