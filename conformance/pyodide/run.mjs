// Run npconv in Pyodide: node conformance/pyodide/run.mjs WHEEL [--packages FOLDER] [--json FILE]
//
// WHEEL is the built wheel. NumPy's is taken from FOLDER, by default that of the npm package; where
// it is not there, Pyodide fetches it into it. Under Node it does not compare checksums: this does.

import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { loadPyodide, version } from "pyodide";

const here = path.dirname(fileURLToPath(import.meta.url));
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { packages: { type: "string" }, json: { type: "string" } },
});
if (positionals.length !== 1) {
  console.error("usage: node run.mjs WHEEL [--packages FOLDER] [--json FILE]");
  process.exit(2);
}

const folder = path.resolve(
  values.packages ?? path.dirname(fileURLToPath(import.meta.resolve("pyodide"))),
);
const pyodide = await loadPyodide({ packageCacheDir: folder });
await pyodide.loadPackage("numpy", { messageCallback: () => {} });
const { file_name, sha256 } = pyodide.lockfile.packages.numpy;
const found = createHash("sha256").update(readFileSync(path.join(folder, file_name))).digest("hex");
if (found !== sha256) {
  console.error(`${file_name} in ${folder} is not what Pyodide ${version} was released with`);
  process.exit(2);
}
// Pyodide knows typed arrays, and not Node's own Buffer.
pyodide.unpackArchive(new Uint8Array(readFileSync(positionals[0])), "wheel");
pyodide.mountNodeFS("/conformance", path.dirname(here));
pyodide.globals.set("pyodide_version", version);
const result = pyodide.runPython(`
import sys
sys.path.insert(0, "/")
from conformance.pyodide import inside
inside.main(pyodide_version)
`);
const [passed, report] = result.toJs();
if (values.json) writeFileSync(values.json, report);
process.exit(passed ? 0 : 1);
