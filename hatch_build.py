"""Put the notebooks into the wheel. Not a line in pyproject.toml, because an editable install would get copies too."""

from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Notebooks(BuildHookInterface):
    """Called by hatchling; see pyproject.toml."""

    def initialize(self, version: str, build_data: dict) -> None:
        """Name the files; `version` is "standard", or "editable"."""
        if version == "standard":
            for notebook in Path(self.root, "notebooks").glob("*.ipynb"):
                build_data["force_include"][str(notebook)] = f"llmtok/course/{notebook.name}"
