"""The checks that a change has to pass, each as a session: `nox --list`.

The tests run on the built wheel, outside of the checkout: what is published is what is tested.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import nox

nox.needs_version = ">=2025.11.12"
nox.options.sessions = ("lint", "types", "tests")

PYPROJECT = nox.project.load_toml()
PYTHONS = nox.project.python_versions(PYPROJECT)
READ_BY_TESTS = (
    *(".ci", ".github", "docs", "examples", "tests"),
    *(".pre-commit-config.yaml", "hatch_build.py", "mkdocs.yml", "noxfile.py", "pyproject.toml"),
    *map(str, Path().glob("*.md")),
)
PYTEST = ("python", "-m", "pytest", "-q", "-n", "0")
"""The tests in one process: CI runs several sessions at once, and coverage measures one process.

A session of marked tests names their folders: to collect all tests takes longer than to run a few.
"""
IN_TWO = (*PYTEST[:-1], "2")
"""The tests in two processes: those of the longest sessions."""
[*_, BY_DEFAULT] = PYPROJECT["tool"]["pytest"]["ini_options"]["addopts"]
ALL = ("-m", BY_DEFAULT.replace(" and not slow", ""))
"""What `pytest` runs by default, and what is slow."""
ORIGIN = """
import platform
from importlib.metadata import version
from pathlib import Path

import strawberry_ws_otel

package = Path(strawberry_ws_otel.__file__).parent
assert package.parent.name == "site-packages", package
assert (package / "py.typed").is_file()
assert (package / "console" / "__init__.py").is_file()
names = "strawberry-graphql", "graphql-core", "aiohttp", "opentelemetry-api"
print("Python", platform.python_version(), *(f"· {name} {version(name)}" for name in names))
"""
"""Asserts that the wheel is imported, and prints the versions that it is tested with."""


def build_wheel(session: nox.Session, folder: str) -> str:
    """Build the wheel into a folder; return its path."""
    session.run("pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ".")
    [wheel] = Path(folder).glob("*.whl")
    return str(wheel)


@contextmanager
def installed_wheel(session: nox.Session, *pip_options: str) -> Iterator[None]:
    """Install the wheel, and change to a folder that has the tests but not the package."""
    with TemporaryDirectory() as folder:
        wheel = build_wheel(session, folder)
        session.install(wheel, "--group", "test", *pip_options)
        for name in READ_BY_TESTS:
            if (source := Path(name)).is_dir():
                # npm may be installing them at the same time.
                ignored = shutil.ignore_patterns("__pycache__", "node_modules")
                shutil.copytree(source, Path(folder, name), ignore=ignored)
            else:
                shutil.copy(source, folder)
        with session.chdir(folder):
            session.run("python", "-c", ORIGIN)
            yield


def install_checkout(session: nox.Session, *groups: str) -> None:
    """Install the checkout in editable mode, with groups of dependencies."""
    options = [word for group in groups for word in ("--group", group)]
    session.install("--editable", ".", *options)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting."""
    session.install("--group", "lint")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Check types, including those of the tests and examples and those that a user imports."""
    install_checkout(session, "dev")
    session.run("mypy")
    session.run(*PYTEST, "-m", "types", "tests/contract", "tests/docs")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Test the wheel, what is slow on the newest Python only: `nox -s tests-3.12 -- -k words`."""
    with installed_wheel(session):
        chosen = ALL if session.python == PYTHONS[-1] else ()
        session.run(*PYTEST, *chosen, *session.posargs)


@nox.session(python=PYTHONS[0])
def lowest(session: nox.Session) -> None:
    """Test the wheel with the lowest versions that it allows."""
    with installed_wheel(session, "--constraint", "tests/constraints-lowest.txt"):
        session.run(*PYTEST, *session.posargs)


@nox.session
def without_aiohttp(session: nox.Session) -> None:
    """Test that the extension works on the wheel where aiohttp is not installed."""
    with installed_wheel(session):
        session.run("pip", "uninstall", "--quiet", "--yes", "aiohttp", silent=True)
        session.run(*PYTEST, "tests/contract/test_without_aiohttp.py")


