// Pictures through affine maps, as data/view.py's `warp` and model/sampling.py's `warped`: bilinear, the edge
// repeated beyond the picture, rounded to whole grey values; one that shrinks by 2 or more is averaged first.
// So does OpenCV 5; OpenCV 4 rounds places to 1/32 px.

import { compose, inverse } from "./geometry.js";

export class Picture {
  // data: RGBA, row by row, as of ImageData.
  constructor({ width, height, data }) {
    this.width = width;
    this.height = height;
    this.data = data;
    this.averages = new Map();
  }

  // Means of squares of `shrink` px, kept for the picture's other crops. One square of the repeated edge lies
  // before the picture and one or more behind it: the edge of what comes out is that of the picture itself.
  averaged(shrink) {
    if (!this.averages.has(shrink)) this.averages.set(shrink, average(this, shrink));
    return this.averages.get(shrink);
  }
}

function average({ width, height, data }, shrink) {
  const squares = (edge) => Math.ceil(edge / shrink) + 2;
  const [wide, high] = [squares(width), squares(height)];
  const sums = new Float64Array(4 * wide * high);
  for (let y = -shrink; y < (high - 1) * shrink; y++) {
    const from = Math.min(Math.max(y, 0), height - 1) * width;
    const to = (Math.floor(y / shrink) + 1) * wide;
    for (let x = -shrink; x < (wide - 1) * shrink; x++) {
      const source = 4 * (from + Math.min(Math.max(x, 0), width - 1));
      const target = 4 * (to + Math.floor(x / shrink) + 1);
      for (let channel = 0; channel < 3; channel++) sums[target + channel] += data[source + channel];
    }
  }
  // Rounded, halves to even, of a product in single precision, as OpenCV does; of 2 x 2 pixels upward.
  const means = new Uint8ClampedArray(sums.length);
  const share = Math.fround(1 / (shrink * shrink));
  const half = shrink === 2 ? 1e-6 : 0;
  for (let k = 0; k < sums.length; k++) means[k] = Math.fround(sums[k] * share) + half;
  return { width: wide, height: high, data: means };
}

// The crop of width x height px that `map` leads to, as planes of red, green and blue.
export function warp(picture, map, width, height) {
  const det = Math.abs(map[0] * map[4] - map[1] * map[3]);
  const shrink = Math.min(Math.floor(1 / Math.sqrt(det)), Math.max(picture.width, picture.height));
  if (shrink < 2) return sample(picture, map, width, height, 4, 1);
  const offset = -shrink / 2 - 0.5; // of the averaged picture's first pixel
  const toFull = [shrink, 0, offset, 0, shrink, offset];
  return sample(picture.averaged(shrink), compose(map, toFull), width, height, 4, 1);
}

// A crop of three planes through a map, to one of the same size.
export function warpPlanes(planes, map, width, height) {
  return sample({ width, height, data: planes }, map, width, height, 1, width * height);
}

// step: numbers from one pixel to the next, plane: from one channel to the next.
function sample(source, map, width, height, step, plane) {
  const [a, b, c, d, e, f] = inverse(map);
  const { data } = source;
  const [right, bottom] = [source.width - 1, source.height - 1];
  const out = new Uint8ClampedArray(3 * width * height);
  const count = width * height;
  for (let y = 0, place = 0; y < height; y++) {
    for (let x = 0; x < width; x++, place++) {
      const u = Math.min(Math.max(a * x + b * y + c, 0), right); // so beyond the edge is the edge
      const v = Math.min(Math.max(d * x + e * y + f, 0), bottom);
      const [column, row] = [Math.floor(u), Math.floor(v)];
      const [across, down] = [u - column, v - row];
      const top = (row * source.width + column) * step;
      const next = column < right ? step : 0;
      const below = row < bottom ? source.width * step : 0;
      for (let channel = 0, k = top; channel < 3; channel++, k += plane) {
        const upper = data[k] + (data[k + next] - data[k]) * across;
        const lower = data[k + below] + (data[k + below + next] - data[k + below]) * across;
        out[channel * count + place] = upper + (lower - upper) * down;
      }
    }
  }
  return new Uint8Array(out.buffer);
}
