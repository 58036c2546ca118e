"""The modules of the library: what each may import, and what it imports."""

import ast
from pathlib import Path
from typing import Final

import strawberry_ws_otel

PACKAGE: Final = "strawberry_ws_otel"

ROOT: Final = Path(strawberry_ws_otel.__file__).parent

OTEL: Final = frozenset({"opentelemetry"})

STRAWBERRY: Final = frozenset({"strawberry"})

AIOHTTP: Final = frozenset({"aiohttp"})

GRAPHQL: Final = frozenset({"graphql"})

RICH: Final = frozenset({"rich"})

NOTHING: Final = frozenset[str]()

CONSOLE: Final = "console/"
"""How the modules of the extra `console` begin: they import the SDK, and nobody imports them."""

FLOORS: Final[tuple[dict[str, tuple[str, frozenset[str]]], ...]] = (
    # Each module: what of the library it may import, and which packages beside the standard
    # library. A module stands above all that it imports.
    {
        "_aiohttp/__init__": ("", NOTHING),
        "_limits": ("", NOTHING),
        "_semconv": ("", NOTHING),
        "_strawberry/__init__": ("", NOTHING),
        "console/_terminal": ("", RICH),
    },
    {
        "_attributes": ("_limits _semconv", NOTHING),
        "_close": ("_limits", NOTHING),
        "_fuse": ("_limits _semconv", NOTHING),
        "_protocol": ("_semconv", NOTHING),
        "console/_snapshot": ("_semconv", OTEL),
    },
    {
        "_config": ("_attributes _close", OTEL),
        "_counts": ("_close _protocol _semconv", NOTHING),
        "_open": ("_attributes", NOTHING),
        "_log": ("_close _fuse _limits _semconv", OTEL),
        "_spans": ("_fuse _limits _protocol _semconv", OTEL),
        "_strawberry/layers": ("_fuse", NOTHING),
        "console/_conversation": ("_close _semconv console/_snapshot", NOTHING),
        "console/_events": ("_semconv console/_snapshot", RICH),
    },
    {
        "_current": ("_fuse _spans", OTEL),
        "_environment": ("_config _limits _semconv", NOTHING),
        "_metrics": ("_attributes _counts _fuse _limits _semconv", OTEL),
        "_strawberry/errors": ("_config _limits _semconv", GRAPHQL | OTEL),
        "console/_grouping": ("_semconv console/_conversation console/_snapshot", NOTHING),
        "console/_timeline": ("console/_events console/_snapshot", RICH),
    },
    {
        "_propagation": ("_config _current _fuse _spans", OTEL),
        "_recording": ("_config _fuse _log _metrics _spans", OTEL),
        "console/_picture": (
            (
                "_close _semconv console/_conversation console/_events console/_snapshot "
                "console/_timeline"
            ),
            RICH,
        ),
    },
    {
        "_segments": ("_fuse _propagation _semconv _spans", OTEL),
        "console/_exporter": (
            (
                "_semconv console/_conversation console/_grouping console/_picture "
                "console/_snapshot console/_terminal"
            ),
            OTEL | RICH,
        ),
    },
    {
        "_operation": (
            (
                "_attributes _close _counts _current _fuse _limits _propagation _protocol "
                "_recording _segments _semconv _spans"
            ),
            OTEL,
        ),
        "console/_show": ("_semconv console/_exporter", OTEL | RICH),
    },
    {
        "_messages": ("_current _limits _operation _protocol _semconv _spans", OTEL),
        "_operations": (
            (
                "_attributes _close _counts _current _fuse _limits _operation _propagation "
                "_protocol _recording"
            ),
            NOTHING,
        ),
        "console/__init__": (
            "console/_conversation console/_exporter console/_picture console/_show",
            NOTHING,
        ),
    },
    {
        "_connection": (
            (
                "_attributes _close _counts _current _fuse _limits _messages _open _operation "
                "_operations _propagation _protocol _recording _segments _semconv _spans"
            ),
            OTEL,
        ),
    },
    {
        "_aiohttp/websocket": (
            "_close _connection _counts _current _fuse _limits _strawberry/layers",
            AIOHTTP,
        ),
        "_strawberry/adapter": ("_connection _fuse _strawberry/layers", STRAWBERRY),
        "_strawberry/extension": (
            (
                "_config _connection _current _fuse _operation _operations "
                "_propagation _recording _semconv _spans _strawberry/errors"
            ),
            GRAPHQL | OTEL | STRAWBERRY,
        ),
        "_strawberry/handlers": ("_connection _current _strawberry/layers", STRAWBERRY),
    },
    {
        "_strawberry/setup": ("_config _fuse _strawberry/extension", STRAWBERRY),
    },
    {
        "_aiohttp/view": (
            (
                "_aiohttp/websocket _close _config _connection _current _fuse _limits "
                "_log _recording _semconv _strawberry/adapter _strawberry/handlers "
                "_strawberry/layers _strawberry/setup"
            ),
            AIOHTTP | OTEL | STRAWBERRY,
        ),
    },
    {
        "__init__": (
            ("_aiohttp/view _config _connection _open _semconv _strawberry/extension"),
            NOTHING,
        ),
        "instrumentor": (
            (
                "_aiohttp/view _config _connection _environment _fuse _log _recording "
                "_strawberry/adapter _strawberry/extension _strawberry/handlers _strawberry/setup"
            ),
            OTEL | STRAWBERRY,
        ),
    },
)

MODULES: Final = {name: row for floor in FLOORS for name, row in floor.items()}


def tree_of(module: str) -> ast.Module:
    return ast.parse((ROOT / f"{module}.py").read_text(encoding="utf-8"))


def imports_of(module: str) -> set[str]:
    """The dotted names of all that a module imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names
