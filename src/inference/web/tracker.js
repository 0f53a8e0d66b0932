// Which hand is which from frame to frame, and of which side. inference/tracker.py in short: pairs are taken
// one by one, the nearest first, which of two hands is nearly always the best assignment.

import { CLOCK_S, displacement, reach } from "./history.js";

const SMOOTHING = 0.3; // the weight of the box before
const OTHER_SIDE = 0.5; // how much farther a hand of the other side counts, in box sides

export class Tracker {
  constructor(maxGap) {
    this.maxGap = maxGap;
    this.reset();
  }

  reset() {
    this.tracks = [];
    this.next = 0;
  }

  // The hands {hand, isRight, box} of a frame, in the order of what was found ({box, side, isRight}).
  update(time, found) {
    this.tracks = this.tracks.filter((track) => time - track.time <= this.maxGap + CLOCK_S);
    const pairs = this.tracks.flatMap((track) => found.map((one) => ({ track, one, far: far(track, one) })));
    const taken = new Map();
    for (const { track, one, far } of pairs.toSorted((first, second) => first.far - second.far)) {
      if (far >= reach(time - track.time) || taken.has(one)) continue;
      if (![...taken.values()].includes(track)) taken.set(one, track);
    }
    return found.map((one) => this.extended(taken.get(one), time, one));
  }

  extended(track, time, { box, side, isRight }) {
    if (!track) {
      track = { hand: this.next++, smooth: box, votes: 0, leaning: 0 };
      this.tracks.push(track);
    }
    track.smooth = box.map((value, k) => SMOOTHING * track.smooth[k] + (1 - SMOOTHING) * value);
    track.votes += isRight === undefined ? 0 : isRight ? 1 : -1;
    track.leaning += side - 0.5; // counts where no side was clear yet
    Object.assign(track, { time, box });
    return { hand: track.hand, isRight: (track.votes || track.leaning) >= 0, box: track.smooth };
  }
}

function far(track, { box, isRight }) {
  const contradicts = isRight !== undefined && track.votes !== 0 && track.votes > 0 !== isRight;
  return displacement(track.box, box) + (contradicts ? OTHER_SIDE : 0);
}
