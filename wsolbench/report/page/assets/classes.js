// Numbers by class: one line a class, one column a row of the leaderboard.

function classTable(table, metric) {
  const names = data.sets[table.set].classes;
  const { images, rows } = table.classes;
  const places = Object.keys(rows).map(Number).filter((place) => rows[place][metric]);
  const sorter = (text, plain) => make("th", { scope: "col", "data-text": plain }, make("button", { type: "button", class: "sort" }, text));
  const head = make("tr", {}, sorter("Class", true), sorter("images"), places.map((place) => sorter(table.rows[place].label)));
  const lines = names.map((name, label) => make("tr", {}, make("th", { scope: "row" }, name),
    make("td", { "data-v": images[label] }, images[label].toLocaleString("en")),
    places.map((place) => {
      const value = rows[place][metric][label];
      if (value === null) return make("td", { class: "none", title: "no test image is of this class" }, "–");
      const cell = make("td", { "data-v": value }, fixed(value / 100, 1));
      cell.style.setProperty("--share", value / 10000);
      return cell;
    })));
  const built = make("table", { class: "classes" }, make("thead", {}, head), make("tbody", { class: "rows" }, lines));
  makeSortable(built);
  return make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${metric} by class` }, built);
}

function startClasses() {
  const options = tablesWith((table) => table.classes);
  if (!options.length) {
    fill("classes", make("p", { class: "note" }, "No numbers by class: they need the labels of the test images, so give the data to `wsolbench report` with --data-root."));
    return;
  }
  const holder = make("div");
  const state = { table: Number(options[0][0]), metric: null };
  const metrics = () => [...new Set(Object.values(data.tables[state.table].classes.rows).flatMap(Object.keys))];
  const metric = select("Metric", [], (value) => { state.metric = value; show(); });
  const which = select("Table", options, (value) => { state.table = Number(value); offer(); show(); });
  const show = () => holder.replaceChildren(classTable(data.tables[state.table], state.metric));
  const offer = () => {
    if (!metrics().includes(state.metric)) [state.metric] = metrics();
    metric.box.replaceChildren(...metrics().map((name) => make("option", { value: name, selected: name === state.metric }, name)));
  };
  offer();
  fill("classes", make("div", { class: "controls scripted" }, which.label, metric.label), holder);
  show();
}

startClasses();
