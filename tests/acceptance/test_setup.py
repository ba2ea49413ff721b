"""The first command a newcomer types either works or says in one sentence why not, and what to do."""

import dataclasses
import hashlib
import os
import shutil
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from services.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
UNREACHABLE = "http://127.0.0.1:1/simple"
TARGETS = (
    "help", "setup", "run", "demo", "cluster", "test", "test-mutants", "check", "format", "bench", "schemas", "docs",
    "requirements", "clean",
)  # fmt: skip
PROGRAM = """
import os, sys, waymark
print('started', sys.argv[1:], waymark.VERSION, os.environ.get('PARCOURS_PORT'))
"""


class Checkout:
    """A fresh copy of what `make run` touches, with one tiny package pinned in place of the real ones."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.wheels = path.parent / "wheels"
        self.bin = path.parent / "bin"
        for directory in (path / "requirements", self.wheels, self.bin):
            directory.mkdir(parents=True)
        shutil.copytree(ROOT / "scripts", path / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("Makefile", "parcours"):
            shutil.copy(ROOT / name, path / name)
        services = path / "services"
        services.mkdir()
        (services / "__init__.py").touch()
        (services / "cli.py").write_text(PROGRAM)
        self.pin("1.0")

    def pin(self, version: str) -> None:
        """Build a wheel of the tiny package and pin it as the run set."""
        wheel = self.wheels / f"waymark-{version}-py3-none-any.whl"
        info = f"waymark-{version}.dist-info"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("waymark.py", f"VERSION = '{version}'\n")
            archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: waymark\nVersion: {version}\n")
            archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{info}/RECORD", f"waymark.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        self.write_requirements(f"waymark=={version} --hash=sha256:{digest}\n")

    def write_requirements(self, text: str) -> None:
        """Replace the run set."""
        (self.path / "requirements" / "run.txt").write_text(text)

    def program(self, name: str, script: str) -> Path:
        """Put an executable shell script on the PATH of every command of this checkout."""
        file = self.bin / name
        file.write_text("#!/bin/sh\n" + textwrap.dedent(script))
        file.chmod(0o755)
        return file

    def make(
        self, *arguments: str, environment: Mapping[str, str] | None = None, only_own_programs: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run make as a newcomer would: no index to be reached, the tiny package in a local folder."""
        kept = {name: value for name, value in os.environ.items() if name in ("HOME", "LANG", "TMPDIR")}
        path = f"{self.bin}:/usr/bin:/bin" if only_own_programs else f"{self.bin}:{os.environ['PATH']}"
        given = {"PATH": path, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.wheels), **(environment or {})}
        return subprocess.run(
            ["make", *arguments],
            cwd=self.path, env={**kept, **given}, capture_output=True, text=True, timeout=100, stdin=subprocess.DEVNULL,
        )  # fmt: skip


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "check out")


def python_of_version(version: tuple[int, int, int]) -> str:
    """A shell script that behaves like an interpreter of that version when it is asked with -c."""
    return f"""
        exec '{sys.executable}' -c 'import sys; sys.version_info = {version!r}; exec(sys.argv[2])' "$@"
    """


def python_without(module: str) -> str:
    """A shell script that behaves like this interpreter with one standard module not installed."""
    code = f"import runpy, sys; sys.modules['{module}'] = None; sys.argv[:] = sys.argv[1:]"
    return f"""
        test "$1" = -c && exec '{sys.executable}' "$@"
        exec '{sys.executable}' -c "{code}; runpy.run_path(sys.argv[0], run_name='__main__')" "$@"
    """


def assert_refused(done: subprocess.CompletedProcess[str], *phrases: str) -> None:
    """One sentence with these phrases, exit code 2, no trace; make itself adds one line."""
    lines = [line for line in done.stderr.splitlines() if not line.startswith(("make", "Making", "Installing"))]
    assert len(lines) == 1, done.stderr
    for phrase in phrases:
        assert phrase in lines[0]
    assert lines[0].endswith(".")
    assert "Traceback" not in done.stderr + done.stdout
    assert done.returncode == 2
    assert "started" not in done.stdout


