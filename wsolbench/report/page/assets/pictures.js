// The browser of pictures: pick one, see what every row's score map and boxes make of it.

const pictureState = { table: 0, label: "", row: "", found: "", picture: 0 };

const rowMaps = (table) => Object.entries(table.maps).map(([place, stored]) => [Number(place), stored]);

/** The pictures that pass the filters, as places among the set's. */
function filtered(table) {
  const stored = table.maps[pictureState.row];
  return data.sets[table.set].pictures.map((picture, place) => [picture, place]).filter(([picture, place]) => {
    if (pictureState.label !== "" && picture.label !== Number(pictureState.label)) return false;
    return pictureState.found === "" || !stored || stored.hit[place] === (pictureState.found === "hit");
  }).map(([, place]) => place);
}

/** How many of the trained rows hit a picture. */
function hitCount(table, place) {
  const own = rowMaps(table).filter(([row, stored]) => !table.rows[row].null && stored.hit.length);
  return own.length ? `${own.filter(([, stored]) => stored.hit[place]).length}/${own.length}` : "";
}

const jpeg = (picture) => `data:image/jpeg;base64,${picture.jpeg}`;

function boxElements(boxes, kind, best) {
  return boxes.flatMap(([x0, y0, x1, y1], index) => ["under", `${kind}${best && index === 0 ? " best" : ""}`].map((style) => draw("rect", {
    class: style, x: x0, y: y0, width: x1 - x0 + 1, height: y1 - y0 + 1,
  })));
}

/** A picture, over it a score map, over that the boxes. */
function stack(set, picture, canvas, boxes) {
  const found = boxElements(boxes.slice(0).reverse(), "found", false);
  const best = boxes.length ? boxElements(boxes.slice(0, 1), "found", true) : [];
  return make("div", { class: "stack" }, make("img", { src: jpeg(picture), alt: "" }), canvas,
    draw("svg", { viewBox: `0 0 ${set.side} ${set.side}`, "aria-hidden": "true" },
      boxElements(picture.truth, "true", false), found, best));
}

function mapFigure(table, set, row, stored, place) {
  const picture = set.pictures[place];
  const boxes = stored.boxes[place] ?? [];
  const lines = [make("b", {}, table.rows[row].label)];
  if (stored.iou.length) {
    const hit = stored.hit[place];
    const count = boxes.length + stored.more[place];
    lines.push(make("span", { class: hit ? "hit" : "miss" }, hit ? "✓ hit" : "✗ miss"), ` IoU ${stored.iou[place].toFixed(2)}`,
      make("br"), make("span", { class: "small" }, `${count} box${count === 1 ? "" : "es"}, t ${stored.t.toFixed(3)}${stored.frozen ? "" : " (oracle)"}`));
  }
  return make("figure", {}, stack(set, picture, mapCanvas(stored, place, set.side), boxes), make("figcaption", {}, lines));
}

/** The picture that was picked, with all rows. */
function chosenPicture(table) {
  const set = data.sets[table.set];
  const picture = set.pictures[pictureState.picture];
  const truth = make("figure", {}, stack(set, picture, null, []), make("figcaption", {}, make("b", {}, "picture"),
    make("span", { class: "small" }, set.masks ? "objects are masks, not drawn" : `${picture.truth.length} true box${picture.truth.length === 1 ? "" : "es"}`)));
  const without = table.rows.filter((_, place) => !table.maps[place]).map((row) => row.label);
  return [
    make("div", { class: "chosen", "aria-live": "polite" }, make("h3", {}, set.classes[picture.label]), make("code", {}, picture.id)),
    make("div", { class: "maps" }, truth, rowMaps(table).map(([row, stored]) => mapFigure(table, set, row, stored, pictureState.picture))),
    without.length ? make("p", { class: "small" }, `No maps are kept here of: ${without.join(", ")}.`) : "",
  ];
}

function drawPictures(thumbs, holder) {
  const table = data.tables[pictureState.table];
  const set = data.sets[table.set];
  const places = filtered(table);
  if (!places.includes(pictureState.picture)) [pictureState.picture = 0] = places;
  thumbs.replaceChildren(...places.map((place) => make("li", {}, make("button", {
    type: "button", "data-picture": place, "aria-pressed": String(place === pictureState.picture),
    "aria-label": `${set.classes[set.pictures[place].label]}, ${set.pictures[place].id}`,
    click: () => { pictureState.picture = place; drawPictures(thumbs, holder); thumbs.querySelector(`[data-picture="${place}"]`).focus(); },
  }, make("img", { src: jpeg(set.pictures[place]), alt: "", loading: "lazy" }), make("span", { class: "count" }, hitCount(table, place))))));
  holder.replaceChildren(...(places.length ? chosenPicture(table) : [make("p", { class: "note" }, "No picture passes these filters.")]).filter(Boolean));
}

/** The filters, offered anew for each table. */
function pictureFilters(table, redraw) {
  const set = data.sets[table.set];
  const labels = [...new Set(set.pictures.map((picture) => picture.label))].sort((a, b) => a - b);
  const rows = rowMaps(table).filter(([, stored]) => stored.hit.length);
  const change = (name) => (value) => { pictureState[name] = value; redraw(); };
  pictureState.row = rows.length ? String(rows[0][0]) : "";
  const parts = [select("Class", [["", "all"], ...labels.map((label) => [label, set.classes[label]])], change("label"))];
  if (rows.length) {
    parts.push(select("Row", rows.map(([place]) => [place, table.rows[place].label]), change("row")));
    parts.push(select("is a", [["", "hit or miss"], ["hit", "hit"], ["miss", "miss"]], change("found")));
  }
  return parts.map((each) => each.label);
}

function startPictures() {
  const options = tablesWith((table) => Object.keys(table.maps).length);
  if (!options.length) {
    if (!document.querySelector("#pictures .note")) fill("pictures", make("p", { class: "note" }, "This report was made without pictures; `wsolbench report --images 50` puts them in."));
    return;
  }
  const thumbs = make("ul", { class: "thumbs", "aria-label": "Pictures" });
  const holder = make("div", { id: "chosen" });
  const filters = make("div", { class: "controls scripted" });
  const redraw = () => drawPictures(thumbs, holder);
  const show = (value) => {
    Object.assign(pictureState, { table: Number(value), label: "", found: "", picture: 0 });
    filters.replaceChildren(which.label, ...pictureFilters(data.tables[pictureState.table], redraw));
    redraw();
  };
  const which = select("Table", options, show);
  const opacity = make("input", { type: "range", min: 0, max: 100, value: 50, id: "opacity",
    input: () => holder.style.setProperty("--opacity", opacity.value / 100) });
  const boxes = make("input", { type: "checkbox", checked: true, id: "boxes",
    change: () => holder.classList.toggle("boxless", !boxes.checked) });
  fill("pictures", make("p", { class: "about" }, data.rule), filters,
    make("div", { class: "controls scripted" }, make("label", { class: "inline" }, "Score map", opacity), make("label", { class: "inline" }, boxes, "Boxes")),
    thumbs,
    make("p", { class: "small key" }, make("span", {}, make("i", { class: "t" }), "true box"),
      make("span", {}, make("i", { class: "f" }), "box found (thick: the best one)"), "Below each picture: how many trained rows hit it (IoU of at least 0.5)."),
    holder);
  show(options[0][0]);
}

startPictures();
