// The thread that predicts, so that the page stays alive meanwhile. It is told {ort, options} once, then for
// each frame {id, picture, time, camera, given}; it answers {faces}, {loading}, {error} and {id, hands, ms}.

import { Finder } from "./finder.js";
import { Networks } from "./networks.js";
import { Picture } from "./picture.js";
import { Predictor } from "./predictor.js";
import { Tracker } from "./tracker.js";

let finder, tracker, predictor;
let last = -Infinity;

async function load(ort, options) {
  const networks = await Networks.load(ort, (loading) => postMessage({ loading }));
  finder = new Finder(networks, options);
  tracker = new Tracker(networks.about.history_s.most_gap);
  predictor = new Predictor(networks);
  postMessage({ faces: networks.about.faces });
}

function reset() {
  for (const part of [finder, tracker, predictor]) part.reset();
}

// The hands of a frame. given: [{hand, isRight, box}] where the hands are known; else they are looked for.
async function run({ picture: image, time, camera, given }) {
  if (time < last) reset(); // another video, or this one from an earlier place
  last = time;
  const picture = new Picture(image);
  const hands = given ?? tracker.update(time, await finder.next(picture));
  const found = [];
  for (const hand of hands) found.push(await predictor.push(picture, camera, time, hand));
  if (!given) predictor.keep(new Set(tracker.tracks.map((track) => track.hand)));
  return found;
}

addEventListener("message", async ({ data }) => {
  try {
    if (data.ort) {
      await load(data.ort, data.options);
      return;
    }
    const begin = performance.now();
    const hands = await run(data);
    postMessage({ id: data.id, hands, ms: performance.now() - begin });
  } catch (error) {
    postMessage({ id: data.id, error: String(error?.message ?? error) });
  }
});
