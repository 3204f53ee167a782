// The leaderboard's tables are in the HTML already; here they learn to sort, to filter and to fold columns away.

/** What a cell is sorted by: a number where there is one, else null; in a column of names, its text. */
function sortValue(cell, text) {
  if (text) return cell.textContent.trim().toLowerCase();
  return cell.dataset.v === undefined || cell.dataset.v === "" ? null : Number(cell.dataset.v);
}

/** Sort each group of rows of a table by one of its columns; rows without a value come last, null rows stay below. */
function sortTable(table, header) {
  const text = header.hasAttribute("data-text");
  const first = text ? "ascending" : "descending";
  const other = text ? "descending" : "ascending";
  const direction = header.getAttribute("aria-sort") === first ? other : first;
  const place = header.dataset.cell === undefined ? header.cellIndex : Number(header.dataset.cell);
  const sign = direction === "ascending" ? 1 : -1;
  for (const body of table.querySelectorAll("tbody.rows")) {
    const keyed = [...body.rows].map((row) => [sortValue(row.cells[place], text), row]);
    keyed.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      return sign * (text ? a.localeCompare(b) : a - b);
    });
    body.append(...keyed.map(([, row]) => row));
  }
  table.querySelectorAll("[aria-sort]").forEach((each) => each.removeAttribute("aria-sort"));
  header.setAttribute("aria-sort", direction);
}

/** Let the buttons in a table's head sort it. */
function makeSortable(table) {
  table.tHead.addEventListener("click", (event) => {
    const button = event.target.closest(".sort");
    if (button) sortTable(table, button.closest("th"));
  });
}

/** Move the focus between cells with the arrow keys; hidden rows and columns are passed over. */
function moveBetweenCells(event) {
  const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
  const cell = event.target.closest("tbody.rows td, tbody.rows th");
  if (!step || !cell) return;
  const seen = (element) => element.offsetParent !== null;
  const row = cell.closest("tr");
  const rows = [...row.closest("table").querySelectorAll("tbody.rows tr")].filter(seen);
  const target = rows[rows.indexOf(row) + step[0]];
  let next = target?.cells[cell.cellIndex + step[1]];
  while (next && !seen(next)) next = step[1] < 0 ? next.previousElementSibling : next.nextElementSibling;
  if (!next) return;
  event.preventDefault();
  (next.querySelector("button") ?? next).focus();
}

// --- filters -------------------------------------------------------------------------------------------------------

function applyFilters() {
  const words = document.getElementById("filter").value.trim().toLowerCase();
  const which = document.getElementById("which").value;
  let shown = 0;
  let all = 0;
  for (const board of document.querySelectorAll(".board")) {
    const chosen = which === "" || which === board.id;
    let here = 0;
    for (const row of board.querySelectorAll("tr[data-row]")) {
      row.hidden = !row.dataset.words.includes(words);
      here += !row.hidden;
      all += chosen;
    }
    board.hidden = !chosen || here === 0;
    shown += chosen ? here : 0;
  }
  document.getElementById("matches").textContent = shown === all ? `${all} rows` : `${shown} of ${all} rows`;
}

/** One switch for each group of columns that some table has. */
function startGroups() {
  const area = document.getElementById("leaderboard");
  const folded = new Set(data.folded);
  const apply = () => { area.dataset.hide = [...folded].join(" "); };
  const present = Object.entries(data.groups).filter(([group]) => area.querySelector(`[data-group="${group}"]`));
  const chips = present.map(([group, name]) => make("button", {
    type: "button", class: "chip", "aria-pressed": String(!folded.has(group)), "data-switch": group,
    click: ({ currentTarget }) => {
      if (!folded.delete(group)) folded.add(group);
      currentTarget.setAttribute("aria-pressed", String(!folded.has(group)));
      apply();
    },
  }, name));
  document.getElementById("groups").append(make("div", { class: "chips" }, chips));
  apply();
}

function startTables() {
  for (const table of document.querySelectorAll("table.ranked")) {
    makeSortable(table);
    for (const cell of table.querySelectorAll("tbody.rows td")) cell.tabIndex = -1;
    table.addEventListener("keydown", moveBetweenCells);
  }
  document.getElementById("filter").addEventListener("input", applyFilters);
  document.getElementById("which").addEventListener("change", applyFilters);
  startGroups();
  applyFilters();
}

startTables();
