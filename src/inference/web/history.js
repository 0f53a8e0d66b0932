// The frames that an estimate rests on. As inference/history.py and data/clips.py.

export const CLOCK_S = 1e-6; // differences of time stamps below this are rounding
const MAX_SPEED = 15; // box sides a second that a hand's box may go,
const MIN_REACH = 1; // and over less time one side all the same

// How far the box's farthest edge went, in longer sides of the smaller box.
export function displacement(before, after) {
  const sides = [before, after].map((box) => Math.max(box[2] - box[0], box[3] - box[1]));
  return Math.max(...after.map((value, k) => Math.abs(value - before[k]))) / Math.min(...sides);
}

export const reach = (elapsed) => Math.max(MIN_REACH, MAX_SPEED * elapsed);

// The history, oldest first, with one more frame {time, isRight, rays, ...}; rays: its box, of any picture.
// It begins anew after a gap, with another side and where the box jumps.
export function follow(history, seen, { history_s: limits }) {
  const last = history.at(-1);
  if (!last) return [seen];
  const elapsed = seen.time - last.time;
  const anew = elapsed > limits.most_gap + CLOCK_S || seen.isRight !== last.isRight
    || displacement(last.rays, seen.rays) > reach(elapsed);
  if (anew) return [seen];
  const before = elapsed === 0 ? history.slice(0, -1) : history;
  return [...before.filter((one) => seen.time - one.time <= limits.most_age + CLOCK_S), seen];
}

// The clip at a history's end, {frames, real}: `lookback` steps before the last frame, oldest first; a frame
// that does not exist is the earliest real one again.
export function clipOf(history, { lookback, history_s: limits }) {
  const last = history.length - 1;
  const chain = [last]; // frames one, two, ... steps before the last one
  while (chain.length <= lookback[0]) {
    const time = history[chain.at(-1)]?.time;
    chain.push(history.findLastIndex((one) => one.time <= time - limits.least_step));
  }
  const places = lookback.map((steps) => chain[steps]);
  const real = places.map((place) =>
    place >= 0 && history[last].time - history[place].time <= limits.most_age + CLOCK_S);
  const earliest = places[real.indexOf(true)];
  return { frames: places.map((place, k) => history[real[k] ? place : earliest]), real };
}
