// Hands in pictures: palms, a second look by the landmark network, and hands followed from frame to frame by
// their landmarks. As inference/palm_finder.py and inference/palm_following.py.

import { area, centreInside, firstOfEach, intersectionOverUnion, SAME_HAND_IOU, sameHand } from "./boxes.js";
import { apply, bounds, cropMap, inverse } from "./geometry.js";
import { palmsOf, SAME_PALM_IOU } from "./palms.js";
import { warp } from "./picture.js";
import { squareMap, squareOfLandmarks, squareOfPalm } from "./squares.js";

const PALM = { size: 192, step: 32, nearest: 0.5, larger: 2.5, score: 0.4, most: 16 };
const CROP = 224; // px, of the landmark network
const SAME_SQUARE = 0.25; // of a known hand's square: palms whose square's centre is nearer are its own
const PRESENCE = 0.5;
const CLEAR_SIDE = 0.8; // probability of a side from which on it is told,
const SURE_SIDE = 0.95; // and from which on it is sure

export class Finder {
  // tiles: how many times as small as a sixth of the picture's longer edge a hand may be; every: frames from
  // one look of the palm detector to the next.
  constructor(networks, { tiles = 1, maxHands = 2, every = 5 } = {}) {
    Object.assign(this, { networks, maxHands, every });
    const count = Math.ceil(Math.log(tiles / PALM.nearest) / Math.log(PALM.larger) - 1e-9) + 1;
    this.enlargements = Array.from({ length: count }, (_, k) =>
      PALM.nearest * (tiles / PALM.nearest) ** (count > 1 ? k / (count - 1) : 0));
    this.reset();
  }

  reset() {
    this.known = []; // joints in the frame before
    this.wait = 0; // frames until the palm detector looks
    this.size = "";
  }

  // The hands {joints, presence, side, box, isRight} of the next frame, the surest first. isRight: undefined
  // where the side is not clear.
  async next(picture) {
    const size = `${picture.width} x ${picture.height}`;
    if (size !== this.size) this.reset();
    this.size = size;
    const looks = this.wait === 0;
    const found = await this.find(picture, this.known, looks);
    const hands = found.filter((hand) => hand.presence >= PRESENCE).slice(0, this.maxHands);
    const lost = hands.length < this.known.length;
    this.wait = lost ? 0 : looks ? this.every - 1 : this.wait - 1;
    this.known = hands.map((hand) => hand.joints);
    return hands;
  }

  async find(picture, known, looks) {
    let joints = known;
    if (looks) {
      const squares = await this.palmSquares(picture, known.map(squareOfLandmarks));
      joints = [...known, ...(await this.look(picture, squares)).map((hand) => hand.joints)];
    }
    const found = await this.look(picture, joints.map(squareOfLandmarks));
    const inside = found.filter((hand) => centreInside(hand.box, picture) && area(hand.box) > 0);
    return firstOfEach(
      inside.toSorted((one, other) => other.presence - one.presence),
      (one, other) => isSame(one, other, picture),
    );
  }

  // The squares around the hands of palms, but those that lie on a known one.
  async palmSquares(picture, known) {
    const found = [];
    for (const enlargement of this.enlargements) {
      const { width, height, map } = fit(picture, enlargement);
      const image = ["uint8", warp(picture, map, width, height), [1, 3, height, width]];
      const { scores, coordinates } = await this.networks.run("palms", { image });
      const back = inverse(map);
      for (const palm of palmsOf(scores, coordinates, width, height, PALM.score)) {
        const [left, top, right, bottom] = palm.box;
        const box = [...apply(back, [left, top]), ...apply(back, [right, bottom])];
        found.push({ score: palm.score, box, keypoints: palm.keypoints.map((point) => apply(back, point)) });
      }
    }
    found.sort((one, other) => other.score - one.score);
    const overlap = (one, other) => intersectionOverUnion(one.box, other.box) > SAME_PALM_IOU;
    return firstOfEach(found, overlap)
      .map(squareOfPalm)
      .filter(({ centre }) => known.every((other) =>
        Math.hypot(centre[0] - other.centre[0], centre[1] - other.centre[1]) > SAME_SQUARE * other.side))
      .slice(0, PALM.most);
  }

  // What the landmark network sees in squares of the picture.
  async look(picture, squares) {
    const seen = [];
    for (const square of squares) {
      const map = squareMap(square, CROP);
      const image = ["uint8", warp(picture, map, CROP, CROP), [1, 3, CROP, CROP]];
      const { screen, presence, side } = await this.networks.run("landmarks", { image });
      const back = inverse(map);
      const joints = Array.from({ length: 21 }, (_, k) => apply(back, [screen[3 * k], screen[3 * k + 1]]));
      const certainty = Math.max(side[0], 1 - side[0]);
      seen.push({
        joints,
        box: bounds(joints),
        presence: presence[0],
        side: side[0],
        isRight: certainty >= CLEAR_SIDE ? side[0] > 0.5 : undefined,
      });
    }
    return seen;
  }
}

// The picture with its longer edge `enlargement` times the detector's, in the middle of the smallest picture
// of whole steps that holds it.
export function fit(picture, enlargement) {
  const scale = (enlargement * PALM.size) / Math.max(picture.width, picture.height);
  const [width, height] = [picture.width, picture.height].map(
    (edge) => Math.ceil((edge * scale) / PALM.step - 1e-9) * PALM.step);
  const centre = [(picture.width - 1) / 2, (picture.height - 1) / 2];
  return { width, height, map: cropMap(centre, Math.min(width, height) / scale, width, height) };
}

// Whether two boxes show the same hand; a right and a left hand laid on each other, both sure, are two unless
// their boxes are nearly the same.
function isSame(one, other, picture) {
  if (!sameHand(one.box, other.box, picture)) return false;
  const sure = (hand) => Math.abs(hand.side - 0.5) >= SURE_SIDE - 0.5;
  const opposite = one.side > 0.5 !== other.side > 0.5 && sure(one) && sure(other);
  return !opposite || intersectionOverUnion(one.box, other.box) > SAME_HAND_IOU;
}
