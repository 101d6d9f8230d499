"""Private names of other packages that we use, and whether the installed versions have them.

They are looked up in the packages' source: importing Ray, MLflow and timm takes seconds, and a
package without the name might not be importable.
"""

import ast
import importlib.util
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True, slots=True)
class PrivateName:
    """A private name.

    Attributes:
        module: where it is defined.
        name: of a function, a class, a constant or an attribute, dotted; empty = the module
            itself.
        why: what we use it for, because there is no public name.
        takes: parameters that we pass by name.
    """

    module: str
    name: str
    why: str
    takes: tuple[str, ...] = ()

    @property
    def parts(self) -> list[str]:
        """The parts of the dotted name."""
        return self.name.split(".") if self.name else []

    @property
    def path(self) -> str:
        """The full dotted name."""
        return f"{self.module}.{self.name}" if self.name else self.module


@dataclass(frozen=True, slots=True)
class Package:
    """A package and the private names of it that we use.

    Attributes:
        tested: the tested version, the same as in `requirements.lock`.
        install: the requirement without a version.
    """

    name: str
    tested: str
    install: str
    names: tuple[PrivateName, ...]

    def missing(self) -> list[str]:
        """What the installed version lacks, a few words each."""
        trees = {module: _tree(module) for module in {name.module for name in self.names}}
        return [lost for name in self.names if (lost := _lost(name, trees[name.module]))]

    def verdict(self) -> tuple[bool, str]:
        """Whether nothing is missing, and a line on what is missing and what to do."""
        installed = metadata.version(self.name)
        if not (missing := self.missing()):
            return True, f"{self.name} {installed} has all {len(self.names)} that are used"
        return False, (
            f"{self.name} {installed} lacks {'; '.join(missing)}: "
            f"install `{self.install}=={self.tested}`"
        )


def _lost(wanted: PrivateName, tree: ast.Module | None) -> str:
    """What is missing of a name, and what it is for; empty if nothing is."""
    defined, node = (False, None) if tree is None else _looked_up(tree, wanted.parts)
    if not defined:
        return f"{wanted.path} ({wanted.why})"
    if refused := [name for name in wanted.takes if name not in _accepted(node)]:
        return f"{', '.join(refused)} of {wanted.path} ({wanted.why})"
    return ""


def _tree(module: str) -> ast.Module | None:
    """The syntax tree of a module, without importing it; None if it does not exist."""
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        place = Path(folder, *rest)
        for file in (place.with_name(f"{place.name}.py"), place / "__init__.py"):
            if file.is_file():
                return ast.parse(file.read_text(encoding="utf-8"))
    return None


def _looked_up(tree: ast.Module, parts: Sequence[str]) -> tuple[bool, Definition | None]:
    """Whether a dotted name is defined, and the function or class that defines it, if any."""
    owner: ast.Module | Definition | None = tree
    for part in parts:
        if isinstance(owner, ast.Module | ast.ClassDef):
            definitions = [node for names, node in _defined(owner.body) if part in names]
            if not definitions and isinstance(owner, ast.ClassDef) and part in _set_on_self(owner):
                definitions = [None]
        else:
            definitions = []
        if not definitions:
            return False, None
        owner = definitions[-1]
    return True, None if isinstance(owner, ast.Module) else owner


def _defined(body: Iterable[ast.stmt]) -> Iterator[tuple[set[str], Definition | None]]:
    """Names that statements define, also in branches, each with its function or class."""
    for node in body:
        if isinstance(node, Definition):
            yield {node.name}, node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield {target.id for target in targets if isinstance(target, ast.Name)}, None
        elif isinstance(node, ast.If | ast.Try):
            yield from _defined(node.body)
            yield from _defined(node.orelse)
            for handler in getattr(node, "handlers", ()):
                yield from _defined(handler.body)


def _set_on_self(owner: ast.ClassDef) -> set[str]:
    """Attributes that methods of a class set on `self`."""
    return {
        node.attr
        for node in ast.walk(owner)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    }


def _accepted(node: Definition | None) -> set[str]:
    """Parameters of a function; with `**kwargs` also the keys that it may read from them."""
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return set()
    arguments = node.args
    parameters = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    accepted = {parameter.arg for parameter in parameters}
    if arguments.kwarg is not None:
        constants = (child.value for child in ast.walk(node) if isinstance(child, ast.Constant))
        accepted |= {value for value in constants if isinstance(value, str)}
    return accepted


MLFLOW = Package(
    "mlflow",
    "3.17.2",
    "mlflow",
    (
        PrivateName(
            "mlflow.tracking.client",
            "MlflowClient._tracking_client",
            "closing its database, and reading many histories in one request",
        ),
        PrivateName(
            "mlflow.store.artifact.http_artifact_repo",
            "HttpArtifactRepository._host_creds",
            "stopping the download of an artifact that is too large",
        ),
        PrivateName(
            "mlflow.utils.requirements_utils",
            "_MODULES_TO_PACKAGES",
            "publishing a model without listing the files of all packages",
        ),
    ),
)

TIMM = Package(
    "timm",
    "1.0.31",
    "timm",
    (
        PrivateName(
            "timm.models._builder",
            "_resolve_pretrained_source",
            "where timm takes weights from, looked up before a sweep needs them",
        ),
        PrivateName(
            "timm.models._hub",
            "_get_safe_alternatives",
            "the files of weights that timm looks for",
        ),
        PrivateName(
            "timm.models.vision_transformer",
            "VisionTransformer._pos_embed",
            "hiding patches between their embedding and the first block",
        ),
        PrivateName(
            "timm.models.eva",
            "Eva._pos_embed",
            "hiding patches between their embedding and the first block",
        ),
        PrivateName(
            "timm.layers.diff_attention",
            "DiffAttention._compute_lambda",
            "how much of one attention is taken off another",
        ),
        PrivateName(
            "timm.models.vision_transformer",
            "DiffParallelScalingBlock._compute_lambda",
            "how much of one attention is taken off another",
        ),
    ),
)
