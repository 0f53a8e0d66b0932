// What the palm detector's numbers mean: anchors, boxes and keypoints, suppression. As model/palms.py.

import { intersectionOverUnion } from "./boxes.js";

const STEPS = [[8, 2], [16, 6]]; // px of a cell, and anchors in it; the larger map's first
const KEYPOINTS = 7;
export const SAME_PALM_IOU = 0.3;

// The palms {score, box, keypoints} of a picture of width x height px whose score is at least `least`, the
// surest first. scores: log odds; coordinates: 18 numbers an anchor, relative to its centre.
export function palmsOf(scores, coordinates, width, height, least) {
  const found = [];
  anchorCentres(width, height).forEach((anchor, place) => {
    const score = 1 / (1 + Math.exp(-scores[place]));
    if (score >= least) found.push({ score, ...decoded(coordinates, 18 * place, anchor) });
  });
  return suppressed(found);
}

// The cells' middles, row by row, as often as they have anchors.
export function anchorCentres(width, height) {
  const centres = [];
  for (const [step, anchors] of STEPS) {
    for (let y = 0; y < height / step; y++) {
      for (let x = 0; x < width / step; x++) {
        const centre = [(x + 0.5) * step - 0.5, (y + 0.5) * step - 0.5];
        for (let k = 0; k < anchors; k++) centres.push(centre);
      }
    }
  }
  return centres;
}

function decoded(values, first, [x, y]) {
  const pair = (k) => [values[first + 2 * k], values[first + 2 * k + 1]];
  const [[cx, cy], [width, height]] = [pair(0), pair(1)];
  const box = [x + cx - width / 2, y + cy - height / 2, x + cx + width / 2, y + cy + height / 2];
  const keypoints = [];
  for (let k = 0; k < KEYPOINTS; k++) {
    const [u, v] = pair(2 + k);
    keypoints.push([x + u, y + v]);
  }
  return { box, keypoints };
}

// The best palm and all that overlap it become one: their mean weighted by score, with the best's score.
function suppressed(palms) {
  let left = palms.toSorted((one, other) => other.score - one.score);
  const merged = [];
  while (left.length) {
    const best = left[0];
    const same = left.filter((palm) =>
      palm === best || intersectionOverUnion(best.box, palm.box) > SAME_PALM_IOU);
    left = left.filter((palm) => !same.includes(palm));
    const total = same.reduce((sum, palm) => sum + palm.score, 0);
    const mean = (of) => same.reduce((sum, palm) => sum + palm.score * of(palm), 0) / total;
    merged.push({
      score: best.score,
      box: best.box.map((_, k) => mean((palm) => palm.box[k])),
      keypoints: best.keypoints.map((_, k) => [0, 1].map((axis) => mean((palm) => palm.keypoints[k][axis]))),
    });
  }
  return merged;
}
