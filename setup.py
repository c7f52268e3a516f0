"""Maps the top-level folders to `mezzotint.*`; new subfolders are packaged without a list to keep."""

from setuptools import find_packages, setup

FOLDERS = ("engine", "nodes", "plugins", "server", "client", "cli", "workflows", "testing")

inside = find_packages(include=[pattern for folder in FOLDERS for pattern in (folder, f"{folder}.*")])

setup(
    packages=["mezzotint", *(f"mezzotint.{name}" for name in inside)],
    package_dir={f"mezzotint.{folder}": folder for folder in FOLDERS},
)
