// What three.js shows of a .glb, of .bvh files and of WebXR joints, as PNG files, in headless Chromium.
// node three.mjs PACKAGES DATA OUT SECONDS: PACKAGES is a folder with a node_modules, in it three, puppeteer-core and
// @sparticuz/chromium; DATA has hands.glb, bvh.json (names of files beside it), hands.webxr.json.

import fs from "node:fs";
import http from "node:http";
import { createRequire } from "node:module";
import path from "node:path";

const [packages, data, out, seconds] = process.argv.slice(2);
const require = createRequire(path.resolve(packages, "package.json"));
const puppeteer = require("puppeteer-core");
const given = require("@sparticuz/chromium");
const chromium = given.default ?? given;

const PAGE = `<!doctype html><script type="importmap">{"imports": {
  "three": "/node_modules/three/build/three.module.js", "three/addons/": "/node_modules/three/examples/jsm/"}}</script>
<script type="module">
import * as THREE from "three";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";
import { BVHLoader } from "three/addons/loaders/BVHLoader.js";
const renderer = new THREE.WebGLRenderer({ antialias: true, preserveDrawingBuffer: true });
renderer.setSize(400, 400);
const seconds = ${Number(seconds)}, gltf = await new GLTFLoader().loadAsync("/data/hands.glb");
const colours = [0xcc5533, 0x3366cc], ball = new THREE.SphereGeometry(0.004);

function newScene() {
  const scene = new THREE.Scene();
  scene.background = new THREE.Color(0xf2f2f2);
  const sun = new THREE.DirectionalLight(0xffffff, 2);
  sun.position.set(-1, 2, 1);
  scene.add(sun, new THREE.AmbientLight(0xffffff, 1.2));
  return scene;
}

function dot(scene, place, colour) {
  const mesh = new THREE.Mesh(ball, new THREE.MeshLambertMaterial({ color: colour }));
  mesh.position.copy(place);
  scene.add(mesh);
}

function bone(scene, from, to, colour) {
  const along = to.clone().sub(from), shaft = new THREE.CylinderGeometry(0.0022, 0.0022, along.length());
  const mesh = new THREE.Mesh(shaft, new THREE.MeshLambertMaterial({ color: colour }));
  mesh.position.copy(from).addScaledVector(along, 0.5);
  mesh.quaternion.setFromUnitVectors(new THREE.Vector3(0, 1, 0), along.normalize());
  scene.add(mesh);
}

function shot(scene) {
  scene.updateMatrixWorld(true);
  renderer.render(scene, gltf.cameras[0]);  // the file's own camera: that of the video
  return renderer.domElement.toDataURL("image/png").split(",")[1];
}

const draw = {
  glb() {
    const scene = newScene(), mixer = new THREE.AnimationMixer(gltf.scene);
    scene.add(gltf.scene);
    mixer.clipAction(gltf.animations[0]).play();
    mixer.setTime(seconds);
    return shot(scene);
  },
  async bvh() {
    const scene = newScene();
    for (const [number, name] of (await (await fetch("/data/bvh.json")).json()).entries()) {
      const { skeleton, clip } = await new BVHLoader().loadAsync("/data/" + name), root = skeleton.bones[0];
      const mixer = new THREE.AnimationMixer(root);
      mixer.clipAction(clip).play();
      mixer.setTime(seconds);
      root.updateMatrixWorld(true);
      const place = (one) => one.getWorldPosition(new THREE.Vector3()).multiplyScalar(0.01);  // cm
      for (const one of skeleton.bones) {
        dot(scene, place(one), colours[number % 2]);
        if (one.parent) bone(scene, place(one.parent), place(one), colours[number % 2]);
      }
    }
    return shot(scene);
  },
  async webxr() {
    const scene = newScene(), file = await (await fetch("/data/hands.webxr.json")).json();
    const nearest = Math.min(...file.hands.map((hand) => Math.abs(hand.time - seconds)));
    for (const hand of file.hands.filter((one) => Math.abs(one.time - seconds) === nearest)) {
      hand.positions.forEach((position, joint) => {
        const axes = new THREE.AxesHelper(0.014), place = new THREE.Vector3(...position);
        axes.position.copy(place);
        axes.quaternion.set(...hand.orientations[joint]);
        scene.add(axes);
        const base = file.joints[joint].endsWith("metacarpal") ? 0 : joint - 1;
        if (joint) bone(scene, new THREE.Vector3(...hand.positions[base]), place, 0xbbbbbb);
      });
    }
    return shot(scene);
  },
};
window.draw = (name) => draw[name]();
window.ready = true;
</script>`;

const KINDS = { ".js": "text/javascript", ".json": "application/json" };
const server = http.createServer((request, answer) => {
  const name = decodeURIComponent(request.url);
  const [, top, ...rest] = name.split("/");
  const file = top === "data" ? path.join(data, ...rest) : path.join(packages, name);
  if (name === "/") answer.setHeader("content-type", "text/html").end(PAGE);
  else if (!fs.existsSync(file)) answer.writeHead(404).end();
  else answer.setHeader("content-type", KINDS[path.extname(file)] ?? "text/plain").end(fs.readFileSync(file));
});
await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
const browser = await puppeteer.launch({
  args: [...chromium.args, "--lang=en-US"],
  executablePath: await chromium.executablePath(),
  env: { ...process.env, LANG: "en_US.UTF-8", LC_ALL: "en_US.UTF-8" },
  protocolTimeout: 600000,
});
try {
  const page = await browser.newPage();
  page.on("pageerror", (error) => console.error(String(error)));
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  await page.waitForFunction("window.ready", { timeout: 300000 });
  for (const name of ["glb", "bvh", "webxr"]) {
    const picture = await page.evaluate((which) => window.draw(which), name);
    fs.writeFileSync(path.join(out, `${name}.png`), Buffer.from(picture, "base64"));
  }
} finally {
  await browser.close();
  server.close();
}
