// What all parts of the page share. Texts from the data reach the page as text nodes and attributes, never as markup.

const data = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";

/** Make an element: attributes by name, functions as event listeners, children as nodes or texts. */
function make(tag, attributes = {}, ...children) {
  return dress(document.createElement(tag), attributes, children);
}

/** Make an SVG element likewise. */
function draw(tag, attributes = {}, ...children) {
  return dress(document.createElementNS(SVG, tag), attributes, children);
}

function dress(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child != null && child !== ""));
  return element;
}

/** Write a number with a fixed count of decimals; a dash for none. */
const fixed = (value, digits) => (value == null ? "–" : value.toLocaleString("en", {
  minimumFractionDigits: digits, maximumFractionDigits: digits,
}));

/** A labelled select: options are [value, text]. */
function select(label, options, onChange) {
  const box = make("select", { change: () => onChange(box.value) },
    options.map(([value, text]) => make("option", { value }, text)));
  return { box, label: make("label", {}, label, box) };
}

/** The tables that have something, as options of a select: index and title. */
const tablesWith = (has) => data.tables.map((table, index) => [index, table])
  .filter(([, table]) => has(table)).map(([index, table]) => [String(index), table.title]);

/** The colour of a row: its own, grey for null rows. */
const colourOf = (table, place) => (table.rows[place].null ? "var(--muted)" : `var(--c${place % 10})`);

/** The dashes of a row's line: whole for the first ten rows, other patterns where colours repeat and for null rows. */
function dashesOf(table, place) {
  if (table.rows[place].null) return ["4 3", "9 4", "2 4"][place % 3];
  return place < 10 ? null : "12 3";
}

/** Fill a section's body, or say why there is nothing to fill it with. */
function fill(id, ...children) {
  document.querySelector(`#${id} .body`).replaceChildren(...children);
}

// --- theme ---------------------------------------------------------------------------------------------------------

const THEMES = ["system", "dark", "light"];

/** Storage may be forbidden, from file:// for one: then the choice lasts as long as the page. */
function remembered() {
  try { return localStorage.getItem("wsolbench-theme"); } catch { return null; }
}

function setTheme(theme) {
  const root = document.documentElement;
  if (theme === "system") delete root.dataset.theme; else root.dataset.theme = theme;
  document.getElementById("theme").textContent = `Theme: ${theme}`;
  try { localStorage.setItem("wsolbench-theme", theme); } catch { /* not kept, then */ }
}

function startTheme() {
  let current = THEMES.includes(remembered()) ? remembered() : "system";
  setTheme(current);
  document.getElementById("theme").addEventListener("click", () => {
    current = THEMES[(THEMES.indexOf(current) + 1) % THEMES.length];
    setTheme(current);
  });
}

document.documentElement.classList.add("js");
startTheme();