class TestPython:
    def test_older_than_3_11_by_name_is_refused_and_named(self, checkout: Checkout) -> None:
        old = checkout.program("ancient", python_of_version((3, 9, 18)))
        assert_refused(checkout.make("run", f"PYTHON={old}"), f"PYTHON={old} is 3.9.18", "3.11 or newer", "PYTHON=/")

    def test_when_all_on_the_path_are_too_old_the_first_is_named_with_the_way_out(self, checkout: Checkout) -> None:
        for name in ("python3", "python3.14", "python3.13", "python3.12", "python3.11", "python"):
            checkout.program(name, python_of_version((3, 8, 1)))
        refused = checkout.make("run", only_own_programs=True)
        assert_refused(refused, f"{checkout.bin}/python3 is 3.8.1", "PYTHON=/")

    def test_that_does_not_start_is_refused(self, checkout: Checkout) -> None:
        assert_refused(checkout.make("run", "PYTHON=/nowhere/python9"), "PYTHON=/nowhere/python9 does not start")

    @pytest.mark.parametrize("module", ["venv", "ensurepip"])
    def test_without_the_means_to_make_a_virtual_environment_is_refused(self, checkout: Checkout, module: str) -> None:
        bare = checkout.program("bare", python_without(module))
        assert_refused(checkout.make("run", f"PYTHON={bare}"), f"has no {module} module", "-venv", "PYTHON=/")
        assert not (checkout.path / ".venv").exists()

    @pytest.mark.timeout(120)
    def test_a_newer_one_further_down_the_path_is_taken_when_python3_is_too_old(self, checkout: Checkout) -> None:
        checkout.program("python3", python_of_version((3, 6, 15)))
        checkout.program("python3.14", f"exec '{sys.executable}' \"$@\"\n")
        started = checkout.make("run")
        assert "started ['run'] 1.0" in started.stdout, started.stderr


class TestPackages:
    @pytest.mark.timeout(120)
    def test_are_installed_once_and_then_neither_pip_nor_the_network_is_used(self, checkout: Checkout) -> None:
        first = checkout.make("run", f"PYTHON={sys.executable}", "PORT=9123")
        assert first.stdout == "started ['run'] 1.0 9123\n", first.stderr
        log = checkout.path / ".venv" / "pip.log"
        log.unlink()
        again = checkout.make("run", environment={"PIP_INDEX_URL": UNREACHABLE, "PORT": "9124"})
        assert again.stdout == "started ['run'] 1.0 9124\n"
        assert again.stderr == ""
        assert not log.exists()

    @pytest.mark.timeout(120)
    def test_are_installed_anew_when_their_pins_change(self, checkout: Checkout) -> None:
        assert "1.0" in checkout.make("run", f"PYTHON={sys.executable}").stdout
        checkout.pin("2.0")
        assert checkout.make("run").stdout == "started ['run'] 2.0 None\n"

    @pytest.mark.timeout(120)
    def test_without_a_network_the_first_set_up_says_so(self, checkout: Checkout) -> None:
        checkout.write_requirements(f"elsewhere==1.0 --hash=sha256:{'0' * 64}\n")
        offline = {"PIP_NO_INDEX": "0", "PIP_INDEX_URL": UNREACHABLE}
        refused = checkout.make("run", f"PYTHON={sys.executable}", environment=offline)
        assert_refused(refused, "cannot be reached", "network", "run the same command again")
        checkout.pin("1.0")
        assert "started ['run'] 1.0" in checkout.make("run").stdout

    @pytest.mark.timeout(120)
    def test_that_are_not_the_pinned_ones_are_not_installed(self, checkout: Checkout) -> None:
        checkout.write_requirements(f"waymark==1.0 --hash=sha256:{'0' * 64}\n")
        assert_refused(checkout.make("run", f"PYTHON={sys.executable}"), "hash differs", ".venv/pip.log")
        assert not (checkout.path / ".venv" / ".installed-run").exists()

    @pytest.mark.timeout(120)
    def test_without_a_build_for_this_system_are_named(self, checkout: Checkout) -> None:
        checkout.write_requirements(f"elsewhere==1.0 --hash=sha256:{'0' * 64}\n")
        assert_refused(checkout.make("run", f"PYTHON={sys.executable}"), "no build of elsewhere", "PIP_NO_INDEX")

    @pytest.mark.timeout(120)
    def test_a_set_up_that_was_cut_off_is_begun_anew(self, checkout: Checkout) -> None:
        half_made = checkout.path / ".venv" / "bin"
        half_made.mkdir(parents=True)
        (half_made / "python").symlink_to("/nowhere/python3")
        assert "started ['run'] 1.0" in checkout.make("run", f"PYTHON={sys.executable}").stdout

    def test_cannot_be_installed_where_something_else_is_in_the_way(self, checkout: Checkout) -> None:
        (checkout.path / ".venv").write_text("not a folder")
        assert_refused(
            checkout.make("run", f"PYTHON={sys.executable}"), "could not make a virtual environment in .venv"
        )

    def test_whose_pins_are_missing_from_the_checkout_are_named(self, checkout: Checkout) -> None:
        shutil.rmtree(checkout.path / "requirements")
        refused = checkout.make("run", f"PYTHON={sys.executable}")
        assert_refused(refused, "stopped at", "requirements (No such file or directory)", "run the same command again")


