// Boxes, xyxy in px: what they have in common, and which show one hand. As boxes.py.

const SAME_HAND_SHARE = 0.8; // two of which one covers more than this share of the other show one hand
export const SAME_HAND_IOU = 0.5; // and so do two whose intersection over union is more

export const area = (box) => (box[2] - box[0]) * (box[3] - box[1]);

export const centre = (box) => [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2];

function intersection(one, other) {
  const width = Math.min(one[2], other[2]) - Math.max(one[0], other[0]);
  const height = Math.min(one[3], other[3]) - Math.max(one[1], other[1]);
  return Math.max(width, 0) * Math.max(height, 0);
}

export function intersectionOverUnion(one, other) {
  const common = intersection(one, other);
  return common / (area(one) + area(other) - common);
}

// Whether a box's centre lies on the pixels of a picture.
export function centreInside(box, { width, height }) {
  const [x, y] = centre(box);
  return x >= 0 && x <= width - 1 && y >= 0 && y <= height - 1;
}

// Whether two boxes show one hand, by their parts in the picture: where the border cuts a hand off, one box
// may bound all of it and another what is seen of it.
export function sameHand(one, other, { width, height }) {
  const edges = [width - 0.5, height - 0.5, width - 0.5, height - 0.5];
  const [first, second] = [one, other].map((box) =>
    box.map((value, k) => Math.min(Math.max(value, -0.5), edges[k])));
  const covered = intersection(first, second) / Math.max(Math.min(area(first), area(second)), 1e-9);
  return intersectionOverUnion(first, second) > SAME_HAND_IOU || covered > SAME_HAND_SHARE;
}

// What is not the same as an earlier one that is kept.
export function firstOfEach(items, same) {
  const kept = [];
  for (const item of items) {
    if (!kept.some((other) => same(item, other))) kept.push(item);
  }
  return kept;
}
