"""npconv in WebAssembly: `run.mjs` starts Pyodide under Node, `inside` runs there."""
