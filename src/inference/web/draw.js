// Hands on canvases: a shaded mesh and the skeleton over the picture, and the mesh alone from any side.

const FINGERS = ["#ff6037", "#ffc800", "#50dc50", "#28aaff", "#c85aff"]; // as in skeleton.py
const OUTLINE = "#141418";
const ALBEDO = { true: [245, 184, 153], false: [153, 194, 245] }; // right hands warm, left hands cool
const OPACITY = 0.8; // of the mesh
const AMBIENT = 0.35;
const LIGHTS = [[-0.4, -0.7, -1.0, 0.75], [0.8, 0.2, -0.6, 0.35]]; // toward each light, and its strength
const LEAST_RADIUS = 110; // mm around the hands' middle that the view of space shows

const parent = (joint) => (joint % 4 === 1 ? 0 : joint - 1);

// The picture's hands on a canvas of its size; layer: another canvas, for the mesh.
export function drawHands(context, layer, hands, faces, { focal, princpt }) {
  const { width, height } = context.canvas;
  Object.assign(layer, { width, height }); // which empties it
  const project = ([x, y, z]) => [(focal * x) / z + princpt[0] + 0.5, (focal * y) / z + princpt[1] + 0.5];
  const nearest = (one, other) => other.trans[2] - one.trans[2];
  for (const { vertices, isRight } of hands.toSorted(nearest)) {
    if (vertices.every((vertex) => vertex[2] > 1)) {
      drawMesh(layer.getContext("2d"), vertices, faces, isRight, project, (corner) => corner);
    }
  }
  context.globalAlpha = OPACITY;
  context.drawImage(layer, 0, 0);
  context.globalAlpha = 1;
  for (const { joints2d, box } of hands) {
    const side = Math.max(box[2] - box[0], box[3] - box[1]);
    drawSkeleton(context, joints2d, Math.min(Math.max(side / 120, 1), 6));
  }
}

function drawSkeleton(context, joints, thickness) {
  const at = joints.map(([x, y]) => [x + 0.5, y + 0.5]); // a canvas counts from the first pixel's corner
  context.lineCap = "round";
  for (const [extra, colour] of [[2, () => OUTLINE], [0, (joint) => FINGERS[Math.floor((joint - 1) / 4)]]]) {
    for (let joint = 1; joint < at.length; joint++) {
      context.lineWidth = thickness + extra;
      context.strokeStyle = context.fillStyle = colour(joint);
      context.beginPath();
      context.moveTo(...at[parent(joint)]);
      context.lineTo(...at[joint]);
      context.stroke();
      context.beginPath();
      context.arc(...at[joint], thickness + extra / 2, 0, 2 * Math.PI);
      context.fill();
    }
  }
}

// Triangles, the farthest first. toward: the direction in which a corner is seen.
function drawMesh(context, vertices, faces, isRight, project, toward) {
  const at = vertices.map(project);
  const normals = vertices.map(() => [0, 0, 0]); // of vertices, so that the skin looks smooth
  const shown = [];
  for (const [first, second, third] of faces) {
    const corners = isRight ? [first, second, third] : [first, third, second]; // a mirrored mesh's order
    const [a, b, c] = corners.map((vertex) => vertices[vertex]);
    const normal = cross(minus(b, a), minus(c, a));
    for (const corner of corners) normal.forEach((value, axis) => { normals[corner][axis] += value; });
    if (dot(normal, toward(a)) < 0) shown.push({ corners, depth: a[2] + b[2] + c[2] });
  }
  context.lineWidth = 0.7; // over the seams between triangles
  for (const { corners } of shown.toSorted((one, other) => other.depth - one.depth)) {
    const [a, b, c] = corners.map((vertex) => at[vertex]);
    const normal = sum(corners.map((vertex) => normals[vertex]));
    context.fillStyle = context.strokeStyle = shade(normal, ALBEDO[isRight]);
    context.beginPath();
    context.moveTo(a[0], a[1]);
    context.lineTo(b[0], b[1]);
    context.lineTo(c[0], c[1]);
    context.closePath();
    context.fill();
    context.stroke();
  }
}

function shade(normal, albedo) {
  const length = Math.hypot(...normal) || 1;
  let light = AMBIENT;
  for (const [x, y, z, strength] of LIGHTS) {
    light += strength * Math.max(dot(normal, [x, y, z]) / (length * Math.hypot(x, y, z)), 0);
  }
  return `rgb(${albedo.map((value) => Math.min(Math.round(value * light), 255)).join(" ")})`;
}

// The hands in space, turned by yaw and pitch (radians) about their middle, without perspective.
export function drawSpace(context, hands, faces, yaw, pitch) {
  const { width, height } = context.canvas;
  context.clearRect(0, 0, width, height);
  if (!hands.length) return;
  const joints = hands.flatMap((hand) => hand.joints);
  const middle = [0, 1, 2].map((axis) => joints.reduce((sum, one) => sum + one[axis], 0) / joints.length);
  const radius = Math.max(LEAST_RADIUS, ...joints.map((joint) => Math.hypot(...minus(joint, middle))));
  const scale = (0.45 * Math.min(width, height)) / radius;
  const turn = turned(yaw, pitch);
  const project = ([x, y]) => [width / 2 + scale * x, height / 2 + scale * y];
  const placed = hands.map(({ vertices, isRight }) =>
    ({ isRight, vertices: vertices.map((vertex) => turn(minus(vertex, middle))) }));
  const depth = ({ vertices }) => vertices.reduce((sum, one) => sum + one[2], 0);
  for (const { vertices, isRight } of placed.toSorted((one, other) => depth(other) - depth(one))) {
    drawMesh(context, vertices, faces, isRight, project, () => [0, 0, 1]);
  }
}

function turned(yaw, pitch) {
  const [cy, sy, cp, sp] = [Math.cos(yaw), Math.sin(yaw), Math.cos(pitch), Math.sin(pitch)];
  return ([x, y, z]) => {
    const [u, w] = [cy * x + sy * z, cy * z - sy * x];
    return [u, cp * y - sp * w, sp * y + cp * w];
  };
}

const sum = ([a, b, c]) => a.map((value, axis) => value + b[axis] + c[axis]);
const minus = (a, b) => [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
