// From a palm or a hand's landmarks to the turned square of the picture in which its fingers point up. As
// model/hand_crops.py.

import { apply, bounds, compose, cropMap, fingersAngle, turnAbout, upwardAngle } from "./geometry.js";

const PALM = { shift: 0.5, expansion: 2.6, wrist: 0, middle: 2 }; // the last two: keypoints of a palm
const TRACK = { shift: 0.1, expansion: 2.0 };
const TRACKED = [0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18]; // joints whose bounds are followed

// A square is {centre, side, angle}; its map leads from the picture to a crop of size x size px.
export function squareMap({ centre, side, angle }, size) {
  return compose(cropMap(centre, side, size, size), turnAbout(centre, -angle));
}

export function squareOfPalm({ box, keypoints }) {
  const angle = upwardAngle(keypoints[PALM.wrist], keypoints[PALM.middle]);
  return around(box, angle, PALM);
}

export function squareOfLandmarks(joints) {
  const angle = fingersAngle(joints);
  const upright = turnAbout([0, 0], -angle);
  return around(bounds(TRACKED.map((joint) => apply(upright, joints[joint]))), angle, TRACK, true);
}

// The square around a rectangle turned by `angle`: moved up along its own axis by `shift` of its height, then
// `expansion` times its longer side wide. along: the rectangle is given along its own axes.
function around([left, top, right, bottom], angle, { shift, expansion }, along = false) {
  const middle = [(left + right) / 2, (top + bottom) / 2];
  const [x, y] = along ? apply(turnAbout([0, 0], angle), middle) : middle;
  const [width, height] = [right - left, bottom - top];
  const up = shift * height;
  return {
    centre: [x + up * Math.sin(angle), y - up * Math.cos(angle)],
    side: expansion * Math.max(width, height),
    angle,
  };
}
