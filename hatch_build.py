"""The metadata of the package that depends on the repository's address.

The address is one variable, `repository` in `pyproject.toml`. The links of the README that the
index shows lead there, and so do the urls of the package.
"""

import re
from pathlib import Path
from typing import Any, Final

from hatchling.metadata.plugin.interface import MetadataHookInterface

_LINK: Final = re.compile(r"(?P<picture>!?)\[(?P<text>[^]]*)\]\((?P<target>(?![a-z]+:)[^)]+)\)")
_INSTALL: Final = (
    '. In a checkout:\n\n```shell\npip install ".[console]"\n',
    ':\n\n```shell\npip install "{name}[console]"\n',
)
"""How the README installs the package, and how it does so on the index."""


def readme_of_the_index(readme: str, repository: str, name: str) -> str:
    """Return the README as the index shows it: without relative links, installed by its name."""

    def absolute(link: re.Match[str]) -> str:
        view = "raw" if link["picture"] else "blob"
        target = f"{repository}/{view}/HEAD/{link['target']}"
        return f"{link['picture']}[{link['text']}]({target})"

    from_a_checkout, by_name = _INSTALL
    if readme.count(from_a_checkout) != 1:
        raise ValueError(f"README.md does not say {from_a_checkout!r} once")
    installed = readme.replace(from_a_checkout, by_name.format(name=name))
    return _LINK.sub(absolute, installed.replace('pip install ".[', f'pip install "{name}['))


def urls(repository: str) -> dict[str, str]:
    """Return the addresses that the index shows beside the package."""
    return {
        "Repository": repository,
        "Documentation": f"{repository}/tree/HEAD/docs",
        "Changelog": f"{repository}/blob/HEAD/CHANGELOG.md",
        "Issues": f"{repository}/issues",
        "Security": f"{repository}/blob/HEAD/SECURITY.md",
    }


class RepositoryHook(MetadataHookInterface):
    """Sets `readme` and `urls`."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set what `pyproject.toml` lists as dynamic."""
        repository = str(self.config["repository"])
        readme = Path(self.root, "README.md").read_text(encoding="utf-8")
        text = readme_of_the_index(readme, repository, metadata["name"])
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
        metadata["urls"] = urls(repository)
