// Box accuracy over the threshold, one panel for each IoU criterion.

const curveState = { table: 0, shown: new Set(), t: 0.3 };

/** The first three ranked rows and the reference null row: enough to begin with, few enough to read. */
function firstRows(table) {
  const there = table.rows.map((row, place) => [row, place]).filter(([, place]) => table.curves.rows[place]);
  const ranked = there.filter(([row]) => !row.null && !row.details.supervision).slice(0, 3);
  const reference = there.filter(([row]) => row.null && row.label === data.reference).slice(0, 1);
  return new Set([...ranked, ...reference].map(([, place]) => place));
}

const shownPlaces = (table) => [...curveState.shown].filter((place) => table.curves.rows[place]).sort((a, b) => a - b);

/** The top of the axis, one for all panels: the next ten percent above the curves that are shown. */
const highest = (rows) => Math.min(100, 10 * Math.ceil(Math.max(1000, ...rows.flat(2)) / 1000 + 0.1));

/** One panel, drawn for the width it has. */
function panel(table, criterion, width) {
  const { steps, rows, criteria } = table.curves;
  const height = Math.max(220, Math.min(300, width * 0.68));
  const places = shownPlaces(table);
  const scales = chartScales(width, height, highest(places.map((place) => rows[place])));
  const lines = places.map((place) => {
    const path = draw("path", {
      d: stepPath(steps, rows[place][criterion], scales), fill: "none", "stroke-width": 1.75,
      "stroke-dasharray": dashesOf(table, place),
    });
    path.style.stroke = colourOf(table, place);
    return path;
  });
  const marks = places.flatMap((place) => seedMarks(table, place, criterion, scales));
  const named = places.map((place) => ({
    label: table.rows[place].label, values: rows[place][criterion], colour: colourOf(table, place),
  }));
  const labels = curveLabels(steps, named, marks.map((each) => [Number(each.getAttribute("cx")), Number(each.getAttribute("cy"))]), scales);
  const cursor = draw("line", { class: "cursor", y1: MARGIN.top, y2: height - MARGIN.bottom });
  const svg = draw("svg", {
    viewBox: `0 0 ${width} ${height}`, height, role: "img",
    "aria-label": `Box accuracy over the threshold at IoU ${criteria[criterion]}; the numbers are in the table below`,
  }, axes(scales), lines, marks, labels, cursor);
  const follow = (event) => setThreshold(scales.t(event.clientX - svg.getBoundingClientRect().left));
  svg.addEventListener("pointermove", follow);
  svg.addEventListener("pointerdown", follow);
  const move = (t) => { for (const end of ["x1", "x2"]) cursor.setAttribute(end, scales.x(t)); };
  return { figure: make("figure", {}, make("figcaption", {}, `IoU ≥ ${criteria[criterion]}`, panelList(table, places, criterion)), svg), move };
}

/** The rows of a panel, the best first, with what the leaderboard has: the oracle's mean over the seeds. */
function panelList(table, places, criterion) {
  const told = places.map((place) => {
    const values = table.curves.chosen[place][criterion].oracle.map(([, value]) => value);
    return { place, mean: values.length ? values.reduce((a, b) => a + b, 0) / values.length : null };
  }).sort((a, b) => (b.mean ?? -1) - (a.mean ?? -1));
  return make("span", { class: "list" }, told.map(({ place, mean }) => {
    const item = make("span", {}, `${table.rows[place].label} `, make("b", {}, fixed(mean, 1)));
    item.style.color = colourOf(table, place);
    return item;
  }));
}

/** A dot for each seed's oracle, a ring for its frozen threshold. */
function seedMarks(table, place, criterion, scales) {
  const { oracle, frozen } = table.curves.chosen[place][criterion];
  const mark = (fill) => ([t, value]) => {
    const circle = draw("circle", { cx: scales.x(t), cy: scales.y(value), r: 3.5, "stroke-width": 1.5 });
    circle.style.fill = fill;
    circle.style.stroke = colourOf(table, place);
    return circle;
  };
  return [...frozen.map(mark("var(--paper)")), ...oracle.map(mark(colourOf(table, place)))];
}

