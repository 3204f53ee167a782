// A small chart: axes, step curves, marks, labels at the curves.

const MARGIN = { top: 8, right: 12, bottom: 32, left: 36 };

/** Scales from values to pixels for a chart of this size. */
function chartScales(width, height, yMax) {
  const inner = { width: width - MARGIN.left - MARGIN.right, height: height - MARGIN.top - MARGIN.bottom };
  return {
    width, height, yMax,
    x: (t) => MARGIN.left + t * inner.width,
    y: (value) => MARGIN.top + inner.height * (1 - value / yMax),
    t: (x) => Math.min(Math.max((x - MARGIN.left) / inner.width, 0), 0.999),
  };
}

/** Axes and grid: t along, percent up. */
function axes(scales) {
  const parts = [];
  const step = scales.yMax > 40 ? 20 : 10;
  for (let value = 0; value <= scales.yMax; value += step) {
    const y = scales.y(value);
    parts.push(draw("line", { class: "grid", x1: scales.x(0), x2: scales.x(1), y1: y, y2: y }));
    parts.push(draw("text", { class: "axis", x: scales.x(0) - 6, y: y + 4, "text-anchor": "end" }, String(value)));
  }
  for (const t of [0, 0.25, 0.5, 0.75, 1]) {
    parts.push(draw("text", { class: "axis", x: scales.x(t), y: scales.height - 14, "text-anchor": "middle" }, String(t)));
  }
  parts.push(draw("text", { class: "axis", x: scales.x(0.5), y: scales.height - 1, "text-anchor": "middle" }, "threshold t"));
  return parts;
}

/** The path of a step curve: values hold from their threshold to the next. */
function stepPath(steps, values, scales) {
  const parts = values.map((value, index) => {
    const x = scales.x(steps[index] / 1000).toFixed(1);
    const y = scales.y(value / 100).toFixed(1);
    return index ? `H${x}V${y}` : `M${x} ${y}`;
  });
  return `${parts.join("")}H${scales.x(1).toFixed(1)}`;
}

/** A curve's value at a threshold. */
function valueAt(steps, values, t) {
  let index = steps.length - 1;
  while (index > 0 && steps[index] > 1000 * t + 1e-6) index -= 1;
  return values[index] / 100;
}

// --- labels at the curves ------------------------------------------------------------------------------------------

const GRID = 100; // places along t where heights are compared
const LETTER = 7.2; // pixels of a letter, roughly
const LINE = 15; // pixels of a line of text
const ALONE = 12; // pixels from a label to any other curve, lest it seem to belong to that one

const overlap = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;

/** The distance from a box to a curve, in pixels; 0 where the curve runs through it. */
function clearance(box, heights, scales) {
  let nearest = Infinity;
  for (let index = 0; index <= GRID; index += 1) {
    const x = scales.x(index / GRID);
    if (x < box.left - 8 || x > box.right + 8) continue;
    const y = heights[index];
    nearest = Math.min(nearest, Math.max(box.top - y, y - box.bottom, 0));
  }
  return nearest;
}

/** The places where a curve's label could stand: just above or just below the curve, inside the chart. */
function candidates(label, heights, scales) {
  const width = label.length * LETTER;
  const found = [];
  for (let index = 4; index <= GRID - 4; index += 2) {
    const left = scales.x(index / GRID) - width / 2;
    for (const top of [heights[index] - LINE - 5, heights[index] + 5]) {
      const box = { left, right: left + width, top, bottom: top + LINE };
      const inside = left > scales.x(0) && box.right < scales.x(1) && top > 0 && box.bottom < scales.y(0);
      if (inside) found.push(box);
    }
  }
  return found;
}

/** A label at each curve that has a place of its own, off the marks (x, y); where curves run together the list above the chart tells them apart. */
function curveLabels(steps, curves, marks, scales) {
  const around = marks.map(([x, y]) => ({ left: x - 5, right: x + 5, top: y - 5, bottom: y + 5 }));
  const heights = curves.map((each) => Array.from({ length: GRID + 1 },
    (_, index) => scales.y(valueAt(steps, each.values, index / GRID))));
  const placed = [];
  curves.forEach((each, own) => {
    const taken = [...around, ...placed.map((other) => other.box)];
    const free = candidates(each.label, heights[own], scales).filter((box) => !taken.some((other) => overlap(box, other)));
    const rated = free.map((box) => {
      const others = heights.map((curve, index) => Math.min(clearance(box, curve, scales), index === own ? 3 : 30));
      return { box, room: Math.min(...others.filter((_, index) => index !== own), 30), own: others[own] };
    }).filter((each) => each.room >= ALONE && each.own > 0);
    const best = rated.reduce((a, b) => (a === null || b.room > a.room ? b : a), null);
    if (best) placed.push({ ...each, box: best.box });
  });
  return placed.map(({ label, colour, box }) => {
    const text = draw("text", { class: "halo", x: (box.left + box.right) / 2, y: box.bottom - 4, "text-anchor": "middle" }, label);
    text.style.fill = colour;
    return text;
  });
}
