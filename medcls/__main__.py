"""List the commands: `python -m medcls`."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path


def main() -> None:
    """Print each command with what it does; refuse arguments, which belong to a command."""
    known = dict(commands())
    if len(sys.argv) > 1 and sys.argv[1] not in ("-h", "--help"):
        name = sys.argv[1].removeprefix("medcls.")
        line = f"python -m medcls.{name if name in known else 'NAME'}"
        print(f"medcls: each command is a module of its own. Type: {line}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    print("python -m medcls.NAME setting=value ...      --help lists the settings of a command\n")  # noqa: T201
    for name, summary in known.items():
        print(f"  {name:<{max(map(len, known))}}  {summary}")  # noqa: T201
    print("\nFrom Python: import medcls; medcls.train(...), medcls.load(...)")  # noqa: T201


def commands() -> Iterator[tuple[str, str]]:
    """The name of each command and the first line of its docstring; nothing is imported."""
    for path in sorted(Path(__file__).parent.glob("*.py")):
        module = ast.parse(path.read_text(encoding="utf-8"))
        summary, _, usage = (ast.get_docstring(module) or "").partition(f": `python -m medcls.{path.stem}")
        if usage:
            yield path.stem, summary


if __name__ == "__main__":
    main()