/** The numbers at the threshold under the pointer. */
function readoutTable(table) {
  const { steps, rows, criteria } = table.curves;
  const head = make("tr", {}, make("th", { scope: "col", "data-text": true }, "BoxAcc, %"),
    criteria.map((d) => make("th", { scope: "col" }, `IoU ${d}`)), make("th", { scope: "col" }, "mean"));
  const lines = shownPlaces(table).map((place) => {
    const values = rows[place].map((curve) => valueAt(steps, curve, curveState.t));
    const swatch = make("i");
    swatch.style.color = colourOf(table, place);
    return make("tr", {}, make("th", { scope: "row" }, swatch, table.rows[place].label),
      [...values, values.reduce((a, b) => a + b, 0) / values.length].map((each) => make("td", {}, fixed(each, 1))));
  });
  return make("table", {}, make("thead", {}, head), make("tbody", {}, lines));
}

let showThreshold = () => {};
function setThreshold(t) {
  curveState.t = Math.round(t * 1000) / 1000;
  showThreshold();
}

function drawCurves() {
  const table = data.tables[curveState.table];
  const area = make("div", { class: "panels" });
  const slider = make("input", { type: "range", min: 0, max: 999, id: "threshold",
    input: () => setThreshold(slider.value / 1000) });
  const told = make("span");
  const holder = make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Box accuracy at the threshold" });
  document.getElementById("curve-area").replaceChildren(area,
    make("div", { class: "readout" }, make("label", {}, told, slider), holder));
  const width = () => {
    const columns = Math.max(1, Math.min(3, Math.floor((area.clientWidth + 32) / 372)));
    return Math.floor((area.clientWidth - 32 * (columns - 1)) / columns);
  };
  let panels = [];
  showThreshold = () => {
    slider.value = 1000 * curveState.t;
    told.textContent = `Threshold t = ${curveState.t.toFixed(3)} (move over a chart, or drag)`;
    holder.replaceChildren(readoutTable(table));
    panels.forEach((each) => each.move(curveState.t));
  };
  const redraw = () => {
    panels = table.curves.criteria.map((_, criterion) => panel(table, criterion, width()));
    area.replaceChildren(...panels.map((each) => each.figure));
    showThreshold();
  };
  redraw();
  return redraw;
}

/** The choice of rows, each in the colour of its curve. */
function curveChips(table, redraw) {
  return make("div", { class: "chips" }, table.rows.map((row, place) => {
    if (!table.curves.rows[place]) return null;
    const dot = make("i");
    dot.style.color = colourOf(table, place);
    return make("button", { type: "button", class: "chip", "aria-pressed": String(curveState.shown.has(place)),
      click: ({ currentTarget }) => {
        if (!curveState.shown.delete(place)) curveState.shown.add(place);
        currentTarget.setAttribute("aria-pressed", String(curveState.shown.has(place)));
        redraw();
      } }, dot, row.label);
  }));
}

function startCurves() {
  const options = tablesWith((table) => table.curves);
  if (!options.length) {
    fill("curves", make("p", { class: "note" }, "No curves: no run with boxes has its hits (the .npz file beside its record) here."));
    return;
  }
  let redraw = () => {};
  const chips = make("fieldset", {});
  const show = (value) => {
    curveState.table = Number(value);
    const table = data.tables[curveState.table];
    curveState.shown = firstRows(table);
    redraw = drawCurves();
    chips.replaceChildren(make("legend", {}, "Rows"), curveChips(table, () => redraw()));
  };
  const which = select("Table", options, show);
  fill("curves", make("div", { class: "controls scripted" }, which.label), chips, make("div", { id: "curve-area" }));
  show(options[0][0]);
  let seen = document.body.clientWidth;
  addEventListener("resize", () => {
    if (document.body.clientWidth !== seen) { seen = document.body.clientWidth; redraw(); }
  });
}

startCurves();
