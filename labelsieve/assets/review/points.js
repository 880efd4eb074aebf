// Points drawn straight into the pixels of a canvas: a hundred thousand take some milliseconds, without WebGL.
const SIDE = 65535; // coordinates of the map are whole numbers from 0 to this
const CELLS = 256; // buckets along a side, in which the nearest point is looked for
export const FEW = 500; // points in sight for which there may be room for pictures
const DISCS = new Map();

// offsets of a disc's pixels, and how much each covers: its rim is soft
function disc(width) {
  if (DISCS.has(width)) return DISCS.get(width);
  const parts = [], radius = width / 2, reach = Math.ceil(radius);
  for (let dy = -reach; dy <= reach; dy++) for (let dx = -reach; dx <= reach; dx++) {
    const cover = Math.min(1, Math.max(0, radius + 0.5 - Math.hypot(dx, dy)));
    if (cover > 0.05) parts.push(dx, dy, Math.round(256 * cover));
  }
  DISCS.set(width, Int32Array.from(parts));
  return DISCS.get(width);
}

export class Points {
  constructor(buffer) {
    this.n = buffer.byteLength / 6;
    this.x = new Uint16Array(buffer, 0, this.n); this.y = new Uint16Array(buffer, 2 * this.n, this.n); this.given = new Uint16Array(buffer, 4 * this.n, this.n);
    this.colour = new Uint32Array(this.n); // 0xAABBGGRR
    this.order = Uint32Array.from({ length: this.n }, (_, i) => i);
    this.index();
  }
  // counting sort of the points into square buckets
  index() {
    const starts = new Uint32Array(CELLS * CELLS + 1), bucket = new Uint16Array(this.n), shift = 8;
    for (let i = 0; i < this.n; i++) { bucket[i] = (this.y[i] >> shift) * CELLS + (this.x[i] >> shift); starts[bucket[i] + 1]++; }
    for (let c = 0; c < CELLS * CELLS; c++) starts[c + 1] += starts[c];
    const next = starts.slice(), sorted = new Uint32Array(this.n);
    for (let i = 0; i < this.n; i++) sorted[next[bucket[i]]++] = i;
    this.starts = starts; this.sorted = sorted;
  }
  // what is drawn last lies on top
  layer(rank) {
    const counts = new Uint32Array(257);
    for (let i = 0; i < this.n; i++) counts[rank[i] + 1]++;
    for (let c = 0; c < 256; c++) counts[c + 1] += counts[c];
    for (let i = 0; i < this.n; i++) this.order[counts[rank[i]]++] = i;
  }
  draw(context, width, height, view, background, size) {
    // one frame is used again and again: a new one of millions of bytes at every move would keep the collector busy
    if (this.frame?.width !== width || this.frame.height !== height) this.frame = context.createImageData(width, height);
    const frame = this.frame, pixels = new Uint32Array(frame.data.buffer);
    pixels.fill(background);
    const stamp = disc(size), reach = Math.ceil(size / 2), { scale, left, top } = view, { x, y, colour, order } = this;
    const seen = []; // the points in sight, if they are few
    for (let k = 0; k < this.n; k++) {
      const i = order[k], px = Math.round(x[i] * scale + left), py = Math.round(y[i] * scale + top);
      if (px < reach || py < reach || px >= width - reach || py >= height - reach) continue;
      if (seen.length <= FEW) seen.push(i);
      // red and blue at once: their bytes do not touch, and neither do their products with at most 256
      const c = colour[i], alpha = c >>> 24, redblue = c & 0xff00ff, green = c & 0x00ff00;
      for (let s = 0; s < stamp.length; s += 3) {
        const at = (py + stamp[s + 1]) * width + px + stamp[s], a = stamp[s + 2] * alpha >> 8;
        if (a >= 255) { pixels[at] = c | 0xff000000; continue; }
        const b = pixels[at], rest = 256 - a;
        pixels[at] = 0xff000000 | (((Math.imul(redblue, a) + Math.imul(b & 0xff00ff, rest)) >>> 8) & 0xff00ff) | (((Math.imul(green, a) + Math.imul(b & 0x00ff00, rest)) >>> 8) & 0x00ff00);
      }
    }
    context.putImageData(frame, 0, 0);
    return seen;
  }
  // the nearest point to a place on the map, not farther than `reach` of its units; -1: none
  nearest(mx, my, reach) {
    let best = -1, least = reach * reach;
    const low = (v) => Math.max(0, Math.min(CELLS - 1, Math.floor((v - reach) / 256))), high = (v) => Math.max(0, Math.min(CELLS - 1, Math.floor((v + reach) / 256)));
    for (let row = low(my); row <= high(my); row++) for (let k = this.starts[row * CELLS + low(mx)]; k < this.starts[row * CELLS + high(mx) + 1]; k++) {
      const i = this.sorted[k], far = (this.x[i] - mx) ** 2 + (this.y[i] - my) ** 2;
      if (far < least) { least = far; best = i; }
    }
    return best;
  }
}
export { SIDE };

// --- colours
export const rgb = (red, green, blue, alpha = 255) => ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0;
export const css = (c) => `rgb(${c & 255} ${(c >> 8) & 255} ${(c >> 16) & 255})`;
// ten colours that stay apart, also for people who confuse red and green (after Tableau 10)
const TEN = [[78, 121, 167], [242, 142, 43], [89, 161, 79], [225, 87, 89], [176, 122, 161], [118, 183, 178], [237, 201, 72], [156, 117, 95], [255, 157, 167], [122, 122, 128]];
// further ones by the golden angle, which keeps neighbours in the list far from each other
function hue(number) {
  const h = (number * 137.508) % 360, light = [0.5, 0.62, 0.4][number % 3], f = (k) => { const a = (k + h / 30) % 12; return Math.round(255 * (light - 0.55 * Math.min(light, 1 - light) * Math.max(-1, Math.min(a - 3, 9 - a, 1)))); };
  return [f(0), f(8), f(4)];
}
export const category = (number, count) => (count <= 10 ? TEN[number % 10] : hue(number));
export function suspicion(p, dark) { // from what is likely right to what is likely wrong
  const low = dark ? [92, 118, 148] : [176, 193, 212], high = dark ? [255, 122, 89] : [200, 50, 20], t = p ** 1.2;
  return low.map((v, k) => Math.round(v + t * (high[k] - v)));
}
// of the marks by number: not suspected, suspect, label is right, relabelled, no class or wrong
export const MARKED = (dark) => [dark ? [84, 94, 108] : [196, 202, 211], [232, 148, 34], [44, 150, 102], [52, 116, 214], [158, 84, 190]];
