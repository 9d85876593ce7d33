"""Builds the wheel: the package, and the shared library in it.

The library is built by cargo from the repository that this folder stands in; DEADPEER_LIBRARY names one that
was built before.
"""

import os
import pathlib
import shutil
import subprocess

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.dist import Distribution

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:  # setuptools before 70.1
    from wheel.bdist_wheel import bdist_wheel

NAME = "libdeadpeer.so"


def library() -> pathlib.Path:
    given = os.environ.get("DEADPEER_LIBRARY")
    if given:
        return pathlib.Path(given)
    repository = pathlib.Path(__file__).resolve().parent.parent
    subprocess.run(["cargo", "build", "--release", "--package", "deadpeer-capi"], cwd=repository, check=True)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", repository / "target"))
    return target / "release" / NAME


class WithLibrary(build_py):
    def run(self) -> None:
        super().run()
        shutil.copyfile(library(), pathlib.Path(self.build_lib) / "deadpeer" / NAME)


class ForThisPlatform(bdist_wheel):
    def get_tag(self) -> tuple[str, str, str]:
        # The library is called through ctypes: any Python will do, but only this platform.
        return ("py3", "none", super().get_tag()[2])


class WithMachineCode(Distribution):
    def has_ext_modules(self) -> bool:
        return True


setup(distclass=WithMachineCode, cmdclass={"build_py": WithLibrary, "bdist_wheel": ForThisPlatform})
