// Runs a module over a file of readings; prints step, decision and the bits of the scores.
//
//     node wasm.mjs FOLDER module.wasm readings.csv
import { readFileSync } from "node:fs";
import { resolve } from "node:path";

const [, , folder, module, readings] = process.argv;
const { load } = await import(resolve(folder, "network.mjs"));
const net = await load(readFileSync(module));
const word = new DataView(new ArrayBuffer(4));
const hex = (n) => (n >>> 0).toString(16).padStart(8, "0") + " ";
// Integers print as they are, floats as the bits of their number.
const isFloat = process.env.EDGE_FLOAT === "1";
const bits = (score) => {
  if (isFloat) word.setFloat32(0, score);
  else word.setInt32(0, score);
  return word.getInt32(0);
};
const lines = [];
const rows = readFileSync(readings, "utf8").trim().split("\n").slice(1);
rows.forEach((row, index) => {
  const { decision, scores } = net.step(row.split(",").map(Number));
  const words = scores.map((score) => hex(bits(score)));
  lines.push(hex(index + 1) + hex(decision) + words.join(""));
  if (net.window > 0 && (index + 1) % net.window === 0) net.reset();
});
console.log(lines.join("\n"));
