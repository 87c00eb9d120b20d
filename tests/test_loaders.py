"""Nothing that medcls loads can run code: each loader in its source is one that reads plain data.

The source is read, not run: a loader that a later change adds is found here, whatever it is used for. What such a file
does to a run is in test_hostile_runs.py and test_hostile_caches.py.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import medcls

PACKAGE = Path(medcls.__file__).parent
SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if "configurations" not in path.parts)

# A setting without which these run code, or may after a change of their default.
NEED = {
    "numpy.load": ("allow_pickle", False),
    "torch.load": ("weights_only", True),
    "jinja2.Environment": ("autoescape", True),
}

# What reads code, or runs it, by the names of modules and functions; the few places that may have it, and why.
RUN_CODE = {
    "pickle": {},
    "pickle.UnpicklingError": {
        "learning/checkpoints.py": "what torch.load raises where it refuses",
        "models/weights.py": "what torch.load raises where it refuses",
    },
    **{
        name: {}
        for name in (
            "marshal", "shelve", "dill", "cloudpickle", "joblib.load", "pandas.read_pickle", "pandas.read_hdf",
            "numpy.fromregex", "yaml.load", "yaml.load_all", "yaml.full_load", "yaml.full_load_all", "yaml.unsafe_load",
            "yaml.unsafe_load_all", "yaml.Loader", "yaml.FullLoader", "yaml.UnsafeLoader", "torch.jit.load",
            "torch.hub.load", "torch.hub.load_state_dict_from_url", "torch.package", "torch.classes", "torch.ops",
            "torch.utils.model_zoo", "torch.serialization.add_safe_globals", "torch.serialization.safe_globals",
            "mlflow.pyfunc", "mlflow.pytorch", "mlflow.sklearn", "mlflow.models", "os.system", "os.popen", "runpy",
            "xml.etree", "lxml",
        )
    },
    "torch.export.load": {"workflow/exporting.py": "the file that the export wrote a moment before"},
    "importlib.import_module": {
        "__init__.py": "modules of medcls, by names in the source",
        "cli/importing.py": "libraries, by names in the source",
    },
    "pkgutil.resolve_name": {"signatures.py": "settings as typed; a run folder's are checked by runs.stored"},
    "hydra.utils.instantiate": {"cli/building.py": "settings as typed; a run folder's are checked by runs.stored"},
    "hydra.utils.get_object": {"cli/building.py": "of settings that were built before"},
    **{f"hydra.utils.{name}": {} for name in ("call", "get_class", "get_method", "get_static_method")},
    "ctypes": {"hardware.py": "mallopt of the C library"},
    "subprocess": {
        "cli/launching.py": "the further processes of a distributed training: this command again",
        "cli/slurm.py": "scontrol, with the job's own id",
    },
}  # fmt: skip

BUILTINS = ("eval", "exec", "compile", "__import__")

# What writes a table as CSV without `csv_escaping.escaped`, and why.
UNESCAPED = {
    "data/manifest.py": "text that is hashed, not written",
    "workflow/scoring.py": "Manifest.to_csv, which escapes",
    "audit.py": "Manifest.to_csv, which escapes",
}


def aliases(tree: ast.AST) -> dict[str, str]:
    """The dotted name behind each name that an import makes."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                found[name.asname or name.name.split(".")[0]] = name.name if name.asname else name.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {name.asname or name.name: f"{node.module}.{name.name}" for name in node.names}
    return found


def dotted(node: ast.AST, known: dict[str, str]) -> str:
    """`numpy.load` of `np.load`; empty for what is no plain name."""
    if isinstance(node, ast.Name):
        return known.get(node.id, node.id)
    if isinstance(node, ast.Attribute) and (before := dotted(node.value, known)):
        return f"{before}.{node.attr}"
    return ""


def names(tree: ast.AST) -> Iterator[str]:
    """Every name that is used or imported, in full: `a`, `a.b` and `a.b.c` of `a.b.c`."""
    known = aliases(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute):
            yield dotted(node, known)
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{name.name}" for name in node.names)


