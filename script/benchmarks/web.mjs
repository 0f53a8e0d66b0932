// Frames through the page of tempohand web in headless Chromium: node web.mjs MODULES ADDRESS REQUEST ANSWER.
// MODULES has the npm packages puppeteer-core and @sparticuz/chromium. REQUEST: [{file, time, given}] as
// JSON; ANSWER: [{hands, ms}].

import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [modules, address, request, answer] = process.argv.slice(2);
const require = createRequire(`${modules}/`);
const load = async (name) => (await import(pathToFileURL(require.resolve(name)))).default;
const [puppeteer, chromium] = [await load("puppeteer-core"), await load("@sparticuz/chromium")];
const browser = await puppeteer.launch({
  args: [...chromium.args, "--no-sandbox"],
  executablePath: await chromium.executablePath(),
  headless: "shell",
  env: { ...process.env, LANG: "en_US.UTF-8" }, // without a language Chromium does not start
});
try {
  const page = await browser.newPage();
  await page.goto(new URL("page/index.html", address).href, { waitUntil: "load" });
  await page.evaluate(() => window.tempohand.loaded);
  const found = [];
  for (const { file, time, given } of JSON.parse(readFileSync(request))) {
    found.push(await page.evaluate(predicted, new URL(file, address).href, time, given));
  }
  writeFileSync(answer, JSON.stringify(found));
} finally {
  await browser.close();
}

async function predicted(file, time, given) {
  const exact = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
  const picture = await createImageBitmap(await (await fetch(file)).blob(), exact);
  const context = new OffscreenCanvas(picture.width, picture.height).getContext("2d");
  context.drawImage(picture, 0, 0);
  const image = context.getImageData(0, 0, picture.width, picture.height);
  const { hands, ms } = await window.tempohand.run(image, time, given ?? undefined);
  return { ms, hands: hands.map(({ hand, isRight, joints }) => ({ hand, isRight, joints })) };
}
