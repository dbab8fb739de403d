"""Settings and the contract's extension: precedence, origins, and what is refused."""

from __future__ import annotations

import pytest

from elkkit.contract import extend, load_contract
from elkkit.errors import ConfigError, InputError
from elkkit.settings import MASK, load_settings


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    return tmp_path / "elkkit.toml"


def test_precedence_and_origins(project, monkeypatch):
    user = project.parent / "config" / "elkkit" / "elkkit.toml"
    user.parent.mkdir(parents=True)
    user.write_text('timeout = 5\ndataset = "user"\nes_url = "http://user:9200"\n')
    monkeypatch.setenv("XDG_CONFIG_HOME", str(user.parent.parent))
    project.write_text('dataset = "project"\nnamespace = "team"\n')
    environment = {"ELKKIT_NAMESPACE": "env", "ELKKIT_COLOR": "never"}
    found = {
        r["name"]: (r["value"], r["origin"])
        for r in load_settings({"color": "always"}, environment=environment).shown()
    }
    assert found["color"] == ("always", "--color")
    assert found["namespace"] == ("env", "ELKKIT_NAMESPACE")
    assert found["dataset"] == ("project", str(project))
    assert found["es_url"] == ("http://user:9200", str(user))
    assert found["timeout"] == (5.0, str(user))
    assert found["run_id"] == (None, "default")


def test_config_replaces_the_search(project, tmp_path):
    project.write_text('dataset = "project"\n')
    other = tmp_path / "other.toml"
    other.write_text('namespace = "n"\n')
    settings = load_settings(config=other)
    assert (settings["dataset"], settings["namespace"]) == (None, "n")
    assert load_settings(environment={"ELKKIT_CONFIG": str(other)})["namespace"] == "n"
    with pytest.raises(InputError, match="cannot read the settings"):
        load_settings(config=tmp_path / "none.toml")


def test_secrets_are_masked(project):
    settings = load_settings(environment={"ELKKIT_API_KEY": "s3cret"})
    assert "s3cret" not in str(settings.shown())
    assert next(r["value"] for r in settings.shown() if r["name"] == "api_key") == MASK
    project.write_text("api_key = 17\n")
    with pytest.raises(ConfigError) as caught:
        load_settings(environment={})
    assert "17" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("x = ", "Invalid value"),
        ('dataset_name = "a"', "no such setting"),
        ('timeout = "soon"', "no number"),
        ('dataset = "Lane-Eval"', "lower-case"),
        ('own_metrics = "some"', "neither"),
        ("metrics = 3", "must be a table"),
        ("[metrics]\nPCK = 3", "is a table"),
        ('[metrics.PCK]\nbetter = "up"', "none of higher"),
        ('[metrics.PCK]\ncolour = "red"', "no such key"),
        ('[metrics."1x"]', "no metric name"),
        ('[metrics.PCK]\naliases = ["IOU"]', "a name of IoU already"),
        ('[metrics.PCK]\nformat = ".4q"', "format"),
        ("[metrics.PCK]\nrange = [1]", "two numbers"),
        ('[fields."model.name"]\ntype = "long"', "has this field already"),
        ('[fields."model"]\ntype = "long"', "dotted"),
        ('[fields."model.name.x"]\ntype = "long"', "value and a group"),
        ('[fields."model.size"]\ntype = "text"', "none of"),
    ],
)
def test_what_is_wrong_in_a_file_is_said(project, text, why):
    project.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_settings(environment={}).contract()
    assert why in str(caught.value)
    assert caught.value.hint


def test_an_extended_contract(project):
    project.write_text(
        'dataset = "pose.eval"\n[metrics.PCK]\nunit = "ratio"\nbetter = "higher"\naliases = ["pck five"]\n'
        '[metrics.IoU]\nbetter = "lower"\n[fields."model.backbone"]\nshort = "the backbone"\n'
    )
    contract = load_settings(environment={}).contract()
    assert contract.stream == "logs-pose.eval-default"
    assert contract.spellings()["pck five"] == "PCK"
    assert contract.metric("IoU").better == "lower"
    assert contract.fields["model.backbone"].type == "keyword"
    assert contract.metric("anything").better == "none"


def test_the_shipped_contract_is_sound():
    contract = load_contract()
    assert extend(contract).fields is contract.fields
    spellings = [s.lower() for m in contract.metrics.values() for s in m.spellings]
    assert len(spellings) == len(set(spellings))
    for metric in contract.metrics.values():
        assert metric.better in ("higher", "lower", "none")
        assert metric.range[0] < metric.range[1]
        assert format(0.5, metric.format)
        assert metric.defined.endswith(".")
        assert metric.tolerance_px is None or f"{metric.tolerance_px} px" in metric.defined


@pytest.mark.parametrize("both", [False, True])
def test_a_command_for_kibana_offers_how_it_is_reached(project, both):
    import typer
    from typer.testing import CliRunner

    from elkkit.cli.command import command

    app, seen = typer.Typer(), {}

    @command(app, "probe", kibana=True, elastic=both)
    def probe(out) -> None:
        """Probe."""
        seen.update({r["name"]: r["value"] for r in out.settings.shown()})

    flags = ["--kibana-url", "http://u:secret@k:5601", "--ca-cert", "ca.pem", "--timeout", "5"]
    result = CliRunner().invoke(app, [*flags, *(["--es-url", "http://e:9200"] if both else [])])
    assert result.exit_code == 0, result.output
    assert seen["kibana_url"] == f"http://{MASK}@k:5601"
    assert (seen["ca_cert"], seen["timeout"]) == ("ca.pem", 5.0)
    assert seen["es_url"] == ("http://e:9200" if both else None)