def problems(source: str, place: str) -> list[str]:
    """What in a source reads more than plain data."""
    tree = ast.parse(source)
    known = aliases(tree)
    found = []
    for name in set(names(tree)):
        rule = max((one for one in RUN_CODE if name == one or name.startswith(f"{one}.")), key=len, default=None)
        # `import pickle` itself is needed for the exception.
        if rule is not None and place not in RUN_CODE[rule] and not (name == "pickle" and place in ALLOWED_PICKLE):
            found.append(name)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = dotted(node.func, known)
        if called in BUILTINS:
            found.append(called)
        settings = {keyword.arg: keyword.value for keyword in node.keywords}
        if called in NEED:
            setting, value = NEED[called]
            given = settings.get(setting)
            if not (isinstance(given, ast.Constant) and given.value is value):
                found.append(f"{called} without {setting}={value}")
        method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if method == "fit" and "ckpt_path" in settings and ast.unparse(settings.get("weights_only", node)) != "True":
            found.append("fit without weights_only=True")
        if method == "to_csv" and place not in UNESCAPED:
            of = node.func.value
            if not (isinstance(of, ast.Call) and dotted(of.func, known).endswith("csv_escaping.escaped")):
                found.append("to_csv without escaped(...)")
    return found


ALLOWED_PICKLE = RUN_CODE["pickle.UnpicklingError"]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_a_module_loads_plain_data(path):
    place = path.relative_to(PACKAGE).as_posix()
    assert problems(path.read_text(encoding="utf-8"), place) == []


@pytest.mark.parametrize(
    "line",
    [
        "import numpy as np\nnp.load(path)",
        "import numpy\nnumpy.load(path, allow_pickle=True)",
        "from numpy import load\nload(path, allow_pickle=setting)",
        "import torch\ntorch.load(path, map_location='cpu')",
        "import torch\ntorch.load(path, weights_only=False)",
        "from torch.hub import load as fetch\nfetch('a', 'b')",
        "import torch\ntorch.export.load(path)",
        "import torch\ntorch.jit.load(path)",
        "import torch\ntorch.ops.load_library(path)",
        "import yaml\nyaml.load(text, Loader=yaml.Loader)",
        "from yaml import unsafe_load\nunsafe_load(text)",
        "import pickle\npickle.loads(data)",
        "from pickle import Unpickler\nUnpickler(file).load()",
        "import joblib\njoblib.load(path)",
        "import pandas as pd\npd.read_pickle(path)",
        "def f():\n    import dill\n    return dill.load",
        "eval(text)",
        "exec(text)",
        "__import__(name)",
        "import importlib\nimportlib.import_module(name)",
        "from hydra.utils import instantiate\ninstantiate(node)",
        "import hydra\nhydra.utils.call(node)",
        "import os\nos.system(text)",
        "import subprocess\nsubprocess.run(text, shell=True)",
        "trainer.fit(model, ckpt_path=path)",
        "from jinja2 import Environment\nEnvironment(loader=loader)",
        "table.to_csv(path)",
    ],
)
def test_the_check_finds_a_loader_that_runs_code(line):
    assert problems(line, "somewhere.py")


def test_each_exception_is_still_there():
    used = {place: set(names(ast.parse((PACKAGE / place).read_text(encoding="utf-8")))) for _, place in exceptions()}
    for name, place in exceptions():
        assert any(one == name or one.startswith(f"{name}.") for one in used[place]), f"{place} has no {name}"
    assert all("to_csv" in (PACKAGE / place).read_text(encoding="utf-8") for place in UNESCAPED)


def exceptions() -> list[tuple[str, str]]:
    return [(name, place) for name, places in RUN_CODE.items() for place in places]


# Text that another template rendered, with its values escaped.
RENDERED = {"report.html.jinja": ["metric_sections|safe"]}


def test_templates_do_not_turn_escaping_off():
    templates = sorted(PACKAGE.rglob("*.jinja"))
    assert len(templates) >= 8
    for template in templates:
        text = template.read_text(encoding="utf-8").replace(" ", "")
        assert re.findall(r"\w+\|safe", text) == RENDERED.get(template.name, []) and "autoescape" not in text, template
