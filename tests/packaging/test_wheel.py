"""The wheel carries all that recording needs, and works far from the checkout and without clang."""

from __future__ import annotations

import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.cli.shells import fish_offers, shell
from tracer.cli import rtrace

pytestmark = pytest.mark.packaging

PYTHON = "/usr/bin/python3"  # the one that python3-bpfcc belongs to


def _run(*command: str | Path, cwd: Path, path: str | None = None) -> str:
    """Run a command that must succeed, in a clean Python environment; give back its output."""
    ours = ("PYTHON", "MAKE", "MFLAGS")  # of this interpreter, and of the make that started it
    environ = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    if path is not None:
        environ["PATH"] = path
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def _path_without_clang(folder: Path) -> str:
    """A PATH with every command of this machine, except the compilers."""
    folder.mkdir()
    for place in ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"):
        for command in Path(place).glob("*"):
            link = folder / command.name
            if not command.name.startswith(("clang", "llc", "gcc", "cc")) and not link.is_symlink():
                link.symlink_to(command)
    assert shutil.which("clang", path=str(folder)) is None
    return str(folder)


def _copy_of(checkout: Path, target: Path) -> Path:
    """The sources that a build needs; the build writes into them."""
    target.mkdir()
    for name in ("tracer", "analysis", "rtrace", "screen", "bpf", "demo", "tools"):
        ignored = shutil.ignore_patterns("*.o", "__pycache__")
        shutil.copytree(checkout / name, target / name, ignore=ignored)
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "Makefile"):
        shutil.copy(checkout / name, target)
    return target


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the sources as anybody would build it."""
    folder = tmp_path_factory.mktemp("wheel")
    source = _copy_of(checkout, folder / "source")
    builder = checkout / ".venv/bin/python"
    _run(builder, "-m", "build", "--wheel", "--outdir", folder, source, cwd=folder)
    [made] = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `rtrace` of a fresh venv with the wheel in it."""
    venv = tmp_path_factory.mktemp("installed") / "venv"
    _run(PYTHON, "-m", "venv", "--system-site-packages", venv, cwd=venv.parent)
    _run(venv / "bin/python", "-m", "pip", "install", "-q", wheel, cwd=venv.parent)
    return venv / "bin/rtrace"


def test_wheel_is_complete(wheel: Path, checkout: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = [*checkout.glob("bpf/*.c"), *checkout.glob("bpf/*.h")]
    expected = {f"tracer/_bpf/{source.name}" for source in sources}
    expected |= {str(path.relative_to(checkout)) for path in checkout.glob("analysis/schemas/*")}
    data = ("analysis/html/page/*", "analysis/html/vendor/*", "tracer/cli/shells/*")
    for pattern in data:
        expected |= {str(path.relative_to(checkout)) for path in checkout.glob(pattern)}
    expected |= {"tracer/_bpf/rtrace.bpf.o", "rtrace/__init__.py"}
    assert expected <= names
    top = {name.partition("/")[0] for name in names}
    assert top - {"rtrace-0.1.0.dist-info"} == {"tracer", "analysis", "rtrace", "screen"}


def test_object_is_small_and_names_no_path_of_the_builder(wheel: Path) -> None:
    made = zipfile.ZipFile(wheel).read("tracer/_bpf/rtrace.bpf.o")
    assert b".BTF" in made
    assert os.fsencode(wheel.parent) not in made
    if shutil.which("llvm-strip"):
        assert b".debug_info" not in made


def test_build_without_clang_says_what_to_install(checkout: Path, tmp_path: Path) -> None:
    source = _copy_of(checkout, tmp_path / "source")
    done = subprocess.run(
        [checkout / ".venv/bin/python", "hatch_build.py"],
        cwd=source,
        env={**os.environ, "PATH": _path_without_clang(tmp_path / "bin")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "clang not found; install clang" in line


@pytest.mark.kernel
def test_installed_wheel_records_from_another_folder(installed: Path, tmp_path: Path) -> None:
    path = _path_without_clang(tmp_path / "bin")
    _run(installed, "record", "-o", "x.rtrace", "--", "true", cwd=tmp_path, path=path)
    assert (tmp_path / "x.rtrace").stat().st_size > 0
    assert _run(installed, "report", "x.rtrace", cwd=tmp_path, path=path)


def test_make_install_and_uninstall(checkout: Path, tmp_path: Path) -> None:
    source = _copy_of(checkout, tmp_path / "source")
    prefix = tmp_path / "prefix"
    _run("make", "install", f"PREFIX={prefix}", cwd=source)
    shutil.rmtree(source)  # what is installed must not need it
    assert "record" in _run(prefix / "bin/rtrace", "--help", cwd=tmp_path)
    pages = {page.name for page in (prefix / "share/man/man1").iterdir()}
    assert pages == {"rtrace.1", *(f"rtrace-{name}.1" for name in rtrace.commands)}
    path = f"{prefix}/bin:/usr/bin:/bin"
    assert "one pid namespace" in _run("man", "rtrace-record", cwd=tmp_path, path=path)
    _check_completion(prefix, path, tmp_path)

    source = _copy_of(checkout, source)
    _run("make", "uninstall", f"PREFIX={prefix}", cwd=source)
    assert [path for path in prefix.glob("**/*") if not path.is_dir()] == []


def _check_completion(prefix: Path, path: str, folder: Path) -> None:
    """Each shell finds its script where `make install` put it."""
    environ = {"PATH": path, "XDG_DATA_DIRS": f"{prefix}/share:/usr/share"}
    bash = ". /usr/share/bash-completion/bash_completion"
    with shell("bash", folder, bash, environ) as opened:
        assert opened.offers("rtrace snap") == ["snapshot"]
    zsh = f"fpath=({prefix}/share/zsh/site-functions $fpath); autoload -Uz compinit; compinit -u -D"
    with shell("zsh", folder, zsh, environ) as opened:
        assert opened.offers("rtrace snap") == ["snapshot"]
    assert fish_offers("rtrace snap", folder, "true", environ) == ["snapshot"]


def test_make_install_does_not_overwrite_a_stranger(checkout: Path, tmp_path: Path) -> None:
    stranger = tmp_path / "bin/rtrace"
    stranger.parent.mkdir()
    stranger.write_text("mine")
    for target in ("install", "uninstall"):
        subprocess.run(
            ["make", target, f"PREFIX={tmp_path}"], cwd=checkout, capture_output=True, check=False
        )
        assert stranger.read_text() == "mine"
