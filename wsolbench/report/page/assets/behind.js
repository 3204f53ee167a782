// The window that says what is behind a row or a cell.

const rowsById = new Map(data.tables.flatMap((table) => table.rows.map((row, place) => [row.id, { table, row, place }])));

/** Names and texts in two columns. */
const settings = (pairs) => make("dl", { class: "settings" },
  pairs.flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]));

/** A button that copies a text; where the clipboard is not to be had it selects the text instead. */
function copyButton(block) {
  const button = make("button", { type: "button", class: "quiet" }, "Copy");
  button.addEventListener("click", async () => {
    const selection = getSelection();
    try {
      await navigator.clipboard.writeText(block.textContent);
      button.textContent = "Copied";
    } catch {
      selection.selectAllChildren(block);
      button.textContent = document.execCommand("copy") ? "Copied" : "Selected: copy it by hand";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  return button;
}

const thresholdText = (values) => values.map((t) => t.toFixed(3)).join(" / ");

function commandOf(run) {
  const checkout = run.commit ? [`git checkout ${run.commit}${run.dirty ? "  # its uncommitted changes are not recorded" : ""}`] : [];
  return [...checkout, run.command].join("\n");
}

/** One run: what it gave, where it comes from, how to make it again. */
function runBlock(table, run, place, open) {
  const command = make("pre", {}, make("code", {}, commandOf(run)));
  const counts = Object.entries(run.counts).map(([name, count]) => `${name.replaceAll("_", " ")}: ${count}`).join(", ");
  const costs = table.columns.map((name, index) => [name, run.values[index]])
    .filter(([name, value]) => table.costs.includes(name) && value !== null)
    .map(([name, value]) => [name, fixed(value, name === "minutes" ? 1 : 0)]);
  const facts = [
    ["run", run.id],
    ["commit", run.commit ? `${run.commit}${run.dirty ? ", with uncommitted changes" : run.dirty === null ? "" : ", clean"}` : "unknown"],
    ["device", run.device],
    ...costs,
    ["time", `${run.started} to ${run.finished}`],
    ["versions", data.versions[run.versions]],
  ];
  if (counts) facts.push(["counted", counts]);
  if (run.percentile !== null) facts.push(["percentile", `${run.percentile}, chosen on train-fullsup`]);
  const value = place === null ? null : run.values[place];
  const at = place === null || !run.t[place].length ? "" : ` at t = ${thresholdText(run.t[place])}`;
  const title = place === null ? `seed ${run.seed}` : `seed ${run.seed}: ${fixed(value, 2)}${at}`;
  return make("details", { class: "run", open },
    make("summary", {}, title), settings(facts), make("p", { class: "small" }, "To run it again:"), command, copyButton(command));
}

/** Every number of every seed. */
function numbers(table, row) {
  const head = make("tr", {}, make("th", { scope: "col", "data-text": true }, "metric"),
    row.runs.map((run) => make("th", { scope: "col" }, `seed ${run.seed}`)), make("th", { scope: "col" }, "t"));
  const lines = table.columns.map((name, index) => {
    const cells = row.runs.map((run) => make("td", {}, fixed(run.values[index], 2)));
    const t = row.runs.map((run) => thresholdText(run.t[index])).filter(Boolean).join(", ");
    const why = row.reasons[index];
    return make("tr", {}, make("th", { scope: "row" }, name), cells, make("td", {}, t || why));
  });
  return make("details", {}, make("summary", {}, "Every number of every seed"),
    make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Every number of every seed" },
      make("table", { class: "numbers" }, make("thead", {}, head), make("tbody", {}, lines))));
}

/** Training curves, one small chart a term, one line a seed. */
function sparks(row) {
  const figures = Object.entries(row.history).map(([name, seeds]) => {
    const known = seeds.flat().filter((value) => value !== null);
    const low = Math.min(...known);
    const high = Math.max(...known);
    const lines = seeds.map((values) => draw("path", {
      d: sparkPath(values, low, high), fill: "none", stroke: "var(--accent)", "stroke-width": 1.25,
      "stroke-opacity": 0.7, "vector-effect": "non-scaling-stroke",
    }));
    const range = `${known[0].toPrecision(3)} to ${seeds.findLast((each) => each.at(-1) != null)?.at(-1).toPrecision(3) ?? "–"}`;
    return make("figure", {}, make("figcaption", {}, make("b", {}, name), ` ${range}`),
      draw("svg", { viewBox: "0 0 100 30", preserveAspectRatio: "none", "aria-hidden": "true" }, lines));
  });
  return figures.length ? [make("h3", {}, "Training, by epoch"), make("div", { class: "sparks" }, figures)] : [];
}

function sparkPath(values, low, high) {
  const x = (index) => (values.length > 1 ? (100 * index) / (values.length - 1) : 50);
  const y = (value) => (high > low ? 28 - (26 * (value - low)) / (high - low) : 15);
  let pen = "M";
  return values.map((value, index) => {
    if (value === null) { pen = "M"; return ""; }
    const step = `${pen}${x(index).toFixed(1)} ${y(value).toFixed(1)}`;
    pen = "L";
    return step;
  }).join("");
}

/** What a search chose, and what it cost. */
function tunedBlock(tuned) {
  if (!tuned) return [];
  return [make("h3", {}, "Tuned on train-fullsup"), settings([
    ["study", tuned.study],
    ["chosen", `trial ${tuned.trial} of ${tuned.trials}, by ${tuned.images.toLocaleString("en")} images`],
    ...Object.entries(tuned.drawn),
    ["all trials trained", `${(tuned.training_s / 60).toFixed(1)} minutes`],
  ])];
}

/** The recipe: what is not as by default, and folded away all of it. */
function recipeBlock(row) {
  const unusual = row.unusual.map((name) => [name, row.recipe[name]]);
  return [make("h3", {}, "Recipe, where it differs from the defaults"),
    unusual.length ? settings(unusual) : make("p", {}, "nowhere"),
    make("details", {}, make("summary", {}, "The whole recipe"), settings(Object.entries(row.recipe)))];
}

/** Open the window for a row, and for one of its columns if one was meant. */
function openBehind(id, place) {
  const { table, row } = rowsById.get(id);
  const dialog = document.getElementById("behind");
  const close = make("button", { type: "button", class: "quiet", click: () => dialog.close() }, "Close");
  const cell = place === null ? null : document.querySelector(`tr[data-row="${id}"]`).cells[place + 2];
  const reason = place === null ? "" : row.reasons[place];
  const headline = place === null ? [] : [make("p", { class: "headline" }, `${table.columns[place]}: `,
    make("strong", {}, cell.dataset.v ? cell.textContent.trim() : "no number"))];
  if (reason) headline.push(make("p", { class: "note" }, reason));
  dialog.replaceChildren(
    make("div", { class: "bar" },
      make("div", {}, make("h2", { id: "behind-title" }, row.label), make("div", { class: "small" }, table.title)), close),
    ...headline,
    make("h3", {}, row.runs.length === 1 ? "One run" : `${row.runs.length} runs`),
    ...row.runs.map((run, index) => runBlock(table, run, place, index === 0)),
    ...tunedBlock(row.tuned),
    make("h3", {}, "Method's settings"),
    Object.keys(row.config).length ? settings(Object.entries(row.config)) : make("p", {}, "it has none"),
    ...recipeBlock(row),
    make("h3", {}, "What was scored"), settings(Object.entries(row.details)),
    ...sparks(row),
    make("h3", {}, "Numbers"), numbers(table, row),
  );
  dialog.showModal();
  dialog.scrollTop = 0;
}

function startBehind() {
  const opened = (event) => {
    const row = event.target.closest("tr[data-row]");
    if (!row) return;
    const cell = event.target.closest("td");
    openBehind(row.dataset.row, cell && cell.cellIndex > 1 ? cell.cellIndex - 2 : null);
  };
  const area = document.getElementById("leaderboard");
  area.addEventListener("click", opened);
  area.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !event.target.matches("td")) return;
    event.preventDefault(); // or the same key would press the button that gets the focus next, Close
    opened(event);
  });
  const dialog = document.getElementById("behind");
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
}

startBehind();
