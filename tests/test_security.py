"""What is read cannot run: no pickle, no code, no unsafe YAML, no shell, in the three packages."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("trials", "orchestrator", "dashboards")
SOURCES = {
    str(path.relative_to(ROOT)): path.read_text("utf-8")
    for name in PACKAGES
    for path in sorted((ROOT / name).rglob("*.py"))
}

MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib", "code"}
CALLS = {
    "eval",
    "exec",
    "compile",
    "os.system",
    "os.popen",
    "torch.load",
    "torch.hub.load",
    "torch.jit.load",
    "pd.read_pickle",
    "yaml.unsafe_load",
    "yaml.full_load",
    "yaml.load_all",
    "mlflow.pytorch.log_model",
    "mlflow.pyfunc.load_model",
}
READS_PICKLES = "trials/data/readers/cifar10.py"
"""CIFAR-10 is published as pickles; a batch is opened after its digest."""

READS_CHECKPOINTS = "trials/model/pickled.py"
"""`lotus import`, by torch's reader that knows tensors and plain values only."""


def unsafe(source: str) -> list[str]:
    """What in a module could run something that was read."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [one.name for one in node.names if one.name.split(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MODULES:
            found.append(str(node.module))
        elif isinstance(node, ast.Call):
            found += _unsafe_call(node)
    return found


def _unsafe_call(node: ast.Call) -> list[str]:
    name = ast.unparse(node.func)
    given = {one.arg: ast.unparse(one.value) for one in node.keywords}
    found = [name] if name in CALLS else []
    if given.get("shell") not in (None, "False"):
        found.append("shell=True")
    if given.get("allow_pickle") not in (None, "False"):
        found.append("allow_pickle=True")
    if name == "yaml.load" and given.get("Loader") != "_Loader":
        found.append("yaml.load")
    if name.endswith("select_autoescape") or given.get("autoescape", "True") != "True":
        found.append("autoescape")
    return found


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import pickle", ["pickle"]),
        ("def f():\n  from dill import loads", ["dill"]),
        ("x = eval('1')", ["eval"]),
        ("torch.load(p, weights_only=True)", ["torch.load"]),
        ("np.load(p, allow_pickle=True)", ["allow_pickle=True"]),
        ("np.load(p, allow_pickle=False)", []),
        ("yaml.load(t, Loader=yaml.Loader)", ["yaml.load"]),
        ("yaml.load(t)", ["yaml.load"]),
        ("yaml.load(t, Loader=_Loader)", []),
        ("subprocess.run(c, shell=True)", ["shell=True"]),
        ("Environment(autoescape=False)", ["autoescape"]),
        ("re.compile('a')", []),
    ],
)
def test_the_reader_sees_what_could_run(source: str, expected: list[str]) -> None:
    assert unsafe(source) == expected


@pytest.mark.parametrize("path", sorted(SOURCES))
def test_nothing_that_is_read_can_run(path: str) -> None:
    allowed = {READS_PICKLES: ["pickle"], READS_CHECKPOINTS: ["torch.load"]}
    assert unsafe(SOURCES[path]) == allowed.get(path, [])


def test_checkpoints_are_read_as_weights_only() -> None:
    calls = [
        {one.arg: ast.unparse(one.value) for one in node.keywords}
        for node in ast.walk(ast.parse(SOURCES[READS_CHECKPOINTS]))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load"
    ]
    assert [call["weights_only"] for call in calls] == ["True"]


def test_the_yaml_loader_is_the_safe_one() -> None:
    import yaml

    from orchestrator.planning.sweepfile import _Loader

    assert issubclass(_Loader, yaml.SafeLoader)
    for tag in ("python/object/apply:os.system", "python/name:os.system", "python/tuple"):
        with pytest.raises(yaml.YAMLError):
            yaml.load(f"!!{tag} [true]", Loader=_Loader)  # noqa: S506 - that is the question


def test_pickles_are_read_in_one_place_after_their_digest() -> None:
    """The digest of the very bytes that are opened is compared before they are."""
    tree = ast.parse(SOURCES[READS_PICKLES])
    uses = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "pickle"
    ]
    assert [node.attr for node in uses] == ["loads"]
    (reader,) = (
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and "pickle.loads" in ast.unparse(node)
    )
    text = ast.unparse(reader)
    order = [
        text.index("content = path.read_bytes()"),
        text.index("digest = hashlib.md5(content"),
        text.index("if digest != MD5[path.name]:"),
        text.index("raise DataError", text.index("if digest != ")),
        text.index("pickle.loads(content"),
    ]
    assert order == sorted(order)


def test_headers_are_parsed_in_one_place() -> None:
    """The hand-made reading of a safetensors header, which bounds it, is `container.header_of`."""
    byhand = [path for path, text in SOURCES.items() if re.search(r"from_bytes\(\w+\[:8\]", text)]
    assert byhand == ["trials/container.py"]
