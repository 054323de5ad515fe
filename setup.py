"""The package list; everything else is in pyproject.toml.

``programs/`` and ``prompts/`` stand at the top level, where users edit them, and are mapped into the
wheel as ``stm_agent/_workspace/``. ``packages.find`` in pyproject.toml cannot add mapped folders.
"""

from setuptools import find_packages, setup

WORKSPACE = {f"stm_agent._workspace.{folder}": folder for folder in ("programs", "prompts")}

setup(
    packages=[*find_packages(include=["stm_agent", "stm_agent.*"]), *WORKSPACE],
    package_dir=WORKSPACE,
    package_data={
        "stm_agent": ["py.typed"],
        "stm_agent.annotate.migrations": ["*.mako"],
        "stm_agent.annotate.pages": ["static/*", "static/vendor/*"],
        "stm_agent.deploy": ["page/*"],
        "stm_agent.inspect.page": ["static/*", "static/vendor/*"],
        "stm_agent.domain": ["*.yaml", "frozen/*", "presets/*"],
        "stm_agent._workspace.prompts": ["*"],
    },
)
