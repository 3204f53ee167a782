// Stored maps are small; here they are enlarged as the protocol enlarges them and given their colours.

const A = -0.75; // Keys' coefficient, as in the protocol

const near = (x) => ((A + 2) * x - (A + 3)) * x * x + 1;
const far = (x) => ((A * x - 5 * A) * x + 8 * A) * x - 4 * A;

/** For each output pixel along one axis the four input pixels it is made of, and their weights. */
function taps(length, size) {
  return Array.from({ length: size }, (_, place) => {
    const source = ((place + 0.5) * length) / size - 0.5;
    const first = Math.floor(source);
    const t = source - first;
    const index = [-1, 0, 1, 2].map((step) => Math.min(Math.max(first + step, 0), length - 1));
    return [index, [far(1 + t), near(t), near(1 - t), far(2 - t)]];
  });
}

/** Enlarge a map (rows x columns, row by row) to size x size, bicubic, half-pixel centres. */
function enlarge(values, [height, width], size) {
  const narrow = new Float32Array(height * size);
  taps(width, size).forEach(([index, weight], x) => {
    for (let y = 0; y < height; y += 1) {
      let sum = 0;
      for (let k = 0; k < 4; k += 1) sum += weight[k] * values[y * width + index[k]];
      narrow[y * size + x] = sum;
    }
  });
  const wide = new Float32Array(size * size);
  taps(height, size).forEach(([index, weight], y) => {
    for (let x = 0; x < size; x += 1) {
      let sum = 0;
      for (let k = 0; k < 4; k += 1) sum += weight[k] * narrow[index[k] * size + x];
      wide[y * size + x] = sum;
    }
  });
  return wide;
}

// From dark blue over violet and orange to pale yellow: rising lightness, so that it reads without colour too.
const STOPS = [[13, 8, 60], [84, 15, 109], [158, 40, 100], [221, 81, 58], [252, 165, 10], [252, 255, 164]];

/** The 256 colours of a score map. */
const PALETTE = Array.from({ length: 256 }, (_, level) => {
  const place = (level / 255) * (STOPS.length - 1);
  const low = Math.min(Math.floor(place), STOPS.length - 2);
  return STOPS[low].map((channel, k) => Math.round(channel + (place - low) * (STOPS[low + 1][k] - channel)));
});

const decoded = new Map(); // a row's stored maps, decoded once

function storedMap(stored, place) {
  if (!decoded.has(stored)) decoded.set(stored, Uint8Array.from(atob(stored.data), (each) => each.charCodeAt(0)));
  const area = stored.size[0] * stored.size[1];
  return decoded.get(stored).subarray(place * area, (place + 1) * area);
}

/** A canvas with the score map of one picture, at the evaluation size. */
function mapCanvas(stored, place, side) {
  const size = Math.min(side, 224);
  const wide = enlarge(storedMap(stored, place), stored.size, size);
  let low = 0;
  let high = 255;
  if (stored.stretched) {
    low = wide.reduce((a, b) => Math.min(a, b));
    high = wide.reduce((a, b) => Math.max(a, b));
  }
  const canvas = make("canvas", { width: size, height: size, "aria-hidden": "true" });
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(size, size);
  wide.forEach((value, index) => {
    const level = high > low ? Math.min(Math.max(Math.floor((255 * (value - low)) / (high - low)), 0), 255) : 0;
    pixels.data.set([...PALETTE[level], 255], 4 * index);
  });
  context.putImageData(pixels, 0, 0);
  return canvas;
}
