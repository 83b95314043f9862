"""Parts that are installed only where they are wanted: who misses one is told; the locks agree."""

from __future__ import annotations

import ast
import re
import sys
from importlib import metadata
from pathlib import Path

import pytest

from pipelines import cli
from pipelines.extras import EXTRAS
from schemas.errors import how_to_install

REPOSITORY = Path(__file__).resolve().parents[2]


def _extras() -> dict[str, set[str]]:
    """Names of packages by extra, as setup.py has them."""
    tree = ast.parse((REPOSITORY / "setup.py").read_text(encoding="utf-8"))
    found: dict[str, set[str]] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "EXTRAS":
            assert isinstance(node.value, ast.Dict)
            for key, value in zip(node.value.keys, node.value.values, strict=True):
                assert isinstance(value, ast.List)
                assert isinstance(key, ast.Constant)
                texts = [
                    ast.literal_eval(one) for one in value.elts if isinstance(one, ast.Constant)
                ]
                found[str(key.value)] = {re.split(r"[\[<>=; ]", text)[0] for text in texts}
    return found


def _locked(name: str) -> set[str]:
    text = (REPOSITORY / name).read_text(encoding="utf-8")
    return set(re.findall(r"^([A-Za-z0-9._-]+)", text, re.MULTILINE))


def test_what_the_readme_names_is_installed_by_make_install_and_all_by_install_all() -> None:
    asked = _extras()
    base, everything = _locked("requirements.lock"), _locked("requirements-all.lock")
    assert asked["triage"] <= base
    assert asked["otlp"] <= base
    assert asked["triage"] | asked["otlp"] | asked["gcp"] | asked["sharing"] <= everything
    assert base <= everything
    assert everything <= _locked("requirements-dev.lock")


def test_every_extra_that_people_install_is_known_with_modules_of_its_own() -> None:
    asked = {name: packages for name, packages in _extras().items() if packages}
    assert set(EXTRAS) == set(asked) - {"bench"}
    packages = metadata.packages_distributions()
    for name, extra in EXTRAS.items():
        for module in extra.modules:
            if "." not in module:
                assert module in packages, f"{module} of {name} is no module that is installed"


@pytest.mark.parametrize(
    ("module", "extra"),
    [
        ("uvicorn", "triage"),
        ("starlette.applications", "triage"),
        ("stix2", "sharing"),
        ("google.cloud.bigquery", "gcp"),
        ("opentelemetry.proto.trace", "otlp"),
    ],
)
def test_who_misses_a_part_is_told_which_and_how_to_have_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, module: str, extra: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    monkeypatch.setattr("pipelines.config.load_config", fail)
    assert cli.run(["config", "show"]) == 2
    err = capsys.readouterr().err
    assert module in err
    assert f'".[{extra}]"' in err
    assert "Traceback" not in err


def test_another_module_that_is_missing_is_a_defect(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("No module named 'numqy'", name="numqy")

    monkeypatch.setattr("pipelines.config.load_config", fail)
    assert cli.run(["config", "show"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_who_misses_a_part_is_told_the_smaller_install_that_brings_it() -> None:
    base = _locked("requirements.lock")
    for name, packages in _extras().items():
        if name in EXTRAS:
            wanted = "`make install`" if packages <= base else "`make install-all`"
            assert how_to_install(name).startswith(wanted), name


@pytest.mark.parametrize("command", [["triage", "--output"], ["triage", "export", "c", "--output"]])
def test_the_triage_pages_without_their_part(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: list[str],
) -> None:
    """The commands themselves, with the modules gone."""
    import duckdb

    duckdb.connect(str(tmp_path / "out.duckdb")).close()
    for name in list(sys.modules):
        if name.startswith(("pipelines.triage", "pipelines.commands.triage")):
            monkeypatch.delitem(sys.modules, name)
    for module in EXTRAS["triage"].modules:
        monkeypatch.setitem(sys.modules, module, None)
    export = ["--html", str(tmp_path / "c.html")] if "export" in command else []
    code = cli.run([*command, f"duckdb:///{tmp_path}/out.duckdb", *export])
    assert code == 2, capsys.readouterr().err
