"""Write the table of docs/pyodide.md from the recorded run."""

import json
import re
from pathlib import Path

from conformance.pyodide import inside

ROOT = Path(__file__).parents[2]


def main() -> None:
    """Replace the table's rows."""
    record = json.loads((ROOT / "conformance/recorded/pyodide.json").read_text(encoding="utf-8"))
    page = ROOT / "docs/pyodide.md"
    text = page.read_text(encoding="utf-8")
    rows = inside.table(record)
    written = re.sub(r"(\|---\|---\|\n)(\|.*\n)*", lambda found: found[1] + rows, text)
    page.write_text(written, encoding="utf-8")


if __name__ == "__main__":
    main()
