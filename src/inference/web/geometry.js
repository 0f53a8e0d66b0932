// Points, turns and affine maps of pictures: pixel centres at integers, x right, y down. As geometry.py.
// A map is [a, b, c, d, e, f]: x' = a x + b y + c, y' = d x + e y + f. An angle is in radians, clockwise as
// seen.

const FINGER_BASES = [5, 9, 13]; // of index, middle and ring finger

export function compose(second, first) {
  const [a, b, c, d, e, f] = second;
  const [p, q, r, s, t, u] = first;
  return [a * p + b * s, a * q + b * t, a * r + b * u + c, d * p + e * s, d * q + e * t, d * r + e * u + f];
}

export function inverse([a, b, c, d, e, f]) {
  const det = a * e - b * d;
  return [e / det, -b / det, (b * f - c * e) / det, -d / det, a / det, (c * d - a * f) / det];
}

export function apply([a, b, c, d, e, f], [x, y]) {
  return [a * x + b * y + c, d * x + e * y + f];
}

// The turn by an angle about a point, which stays where it is.
export function turnAbout([x, y], angle) {
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  return [cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y];
}

// The map of a crop of width x height px: `centre` lands on its centre, `side` px become its shorter edge.
export function cropMap(centre, side, width, height) {
  const scale = Math.min(width, height) / side;
  return [scale, 0, (width - 1) / 2 - centre[0] * scale, 0, scale, (height - 1) / 2 - centre[1] * scale];
}

// u -> width - 1 - u.
export function mirrorMap(width) {
  return [-1, 0, width - 1, 0, 1, 0];
}

// A direction's angle from the picture's upward one, in [-pi, pi].
export function upwardAngle(start, end) {
  return Math.atan2(end[0] - start[0], start[1] - end[1]);
}

// Where a hand's fingers point: from the wrist to between the bases of index and ring finger and the middle
// one's.
export function fingersAngle(joints) {
  const [index, middle, ring] = FINGER_BASES.map((joint) => joints[joint]);
  const end = [0, 1].map((axis) => ((index[axis] + ring[axis]) / 2 + middle[axis]) / 2);
  return upwardAngle(joints[0], end);
}

// The bounds of points, xyxy.
export function bounds(points) {
  const [x, y] = [0, 1].map((axis) => points.map((point) => point[axis]));
  return [Math.min(...x), Math.min(...y), Math.max(...x), Math.max(...y)];
}
