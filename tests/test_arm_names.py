"""Facts about arms stand in `trials/arms.py` alone: no other module names one.

Some names mean other things too: stages, sections of the sweep file, a criterion, the program.
Those count where the code around them speaks of arms.
"""

import ast
import re
from pathlib import Path

import pytest

from trials.arms import BY_NAME

ROOT = Path(__file__).parent.parent
TABLE = "trials/arms.py"
OTHER_MEANINGS = {
    *("dense", "tickets", "essential", "issp", "lotus", "magnitude", "reduced"),
}
ALLOWED: dict[tuple[str, str], str] = {}
"""(file, name) -> why it may stand there."""

_ARM = re.compile(r"(^|[^a-z])arms?([^a-z]|$)", re.IGNORECASE)


def _name(node: ast.AST) -> str | None:
    """The arm that a node is the name of."""
    known = isinstance(node, ast.Constant) and node.value in BY_NAME
    return str(node.value) if known else None  # type: ignore[attr-defined]


def _names(nodes: list[ast.expr] | list[ast.expr | None]) -> list[str]:
    return [name for node in nodes if node is not None and (name := _name(node))]


def _speaks_of_arms(node: ast.AST | None) -> bool:
    return node is not None and bool(_ARM.search(ast.unparse(node)))


def _inside(node: ast.AST) -> list[str]:
    return [name for one in ast.walk(node) if (name := _name(one))]


def _of(node: ast.AST) -> list[str]:
    """The arms that one node of the source names as such."""
    found: list[str] = []
    match node:
        case ast.Constant() if (name := _name(node)) and name not in OTHER_MEANINGS:
            found = [name]
        case ast.Compare(left=left, comparators=others):
            sides = [left, *others]
            named = [name for side in sides for name in _inside(side)]
            found = named if any(map(_speaks_of_arms, sides)) else []
        case ast.Tuple(elts=parts) | ast.List(elts=parts) | ast.Set(elts=parts):
            found = named if len(named := _names(parts)) == len(parts) > 1 else []
        case ast.Dict(keys=keys):
            found = named if len(named := _names(keys)) == len(keys) > 1 else []
        case ast.Call(args=args) if len(named := _names(args)) > 1:
            found = named
        case ast.Subscript(value=value, slice=index) if _speaks_of_arms(value):
            found = _inside(index)
        case ast.Assign(targets=[target], value=value) if _speaks_of_arms(target):
            found = _inside(value)
        case ast.AnnAssign(target=target, value=ast.expr() as value) if _speaks_of_arms(target):
            found = _inside(value)
        case ast.For(target=target, iter=value) if _speaks_of_arms(target):
            found = _inside(value)
        case ast.keyword(arg=str(arg), value=value) if _ARM.search(arg):
            found = _inside(value)
        case ast.arguments():
            named = [*zip(reversed(node.args), reversed(node.defaults), strict=False)]
            found = [n for arg, value in named if _ARM.search(arg.arg) for n in _inside(value)]
    return found


def arm_names(source: str) -> set[str]:
    """The arms that a module names."""
    return {name for node in ast.walk(ast.parse(source)) for name in _of(node)}


@pytest.mark.parametrize(
    "source",
    [
        "x = 'random_mask'",
        "if row['arm'] == 'lotus': pass",
        "masked = s.arm in ('issp', 'final')",
        "KINDS = ('lotus', 'issp')",
        "WORDS = {'dense': 'Dense', 'tickets': 'Tickets only'}",
        "best = couple(t, 'dense', 'tickets')",
        "colour = style.ARM_COLOURS['lotus' if first else 'issp']",
        "arm = 'magnitude'",
        "class C:\n    arm: Arm = 'lotus'",
        "for arm in ['essential']: pass",
        "trial(arm='dense')",
        "def of(arm='lotus'): pass",
    ],
)
def test_the_reader_finds_an_arm(source: str) -> None:
    assert arm_names(source)


@pytest.mark.parametrize(
    "source",
    [
        "inputs = {'dense': dense, 'model': model}",
        "results['issp']",
        "found = summary.get('dense')",
        "@stage('essential', version=1)\ndef f(): pass",
        "SECTIONS = ('data', 'dense', 'tickets')",
        "argv = ['lotus', command]",
        "MaskConfig(criterion='magnitude')",
        "alarm = 'dense'",
    ],
)
def test_the_reader_passes_over_other_meanings(source: str) -> None:
    assert not arm_names(source)


def _everywhere() -> set[tuple[str, str]]:
    return {
        (path.relative_to(ROOT).as_posix(), name)
        for package in ("trials", "orchestrator", "dashboards")
        for path in (ROOT / package).rglob("*.py")
        for name in arm_names(path.read_text("utf-8"))
    }


def test_only_the_table_names_arms() -> None:
    found = {(file, name) for file, name in _everywhere() if file != TABLE}
    assert found == ALLOWED.keys(), "an exception that is no longer needed counts too"


def test_the_table_names_them_all() -> None:
    assert {name for file, name in _everywhere() if file == TABLE} == BY_NAME.keys()
