// Runs a module over a file of readings; prints step, decision and the bits of the scores.
//
//     node run.mjs module.wasm readings.csv
import { readFileSync } from "node:fs";

const [, , module, readings] = process.argv;
const { instance } = await WebAssembly.instantiate(readFileSync(module), {});
const net = instance.exports;
const x = new Float32Array(net.memory.buffer, net.readings(), net.inputs());
const scores = new Uint32Array(net.memory.buffer, net.scores(), net.outputs());
const hex = (word) => word.toString(16).padStart(8, "0") + " ";
const lines = [];
const rows = readFileSync(readings, "utf8").trim().split("\n").slice(1);
rows.forEach((row, index) => {
  x.set(row.split(",").map(Number));
  const decision = net.step();
  lines.push(hex(index + 1) + hex(decision) + [...scores].map(hex).join(""));
  if (net.window() > 0 && (index + 1) % net.window() === 0) net.reset();
});
console.log(lines.join("\n"));
