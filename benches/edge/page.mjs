// Opens the page of an exported folder in headless Chromium, replays a file of readings, then hands
// some to the motion sensors; prints step, decision and the bits of the scores of the replay.
//
//     node page.mjs FOLDER readings.csv CHROMEDRIVER CHROMIUM PICTURE
//
// The programs are those of Debian's packages chromium and chromium-driver, with libraries in
// $EDGE_LIBRARIES; nothing else is needed.
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { extname, join, resolve } from "node:path";

const [, , folder, readings, chromedriver, chromium, picture] = process.argv;
const types = { ".html": "text/html", ".mjs": "text/javascript", ".wasm": "application/wasm" };
const server = createServer((request, response) => {
  const name = request.url === "/" ? "index.html" : request.url.slice(1).replace(/[^\w.]/g, "");
  try {
    const content = readFileSync(join(folder, name));
    response.writeHead(200, { "content-type": types[extname(name)] ?? "text/plain" }).end(content);
  } catch {
    response.writeHead(404).end();
  }
});
await new Promise((done) => server.listen(0, "127.0.0.1", done));

const env = { ...process.env, LD_LIBRARY_PATH: process.env.EDGE_LIBRARIES ?? "" };
const driver = spawn(chromedriver, ["--port=0"], { stdio: ["ignore", "pipe", "ignore"], env });
const port = await new Promise((done, fail) => {
  let text = "";
  driver.stdout.on("data", (data) => {
    text += data;
    const found = text.match(/started successfully on port (\d+)/);
    if (found) done(found[1]);
  });
  driver.on("exit", () => fail(new Error(`chromedriver ended: ${text}`)));
});

async function call(method, path, body) {
  const response = await fetch(`http://127.0.0.1:${port}${path}`, { method, body: body && JSON.stringify(body) });
  const { value } = await response.json();
  if (value?.error) throw new Error(`${path}: ${value.message}`);
  return value;
}

const profile = mkdtempSync(join(tmpdir(), "spikelet-page-"));
const args = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
  "--disable-dev-shm-usage", "--window-size=800,900", `--user-data-dir=${profile}`];
const chrome = { browserName: "chrome", "goog:chromeOptions": { binary: chromium, args } };
let session;
try {
  const { sessionId } = await call("POST", "/session", { capabilities: { alwaysMatch: chrome } });
  session = `/session/${sessionId}`;
  const run = (script, ...args) => call("POST", `${session}/execute/sync`, { script, args });
  const until = async (what, script, ...args) => {
    for (let k = 0; k < 300; ++k) {
      if (await run(script, ...args)) return;
      await new Promise((done) => setTimeout(done, 100));
    }
    throw new Error(`the page did not come to: ${what}`);
  };
  await call("POST", `${session}/url`, { url: `http://127.0.0.1:${server.address().port}/` });
  await until("ready", "return document.body.dataset.ready === 'yes'");
  await run(`window.found = [];
    document.addEventListener("step", ({ detail: { decision, scores, spikes } }) =>
      window.found.push([decision, scores, spikes.reduce((sum, spike) => sum + spike, 0)]));`);
  const input = await call("POST", `${session}/element`, { using: "css selector", value: "#file" });
  await call("POST", `${session}/element/${Object.values(input)[0]}/value`, { text: resolve(readings) });
  const steps = readFileSync(readings, "utf8").trim().split("\n").length - 1;
  await until("the end of the recording", "return window.found.length >= arguments[0]", steps);
  const found = await run("return window.found");
  writeFileSync(picture, Buffer.from(await call("GET", `${session}/screenshot`), "base64"));
  const drawn = await run(`const canvas = document.getElementById("raster");
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    let dark = 0;
    for (let k = 3; k < data.length; k += 4) dark += data[k] > 0;
    return dark;`);
  const spikes = found.slice(-320).reduce((sum, [, , spikes]) => sum + spikes, 0);
  if (drawn === 0 || drawn > spikes) throw new Error(`${drawn} points drawn of ${spikes} spikes`);
  await motion(run);
  const float = process.env.EDGE_FLOAT === "1";
  const word = new DataView(new ArrayBuffer(4));
  const hex = (n) => (n >>> 0).toString(16).padStart(8, "0") + " ";
  const bits = (score) => {
    if (float) word.setFloat32(0, score);
    else word.setInt32(0, score);
    return word.getInt32(0);
  };
  console.log(found.map(([decision, scores], index) =>
    hex(index + 1) + hex(decision) + scores.map((score) => hex(bits(score))).join("")).join("\n"));
} finally {
  if (session) await call("DELETE", session).catch(() => {});
  driver.kill();
  server.close();
  rmSync(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
}

// What the sensors of a phone say: a step an event, or a reason why this network has none of them.
async function motion(run) {
  const result = await run(`window.found = [];
    document.getElementById("motion").click();
    await new Promise((done) => setTimeout(done, 100));
    for (let k = 0; k < 5; ++k) {
      dispatchEvent(new DeviceMotionEvent("devicemotion", {
        accelerationIncludingGravity: { x: k, y: 1, z: 9.81 },
        rotationRate: { alpha: 10, beta: 20, gamma: 30 } }));
    }
    return [window.found.length, document.getElementById("state").textContent];`);
  const [steps, state] = result;
  if (steps !== 5 && !state.includes("motion sensors do not give")) {
    throw new Error(`5 motions gave ${steps} steps: ${state}`);
  }
}
