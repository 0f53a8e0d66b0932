// Hands over time: one pass of encode.onnx a hand and frame, then decode.onnx over the hand's last frames. As
// inference/predictor.py and model/spatial.py's `seen_upright`.

import { centre } from "./boxes.js";
import { apply, compose, cropMap, fingersAngle, mirrorMap, turnAbout } from "./geometry.js";
import { clipOf, follow } from "./history.js";
import { warp, warpPlanes } from "./picture.js";

export class Predictor {
  constructor(networks) {
    this.networks = networks;
    this.about = networks.about;
    this.crop = this.about.crop; // {height, width, expansion}
    this.reset();
  }

  reset() {
    this.histories = new Map();
  }

  // Forgets every hand but these.
  keep(hands) {
    for (const hand of this.histories.keys()) if (!hands.has(hand)) this.histories.delete(hand);
  }

  // What is seen of {hand, isRight, box} in a picture at `time` (s): joints and vertices [n][3] in the
  // camera's space, mm, pose, joints2d [21][2] in px. camera: {focal, princpt}, px.
  async push(picture, camera, time, { hand, isRight, box }) {
    const crop = cropOf(picture, camera, box, isRight, this.crop);
    const features = await this.encoded(crop);
    const { focal, princpt } = camera;
    const rays = box.map((value, k) => (value - princpt[k % 2]) / focal);
    const seen = { time, isRight, rays, features, focal: crop.focal, princpt: crop.princpt };
    const history = follow(this.histories.get(hand) ?? [], seen, this.about);
    this.histories.set(hand, history);
    const clip = clipOf(history, this.about);
    const values = await this.networks.run("decode", this.decoderInputs(clip));
    return { hand, isRight, box, time, history: clip.real.filter(Boolean).length,
      ...inPicture(values, crop, camera, isRight, this.crop) };
  }

  // The features of a crop, turned until its fingers point up, with the turn behind them.
  async encoded(crop) {
    const { turns, most_times: mostTimes } = this.about.upright;
    let features = await this.features(crop);
    if (!turns) return features;
    let turn = 0;
    for (let k = 0; k < mostTimes; k++) {
      const more = turnUpright(features, this.about);
      if (more === 0) break;
      turn += more;
      features = await this.features(turned(crop, turn, this.crop));
    }
    return Float32Array.of(...features, turn);
  }

  async features({ image, focal, princpt }) {
    const { features } = await this.networks.run("encode", {
      image: ["uint8", image, [1, 3, this.crop.height, this.crop.width]],
      focal: ["float32", [focal, focal], [1, 2]],
      princpt: ["float32", princpt, [1, 2]],
    });
    return features;
  }

  decoderInputs({ frames, real }) {
    const length = frames.length;
    const now = frames.at(-1).time;
    const flat = (of) => frames.flatMap((frame) => [...of(frame)]);
    const inputs = {
      features: ["float32", flat((frame) => frame.features), [1, length, frames[0].features.length]],
      focal: ["float32", flat((frame) => [frame.focal, frame.focal]), [1, length, 2]],
      princpt: ["float32", flat((frame) => frame.princpt), [1, length, 2]],
    };
    if (length === 1) return inputs; // of Stage 1
    return {
      ...inputs,
      time: ["float32", frames.map((frame) => frame.time - now), [1, length]],
      frame_mask: ["bool", Uint8Array.from(real), [1, length]],
    };
  }
}

// The crop around a box {image, focal, princpt}, of a left hand mirrored.
export function cropOf(picture, { focal, princpt }, box, isRight, { height, width, expansion }) {
  const mirror = isRight ? [1, 0, 0, 0, 1, 0] : mirrorMap(picture.width);
  const side = expansion * Math.max(box[2] - box[0], box[3] - box[1]);
  const map = cropMap(apply(mirror, centre(box)), side, width, height);
  return {
    image: warp(picture, compose(map, mirror), width, height),
    focal: focal * map[0],
    princpt: apply(map, apply(mirror, princpt)),
  };
}

// By how much a crop has to turn, of its features; 0 where it is nearly upright.
export function turnUpright(features, { features: { token, readings: [count, width] }, upright }) {
  const joints = Array.from({ length: count }, (_, k) =>
    [0, 1].map((axis) => features[token + k * width + axis]));
  const angle = fingersAngle(joints);
  const steps = upright.steps_a_radian;
  return Math.abs(angle) > upright.least_radians ? Math.round(-angle * steps) / steps : 0;
}

// A crop turned about its middle, with its camera.
export function turned({ image, focal, princpt }, turn, { height, width }) {
  const map = turnAbout([(width - 1) / 2, (height - 1) / 2], turn);
  return { image: warpPlanes(image, map, width, height), focal, princpt: apply(map, princpt) };
}

// decode.onnx's values in the picture's camera space and pixels: a left hand mirrored back.
function inPicture(values, crop, camera, isRight, { height, width }) {
  const { pose, joints, vertices, joints2d, trans, shape } = values;
  const flip = isRight ? 1 : -1;
  const points = (flat) => Array.from({ length: flat.length / 3 }, (_, k) =>
    [flip * flat[3 * k], flat[3 * k + 1], flat[3 * k + 2]]);
  const pixel = (k, axis) => {
    const ray = ((joints2d[2 * k + axis] + 0.5) * [width, height][axis] - crop.princpt[axis]) / crop.focal;
    return (axis === 0 ? flip : 1) * ray * camera.focal + camera.princpt[axis];
  };
  return {
    pose: Array.from(pose, (value, k) => (k % 3 === 0 ? 1 : flip) * value),
    shape: Array.from(shape),
    trans: points(trans)[0],
    joints: points(joints),
    vertices: points(vertices),
    joints2d: Array.from({ length: 21 }, (_, k) => [pixel(k, 0), pixel(k, 1)]),
  };
}