@nox.session
def coverage(session: nox.Session) -> None:
    """Test the wheel, and check that the tests cover all of it."""
    with installed_wheel(session):
        session.run("coverage", "run", *PYTEST[1:], *ALL, *session.posargs)
        session.run("coverage", "report")


@nox.session
def coverage_by_module(session: nox.Session) -> None:
    """Check that each module is covered by the unit tests of its own name."""
    install_checkout(session, "test")
    session.run("python", "-m", "tests.coverage_by_module", *session.posargs)


@nox.session
def matrix(session: nox.Session) -> None:
    """Test the wheel with the rows of matrices and the examples that are not run by default."""
    with installed_wheel(session):
        more_examples = ("--hypothesis-profile", "matrix")
        chosen = ("-m", "matrix or hypothesis", *more_examples, *session.posargs)
        session.run(*IN_TWO, *chosen)


@nox.session
def vendors(session: nox.Session) -> None:
    """Play the conversations under the stacks of vendors: `nox -s vendors -- sentry`."""
    with TemporaryDirectory() as folder:
        wheel = build_wheel(session, folder)
        session.run("python", "-m", "tests.vendors", "--install", wheel, *session.posargs)


@nox.session
def tools(session: nox.Session) -> None:
    """Test with clients on Node and in Chromium, and behind nginx."""
    session.run("tests/tools/install", external=True)
    install_checkout(session, "test")
    marked = ("-m", "tools", "tests/clients", "tests/deployment")
    session.run(*PYTEST, *marked, env={"REQUIRE_TOOLS": "1"})


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site of the documentation, and test it: `nox -s docs -- build/site` keeps it."""
    install_checkout(session, "docs", "test")
    with TemporaryDirectory() as folder:
        site = str(Path(*session.posargs[:1] or [folder]).resolve())
        # The theme's warning is about a version of mkdocs that the group does not allow.
        quiet = {"NO_MKDOCS_2_WARNING": "1"}
        session.run("mkdocs", "build", "--quiet", "--strict", "--site-dir", site, env=quiet)
        session.run("python", "-m", "pytest", "-q", "-m", "site", "tests/docs", env={"SITE": site})


@nox.session
def package(session: nox.Session) -> None:
    """Build what is published, and check what the index shows of it: `nox -s package -- dist`."""
    install_checkout(session, "publish", "test")
    with TemporaryDirectory() as folder:
        built = str(Path(*session.posargs[:1] or [folder]).resolve())
        session.run("python", "-m", "build", "--outdir", built, silent=True)
        session.run("twine", "check", "--strict", *map(str, Path(built).glob("strawberry*")))
        marked = ("-m", "package", "tests/docs/test_package.py")
        session.run("python", "-m", "pytest", "-q", *marked, env={"DISTRIBUTIONS": built})


@nox.session
def operations(session: nox.Session) -> None:
    """Test the operator's kit with Jaeger, Prometheus and Alertmanager."""
    session.run("examples/operations/tools/install", external=True)
    install_checkout(session, "test")
    required = {"REQUIRE_OPERATIONS": "1"}
    session.run(*PYTEST, "-m", "operations", "tests/kit", env=required)
    session.run("python", "-m", "examples.operations", "--check")


@nox.session
def rules(session: nox.Session) -> None:
    """Test the rules of the operator's kit with promtool, two at a time."""
    session.run("examples/operations/tools/install", external=True)
    install_checkout(session, "test")
    required = {"REQUIRE_OPERATIONS": "1"}
    session.run(*IN_TWO, "-m", "rules", "tests/kit", env=required)


@nox.session
def benchmark(session: nox.Session) -> None:
    """Run the benchmark in its smallest form."""
    install_checkout(session, "test")
    session.run(*PYTEST, "-m", "benchmark", "tests/benchmarks")
