"use strict";
// Renders the gallery, the drill-down and the blind test from the JSON in this file. Text reaches the
// page as text nodes only, never as markup.
(() => {
  const root = document.documentElement;
  const $ = (id) => document.getElementById(id);

  const h = (tag, attributes, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name === "onclick") node.addEventListener("click", value);
      else if (value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
    return node;
  };

  // ---- theme
  const theme = $("theme");
  const themes = ["system", "light", "dark"];
  let chosen = 0;
  theme.hidden = false;
  theme.addEventListener("click", () => {
    chosen = (chosen + 1) % themes.length;
    theme.textContent = `Theme: ${themes[chosen]}`;
    if (chosen) root.dataset.theme = themes[chosen];
    else delete root.dataset.theme;
  });

  // ---- attributes that the browser tests read
  const measure = () => { root.dataset.overflow = root.scrollWidth - root.clientWidth; };
  addEventListener("resize", measure);
  addEventListener("load", () => { measure(); root.dataset.ready = Math.ceil(performance.now()); });

  if (!$("gallery-data")) return;
  const data = JSON.parse($("gallery-data").textContent);
  const { items, scores, columns } = data;

  // ---- order: mulberry32, so that a seed means the same sample in every browser
  const random = (seed) => {
    let a = seed >>> 0;
    return () => {
      a = (a + 0x6d2b79f5) >>> 0;
      let t = Math.imul(a ^ (a >>> 15), 1 | a);
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
      return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
  };
  const shuffled = (n, next) => {
    const rows = Array.from({ length: n }, (_, i) => i);
    for (let i = n - 1; i > 0; i--) {
      const j = Math.floor(next() * (i + 1));
      [rows[i], rows[j]] = [rows[j], rows[i]];
    }
    return rows;
  };
  const byScore = (which, best) => {
    const sign = scores[which].higher === best ? -1 : 1;
    const value = (row) => items[row].scores[which];
    return items.map((_, row) => row).sort((a, b) => {
      if (value(a) === null || value(b) === null) return (value(a) === null) - (value(b) === null);
      return sign * (value(a) - value(b)) || a - b;
    });
  };
  // Rank of every item by every score; equal scores share the better rank.
  const scoreRanks = scores.map((_, which) => {
    const ranks = new Array(items.length).fill(null);
    const rows = byScore(which, true).filter((row) => items[row].scores[which] !== null);
    rows.forEach((row, i) => {
      const tied = i > 0 && items[row].scores[which] === items[rows[i - 1]].scores[which];
      ranks[row] = tied ? ranks[rows[i - 1]] : i + 1;
    });
    return { ranks, of: rows.length };
  });

  // ---- elements
  const minus = (text) => text.replace("-", "\u2212");
  const written = (which, value) => {
    if (value === null) return "\u2013";
    const { percent, digits } = scores[which];
    return percent ? `${minus((100 * value).toFixed(1))}\u00a0%` : minus(value.toFixed(digits));
  };
  const image = (number, alt) => h("img", { src: data.images[number], alt, decoding: "async" });
  const labelled = (number, label, alt, note) =>
    h("span", { class: "pic" }, image(number, alt), h("span", { class: "tag" }, label), note ? h("span", { class: "note" }, note) : null);
  const seenAs = (item) => (item.truth ? `Seen: ${item.truth}` : `Seen: ${item.name}`);
  const columnImages = (item) =>
    columns.map((column, i) => ({ ...column, number: item.images[i] })).filter(({ number }) => number !== null);
  const rankText = (rank) => `seen image ranked ${rank} of ${data.pool.length}`;
  const strip = (item) => {
    if (!item.retrieved.length) return null;
    const candidates = item.retrieved.slice(0, 5).map((row, i) => {
      const right = row === item.target;
      const what = data.captions[row] ? `: ${data.captions[row]}` : "";
      return h("span", { class: right ? "candidate right" : "candidate" },
        image(data.pool[row], `Retrieved ${i + 1}${right ? ", the seen image" : ""}${what}`));
    });
    return h("span", { class: "strip" }, ...candidates);
  };
  const captions = (item) => {
    if (!item.caption && !item.truth) return null;
    return h("span", { class: "words" },
      item.caption ? h("q", {}, item.caption) : null,
      item.caption && data.captionNote ? h("span", { class: "truth" }, `Caption ${data.captionNote}`) : null,
      item.truth ? h("span", { class: "truth" }, `Seen: ${item.truth}`) : null);
  };

  // ---- gallery
  const STEP = matchMedia("(max-width: 720px)").matches ? 6 : 12;
  const state = { order: "random", by: 0, seed: data.seed, text: "", limit: STEP, rows: [] };
  const tile = (row, position) => {
    const item = items[row];
    const [first, ...others] = columnImages(item);
    const main = [labelled(item.seen, "Seen", seenAs(item))];
    if (first) main.push(labelled(first.number, first.label, `${first.label} for ${item.name}`));
    const which = state.by;
    const value = scores.length ? item.scores[which] : null;
    const foot = [];
    if (value !== null) foot.push(h("span", {}, `${scores[which].name} `, h("b", {}, written(which, value))));
    if (item.rank !== null) foot.push(h("span", {}, rankText(item.rank)));
    return h("button", { type: "button", class: "tile", "aria-label": `${item.name}, open details`, onclick: () => openDrill(position) },
      h("span", { class: "pics main", style: `--n:${main.length}` }, ...main),
      others.length
        ? h("span", { class: "pics", style: `--n:${Math.max(others.length, 4)}` },
            ...others.map(({ number, label }) => labelled(number, label, `${label} for ${item.name}`)))
        : null,
      captions(item), strip(item),
      foot.length ? h("span", { class: "meta" }, ...foot) : null);
  };
  const matches = (row) => {
    const item = items[row];
    return !state.text || `${item.name} ${item.caption} ${item.truth}`.toLowerCase().includes(state.text);
  };
  const explain = () => {
    const shown = Math.min(state.limit, state.rows.length);
    const count = `${shown} of ${items.length} shown.`;
    if (state.order === "random") {
      return `Random order with seed ${state.seed}. ${count}`;
    }
    const { name, higher } = scores[state.by];
    return `${state.order === "best" ? "Best" : "Worst"} first by ${name} (${higher ? "higher" : "lower"} is better). ${count}`;
  };
  const render = () => {
    const rows = state.order === "random" ? shuffled(items.length, random(state.seed)) : byScore(state.by, state.order === "best");
    state.rows = rows.filter(matches);
    const shown = state.rows.slice(0, state.limit);
    $("grid").replaceChildren(...shown.map(tile));
    if (!shown.length) $("grid").append(h("p", { class: "empty" }, "No image name or caption contains this text."));
    $("gallery-note").textContent = explain();
    const left = state.rows.length - shown.length;
    $("more").hidden = left <= 0;
    $("more-some").textContent = `Show ${Math.min(STEP, left)} more`;
    $("again").hidden = state.order !== "random";
    measure();
  };
  const change = (part) => { Object.assign(state, { limit: STEP }, part); render(); };
  // The first screen: four of the same random order, whatever their scores.
  const pairs = shuffled(items.length, random(data.seed)).slice(0, 4).map((row) => {
    const item = items[row];
    const [first] = columnImages(item);
    return h("div", { class: "pics main pair", style: "--n:2" }, labelled(item.seen, "Seen", seenAs(item)),
      first ? labelled(first.number, first.label, `${first.label} for ${item.name}`) : null);
  });
  $("pairs").replaceChildren(...(columns.length ? pairs : []));
  $("tools").hidden = false;
  $("order").addEventListener("change", (event) => change({ order: event.target.value }));
  if ($("by")) $("by").addEventListener("change", (event) => change({ by: Number(event.target.value) }));
  $("filter").addEventListener("input", (event) => change({ text: event.target.value.trim().toLowerCase() }));
  $("again").addEventListener("click", () => change({ seed: state.seed + 1 }));
  $("more-some").addEventListener("click", () => change({ limit: state.limit + STEP }));
  $("more-all").addEventListener("click", () => change({ limit: items.length }));

  // ---- drill-down
  const drill = $("drill");
  let open = 0;
  const scoreTable = (row) => {
    const item = items[row];
    const lines = scores.map((score, which) => {
      const value = item.scores[which];
      if (value === null) return null;
      const { ranks, of } = scoreRanks[which];
      const left = of > 1 ? (100 * (of - ranks[row])) / (of - 1) : 50;
      return h("tr", {},
        h("th", { scope: "row", title: score.note || null }, score.name),
        h("td", { class: "num value" }, written(which, value)),
        h("td", { class: "rank" }, h("div", { class: "range strong", role: "img", "aria-label": `rank ${ranks[row]} of ${of}` },
          h("i", { class: "dot", style: `left:${left}%` }))),
        h("td", { class: "num" }, h("small", {}, `${ranks[row]} of ${of}`)));
    }).filter(Boolean);
    return lines.length ? h("table", { class: "drill-scores" }, h("tbody", {}, ...lines)) : null;
  };
  const block = (title, ...children) => {
    const kept = children.filter(Boolean);
    return kept.length ? h("div", { class: "block" }, h("h3", {}, title), ...kept) : null;
  };
  const showDrill = () => {
    const row = state.rows[open];
    const item = items[row];
    $("drill-title").textContent = item.name;
    $("drill-previous").disabled = open === 0;
    $("drill-next").disabled = open === state.rows.length - 1;
    const variants = item.variants.map(([label, number]) => labelled(number, label, `${label} for ${item.name}`));
    $("drill-body").replaceChildren(
      h("div", { class: "pics" }, labelled(item.seen, "Seen", seenAs(item), item.truth),
        ...columnImages(item).map(({ number, label, note }) => labelled(number, label, `${label} for ${item.name}`, note))),
      h("div", { class: "two" },
        h("div", {},
          ...[block(data.captionNote ? `Caption, ${data.captionNote}` : "Decoded caption", item.caption ? h("span", { class: "words" }, h("q", {}, item.caption)) : null),
            block(item.rank === null ? "Retrieved, best first" : `Retrieved, best first: ${rankText(item.rank)}`, strip(item)),
            block("Other reconstructions of the same image", variants.length ? h("div", { class: "pics variants" }, ...variants) : null),
            item.seed === null ? null : h("p", { class: "small block" }, `Generated with seed ${item.seed}.`)].filter(Boolean)),
        h("div", {}, ...[block("Scores, and rank among all images (right is best)", scoreTable(row))].filter(Boolean))));
    drill.scrollTop = 0;
  };
  const openDrill = (position) => {
    open = position;
    showDrill();
    drill.showModal();
    $("drill-title").focus();
  };
  const step = (by) => {
    open = Math.min(Math.max(open + by, 0), state.rows.length - 1);
    showDrill();
  };
  $("drill-previous").addEventListener("click", () => step(-1));
  $("drill-next").addEventListener("click", () => step(1));
  $("drill-close").addEventListener("click", () => drill.close());
  drill.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by) { event.preventDefault(); step(by); }
  });
  drill.addEventListener("close", () => {
    // Focus the image that was open last, also where browsing went past the rendered ones.
    if (open >= state.limit) { state.limit = open + 1; render(); }
    const last = $("grid").children[open];
    if (last) { last.focus(); last.scrollIntoView({ block: "nearest" }); }
  });
  for (const dialog of [drill, $("blind")]) {
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  }

  // ---- blind test: which of two images was seen, given one reconstruction
  const blind = $("blind");
  const test = { column: 0, seed: 0, trials: [], done: [] };
  const testable = columns.map((_, i) => items.map((_, row) => row).filter((row) => items[row].images[i] !== null));
  const choices = columns.map((column, i) => ({ ...column, i })).filter(({ i }) => testable[i].length > 1);
  $("blind-open").hidden = !choices.length;
  const startTest = () => {
    test.seed = Math.floor(Math.random() * 4294967296);
    const next = random(test.seed);
    const rows = testable[test.column];
    test.done = [];
    test.trials = shuffled(rows.length, next).map((k) => {
      // Another seen image; a copy of the right one would leave no choice.
      const others = rows.filter((row) => items[row].seen !== items[rows[k]].seen);
      const other = others[Math.floor(next() * others.length)];
      return { row: rows[k], other, left: next() < 0.5 };
    }).filter(({ other }) => other !== undefined);
    showTrial();
  };
  const showTrial = () => {
    const trial = test.trials[test.done.length];
    if (!trial) { showResult(); return; }
    $("blind-progress").textContent = `${test.done.length + 1} of ${test.trials.length}`;
    const sides = trial.left ? [trial.row, trial.other] : [trial.other, trial.row];
    const choice = (row, side, label) =>
      h("button", { type: "button", "aria-label": `${side} image`, onclick: () => choose(side) },
        labelled(items[row].seen, label, `${side} image`));
    $("blind-body").replaceChildren(h("div", { class: "blind" },
      h("div", { class: "shown" }, labelled(items[trial.row].images[test.column], columns[test.column].label, "Reconstruction")),
      h("div", { class: "choices" }, choice(sides[0], "left", "← left"), choice(sides[1], "right", "right →")),
      h("button", { type: "button", class: "quiet", onclick: showResult }, "Stop here and see the result")));
  };
  const choose = (side) => {
    const trial = test.trials[test.done.length];
    if (!trial) return;
    test.done.push({ ...trial, choice: side, correct: (side === "left") === trial.left });
    showTrial();
  };
  const wilson = (k, n) => {
    const z = 1.959964;
    const middle = (k + (z * z) / 2) / (n + z * z);
    const half = (z / (n + z * z)) * Math.sqrt((k * (n - k)) / n + (z * z) / 4);
    return [middle - half, middle + half];
  };
  const csv = () => {
    const cell = (value) => (/[",\n\r]/.test(String(value)) ? `"${String(value).replaceAll('"', '""')}"` : String(value));
    const name = (row) => items[row].name;
    const lines = test.done.map((t) => [name(t.row), name(t.left ? t.row : t.other), name(t.left ? t.other : t.row), t.choice, t.correct ? 1 : 0, columns[test.column].label, test.seed]);
    return [["image", "left", "right", "choice", "correct", "reconstruction", "seed"], ...lines].map((line) => line.map(cell).join(",")).join("\n") + "\n";
  };
  const save = () => {
    const address = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
    const link = h("a", { href: address, download: "blind-test.csv" });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
  };
  const showResult = () => {
    const n = test.done.length;
    const k = test.done.filter(({ correct }) => correct).length;
    const percent = (fraction) => `${(100 * fraction).toFixed(0)}\u00a0%`;
    const rest = n < test.trials.length;
    $("blind-progress").textContent = "";
    const [low, high] = n ? wilson(k, n) : [0, 1];
    $("blind-body").replaceChildren(h("div", { class: "blind-intro blind-result" },
      h("p", { class: "figure" }, n ? percent(k / n) : "\u2013"),
      h("p", {}, n
        ? `You identified the seen image in ${k} of ${n} (95\u00a0% interval ${percent(low)} to ${percent(high)}; chance is 50\u00a0%).`
        : "No choice was made."),
      h("div", { class: "row" },
        n ? h("button", { type: "button", class: "accent", onclick: save }, "Download the choices as CSV") : null,
        rest ? h("button", { type: "button", onclick: showTrial }, "Continue") : null,
        h("button", { type: "button", onclick: introduce }, "Start again"))));
  };
  const introduce = () => {
    test.trials = [];
    $("blind-progress").textContent = "";
    const select = h("select", { "aria-label": "Reconstruction to test" }, ...choices.map(({ label, i }) => h("option", { value: i }, label)));
    if (choices.some(({ i }) => i === test.column)) select.value = test.column;
    const start = h("button", { type: "button", class: "accent", onclick: () => { test.column = Number(select.value); startTest(); } }, "Start");
    $("blind-body").replaceChildren(h("div", { class: "blind-intro" },
      h("p", {}, "Each trial shows one reconstruction and two images: the one that was seen, and another test image chosen at random. Choose with a click or with the arrow keys. Results are shown at the end only."),
      h("p", {}, "It is blind only for someone who has not looked through the gallery before. Choices stay in this window until you download them."),
      h("div", { class: "row" }, h("label", { class: "field" }, h("span", {}, "Reconstruction"), select), start)));
    start.focus();
  };
  $("blind-open").addEventListener("click", () => { blind.showModal(); if (!test.trials.length) introduce(); });
  $("blind-close").addEventListener("click", () => blind.close());
  blind.addEventListener("keydown", (event) => {
    const side = { ArrowLeft: "left", ArrowRight: "right" }[event.key];
    if (side && $("blind-body").querySelector(".choices")) { event.preventDefault(); choose(side); }
  });

  render();
})();