class TestSystem:
    @pytest.mark.parametrize("kernel", ["MINGW64_NT-10.0-22631", "MSYS_NT-10.0", "CYGWIN_NT-10.0"])
    def test_windows_itself_is_refused_with_the_way_to_wsl2(self, checkout: Checkout, kernel: str) -> None:
        checkout.program("uname", f"echo {kernel}\n")
        assert_refused(checkout.make("run"), "does not run on Windows itself", "wsl --install")

    def test_wsl1_is_refused_with_the_way_to_wsl2(self, checkout: Checkout) -> None:
        checkout.program("uname", 'test "$1" = -r && echo 4.4.0-19041-Microsoft || echo Linux\n')
        assert_refused(checkout.make("run"), "WSL1", "wsl --set-version")

    def test_the_launcher_without_a_set_up_names_the_command(self, checkout: Checkout) -> None:
        done = subprocess.run([checkout.path / "parcours", "run"], capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == "Parcours is not set up in this checkout yet: run 'make setup' here first.\n"

    @pytest.mark.timeout(120)
    def test_the_launcher_works_from_any_folder(self, checkout: Checkout, tmp_path: Path) -> None:
        checkout.make("run", f"PYTHON={sys.executable}")
        done = subprocess.run([checkout.path / "parcours", "x y"], capture_output=True, text=True, cwd=tmp_path)
        assert done.stdout.startswith("started ['x y'] 1.0"), done.stderr


def test_every_setting_can_be_given_to_make_by_its_short_name(checkout: Checkout) -> None:
    text = (checkout.path / "Makefile").read_text().replace("\\\n", " ")
    passed = next(line for line in text.splitlines() if line.startswith("SETTINGS := ")).split()[2:]
    names = {field.name.upper() for field in dataclasses.fields(Settings)}
    usual_names = {name for name in names if name == "DATABASE_URL" or name.startswith("KAFKA_")}
    assert set(passed) == names - usual_names


def test_help_lists_every_target_under_a_heading(checkout: Checkout) -> None:
    listed = checkout.make("help")
    assert listed.returncode == 0
    for target in [
        "setup",
        "run",
        "demo",
        "cluster",
        "test",
        "test-mutants",
        "check",
        "format",
        "bench",
        "schemas",
        "docs",
        "requirements",
        "clean",
    ]:
        assert f"  make {target} " in listed.stdout
    assert [line for line in listed.stdout.splitlines() if line and line[0] != " "][:3] == [
        "Start here",
        "Work on it",
        "Generated files",
    ]
