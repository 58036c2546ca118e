"""The Python of a page as one module, in which names of the application are imported."""

import ast
import sys
from types import ModuleType
from typing import Final

from tests.support import documented
from tests.support.pages import Page

APPLICATION: Final = frozenset(
    {"Query", "Subscription", "User", "View", "app", "is_operator", "schema", "user_of"}
)


def source_of(page: Page) -> str:
    """The blocks of a page that are no files, after an import of what they take for given."""
    blocks = [
        block.code for block in page.all_blocks if block.language == "python" and not block.title
    ]
    source = "\n\n".join(blocks)
    tree = ast.parse(source)
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    read = {node.id for node in names if isinstance(node.ctx, ast.Load)} & APPLICATION
    bound = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    bound |= {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    if not (given := sorted(read - bound)):
        return source
    return f"from {documented.__name__} import {', '.join(given)}\n\n{source}"


def run(page: Page) -> ModuleType:
    """Run the module that a page is; return it."""
    name = f"documented_{page.file.stem.replace('-', '_')}"
    module = ModuleType(name)
    sys.modules[name] = module
    try:
        exec(compile(source_of(page), page.path, "exec"), vars(module))  # noqa: S102  # our own
    finally:
        del sys.modules[name]
    return module
