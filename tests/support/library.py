"""The modules of the library: their layers, and what they import."""

import ast
from pathlib import Path
from typing import Final

import strawberry_ws_otel

PACKAGE: Final = "strawberry_ws_otel"

ROOT: Final = Path(strawberry_ws_otel.__file__).parent

OTEL: Final = frozenset({"opentelemetry"})

STRAWBERRY: Final = frozenset({"strawberry"})

AIOHTTP: Final = frozenset({"aiohttp"})

HOST: Final = STRAWBERRY | AIOHTTP

GRAPHQL: Final = OTEL | {"graphql"}

SCHEMA: Final = GRAPHQL | STRAWBERRY

NOTHING: Final = frozenset[str]()

LAYERS: Final[tuple[dict[str, frozenset[str]], ...]] = (
    # Each module, and the packages beside the standard library that it may import. Within the
    # library it may import those of the layers above it.
    {
        "_version": NOTHING,
        "_semconv": NOTHING,
        "_bounds": NOTHING,
        "_cancellation": NOTHING,
        "_coroutines": NOTHING,
        "_transport": AIOHTTP,
    },
    {"_protocol": NOTHING, "_rate": NOTHING, "_close": NOTHING},
    {"_failsafe": NOTHING, "_config": OTEL, "_log": OTEL, "_tally": NOTHING},
    {"_layers": NOTHING, "_spans": OTEL, "_metrics": OTEL, "_errors": GRAPHQL},
    {"_current": OTEL, "_telemetry": OTEL},
    {"_propagation": OTEL, "_request": NOTHING},
    {"_operation": OTEL},
    {"_ws_operation": OTEL, "_init": NOTHING},
    {"_operations": NOTHING},
    {"_conversation": OTEL},
    {"_closing": NOTHING},
    {"_connection": OTEL},
    {"_observer": AIOHTTP, "_handlers": STRAWBERRY},
    {"_unwatched": AIOHTTP, "_extension": SCHEMA},
    {"_socket": AIOHTTP},
    {"_adapter": HOST},
    {"_view": HOST | OTEL},
    {"__init__": NOTHING},
)

MODULES: Final = {name: packages for layer in LAYERS for name, packages in layer.items()}


def tree_of(module: str) -> ast.Module:
    return ast.parse((ROOT / f"{module}.py").read_text())


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
