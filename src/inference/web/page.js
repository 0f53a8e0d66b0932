// The page: a video or the camera in, the newest frame that is answered on show. window.tempohand is for
// other programs on the page, and for tests.

import { drawHands, drawSpace } from "./draw.js";

const byId = (id) => document.getElementById(id);
const [video, status] = [byId("video"), byId("status")];
const shown = byId("picture").getContext("2d");
const space = byId("space").getContext("2d");
const layer = document.createElement("canvas"); // the mesh, before it is laid over the picture
const taken = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
const view = { hands: [], yaw: 0, pitch: 0 };

const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
const waiting = new Map(); // by number what is called when a frame is answered
let asked = 0;
let faces;
let ready, failed;
const loaded = new Promise((resolve, reject) => [ready, failed] = [resolve, reject]);
loaded.catch(() => {}); // the status says it

worker.addEventListener("message", ({ data }) => {
  if (data.loading) say(`loading ${data.loading}`);
  if (data.faces) {
    faces = data.faces;
    say("ready");
    ready();
  }
  if (data.error) say(data.error, true);
  if (data.id === undefined) {
    if (data.error) failed(new Error(data.error));
    return;
  }
  waiting.get(data.id)(data);
  waiting.delete(data.id);
});
worker.addEventListener("error", ({ message }) => {
  say(message, true);
  failed(new Error(message));
});

const script = document.querySelector("script[data-ort]");
const search = [...new URLSearchParams(location.search)]; // the Finder's options: ?maxHands=1&tiles=2
const options = Object.fromEntries(search.map(([key, value]) => [key, Number(value)]));
worker.postMessage({ ort: new URL(script.dataset.ort, location.href).href, options });

function say(words, wrong = false) {
  status.textContent = words;
  status.classList.toggle("wrong", wrong);
}

// The camera of a picture: by the field of view across its longer side, else the picture's diagonal is taken
// for its focal length (inference/camera.py).
function cameraOf({ width, height }) {
  const degrees = Number(byId("fov").value);
  const known = degrees > 0 && degrees < 180;
  const focal = known
    ? Math.max(width, height) / 2 / Math.tan((degrees * Math.PI) / 360)
    : Math.hypot(width, height);
  return { focal, princpt: [(width - 1) / 2, (height - 1) / 2] };
}

// The hands in a picture (ImageData) at a time (s) and the ms that they took; times rise, and one that does
// not begins anew. given: [{hand, isRight, box}] where hands are known.
async function run(picture, time, given) {
  await loaded;
  const id = asked++;
  const camera = cameraOf(picture);
  const answer = new Promise((resolve) => waiting.set(id, resolve));
  worker.postMessage({ id, picture, time, camera, given });
  const { hands, ms, error } = await answer;
  if (error) throw new Error(error);
  return { hands, ms, camera };
}

function show(picture, { hands, camera }) {
  Object.assign(shown.canvas, { width: picture.width, height: picture.height });
  shown.putImageData(picture, 0, 0);
  drawHands(shown, layer, hands, faces, camera);
  view.hands = hands;
  drawSpace(space, hands, faces, view.yaw, view.pitch);
}

// Frames that come while another one is worked on are dropped, so that what is shown is never old; but the
// one at which a video stops is answered.
let busy = false;
let missed; // the time of a frame that was dropped and may be the last

function newFrame(_, { mediaTime }) {
  video.requestVideoFrameCallback(newFrame);
  if (busy) missed = mediaTime;
  else answer(mediaTime);
}

async function answer(time) {
  [busy, missed] = [true, undefined];
  const begin = performance.now();
  const [width, height] = [video.videoWidth, video.videoHeight];
  Object.assign(taken.canvas, { width, height });
  taken.drawImage(video, 0, 0);
  const picture = taken.getImageData(0, 0, width, height);
  try {
    const found = await run(picture, time);
    show(picture, found);
    const hands = `${found.hands.length} hand${found.hands.length === 1 ? "" : "s"}`;
    const all = performance.now() - begin;
    say(`${hands}, ${found.ms.toFixed(0)} ms a frame (${all.toFixed(0)} with taking and drawing it)`);
  } catch (error) {
    say(error.message, true);
  }
  busy = false;
  answerLast();
}

function answerLast() {
  if (video.paused && !busy && missed !== undefined) answer(missed);
}

video.addEventListener("pause", answerLast);
byId("file").addEventListener("change", ({ target }) => {
  video.srcObject?.getTracks().forEach((track) => track.stop());
  video.srcObject = null;
  URL.revokeObjectURL(video.src);
  video.src = URL.createObjectURL(target.files[0]);
  video.play();
});
video.addEventListener("error", () => say("this browser cannot play that video", true));

byId("camera").addEventListener("click", async () => {
  try {
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: true });
    await video.play();
  } catch (error) {
    say(`no camera: ${error.message} (browsers give it to https and localhost alone)`, true);
  }
});

space.canvas.addEventListener("pointermove", (event) => {
  if (!event.buttons) return;
  view.yaw -= event.movementX / 100;
  view.pitch += event.movementY / 100;
  drawSpace(space, view.hands, faces, view.yaw, view.pitch);
});

window.tempohand = { run, show, loaded };
video.requestVideoFrameCallback(newFrame);
