"""Execute `docs/notebook.ipynb`, and make a page of it for the site.

    python docs/notebook_page.py

executes the notebook in an empty folder and stores what it shows. mkdocs loads this file as a hook, which makes the
page from what is stored: nothing is executed, and nothing fetched, when the site is built.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from nbformat import NotebookNode

NOTEBOOK = Path(__file__).parent / "notebook.ipynb"
ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page to the site; a hook of mkdocs."""
    from mkdocs.structure.files import File

    source = Path(config["docs_dir"]) / NOTEBOOK.name
    page = to_markdown(json.loads(source.read_text(encoding="utf-8")))
    files.append(File.generated(config, f"{NOTEBOOK.stem}.md", content=page))
    return files


def to_markdown(notebook: dict[str, Any]) -> str:
    """The notebook as a page: text, code, and what each cell shows."""
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
        else:
            parts += [f"```python\n{source}\n```", *(_shown(output) for output in cell["outputs"])]
    return "\n\n".join(parts) + "\n"


def _shown(output: dict[str, Any]) -> str:
    if output["output_type"] == "error":
        return _fenced("\n".join(output["traceback"]))
    if output["output_type"] == "stream":
        return _fenced("".join(output["text"]))
    if (page := output["data"].get("text/html")) is not None:
        # Within a raw block a blank line would end it, and an indented one would be code.
        lines = [line.strip() for line in "".join(page).splitlines() if line.strip()]
        return "\n".join(['<div class="notebook">', *lines, "</div>"])
    return _fenced("".join(output["data"]["text/plain"]))


def _fenced(text: str) -> str:
    return f"```text\n{ESCAPES.sub('', text).rstrip()}\n```"


def executed(folder: Path) -> NotebookNode:
    """The notebook, executed in a folder, with paths relative to it and each progress bar as it was at last."""
    import nbclient
    import nbformat

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(notebook, timeout=1200, resources={"metadata": {"path": str(folder)}}).execute()
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        if cell.cell_type == "code":
            cell.metadata.pop("execution", None)  # the time of day
            cell.outputs = [_kept(output, folder) for output in _joined(cell.outputs)]
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return notebook


def _joined(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """One output for all that follows one another on a stream."""
    joined: list[NotebookNode] = []
    for output in outputs:
        if joined and output.output_type == "stream" and joined[-1].get("name") == output.name:
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def _kept(output: NotebookNode, folder: Path) -> NotebookNode:
    import nbformat

    output = nbformat.from_dict(json.loads(json.dumps(output).replace(f"{folder}/", "")))
    if output.output_type == "stream":
        # What a bar wrote over is no longer seen.
        lines = [line.rsplit("\r", 1)[-1] for line in ESCAPES.sub("", output.text).split("\n")]
        output.text = "\n".join(line.rstrip() for line in lines)
    return output


def main() -> int:
    """Execute the notebook and store it."""
    import nbformat

    with tempfile.TemporaryDirectory() as folder:
        nbformat.write(executed(Path(folder)), NOTEBOOK)
    return 0


if __name__ == "__main__":
    sys.exit(main())
