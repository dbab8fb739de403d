"""The Logstash pipelines, read by the grammar of Logstash's configuration language."""

from __future__ import annotations

import re

import pytest

import lscl
from elkkit.contract import load_contract
from elkkit.render import generate_all, helm, logstash

CONTRACT = load_contract()
TEXTS = {p: t for p, t in generate_all(CONTRACT).items() if p.endswith(".conf")}
TEXTS["eck"] = logstash.pipeline(CONTRACT, helm.ON_ECK)
TEXTS["classic"] = logstash.pipeline(CONTRACT, helm.ON_CLASSIC)
WORK = "[@metadata][elkkit]"
VARIABLES = {
    "ELKKIT_ALL",
    "ELKKIT_BEATS_CERTIFICATE",
    "ELKKIT_BEATS_HOST",
    "ELKKIT_BEATS_KEY",
    "ELKKIT_BEATS_PORT",
    "ELKKIT_ELASTICSEARCH_CA",
    "ELKKIT_ELASTICSEARCH_PASSWORD",
    "ELKKIT_ELASTICSEARCH_URL",
    "ELKKIT_ELASTICSEARCH_USER",
    "ELKKIT_LOG_FILES",
    "ELKKIT_NAMESPACE",
    "ECK_ES_HOSTS",
    "ECK_ES_PASSWORD",
    "ECK_ES_SSL_CERTIFICATE_AUTHORITY",
    "ECK_ES_USER",
}


@pytest.fixture(params=TEXTS)
def config(request) -> lscl.Config:
    return lscl.read(TEXTS[request.param])


def strings(value) -> list[str]:
    if isinstance(value, dict):
        return [s for k, v in value.items() for s in [k, *strings(v)]]
    if isinstance(value, list):
        return [s for item in value for s in strings(item)]
    return [value] if isinstance(value, str) else []


def reference(field: str) -> str:
    return field if field.startswith("@") else "".join(f"[{part}]" for part in field.split("."))


KNOWN = {reference(f) for f in CONTRACT.fields} | {f"[{f}]" for f in CONTRACT.fields if "." not in f}
KNOWN |= {
    "metrictype",
    "metricscores",
    "metricraw",
    "message",
    "@version",
    "agent",
    "ecs",
    "input",
    "[event][original]",
}


def is_known(field: str) -> bool:
    return field in KNOWN or field.startswith(WORK)


def test_the_reader_refuses_what_logstash_refuses():
    for wrong in (
        "filter { grok { a => 1e-5 } }",
        "filter { grok { a } }",
        "filter { if [a] == { } }",
        "x { }",
        "filter {",
    ):
        with pytest.raises(lscl.LSCLError):
            lscl.read(wrong)


def test_every_plugin_has_an_id_of_its_own(config):
    ids = [p.settings["id"] for p in config.plugins]
    assert len(ids) == len(set(ids))
    assert all(i.startswith("elkkit-") for i in ids)


def test_conditions_and_filters_touch_only_fields_that_there_are(config):
    assert [r for r in config.references if not is_known(r)] == []
    touched = []
    for plugin in config.of("mutate"):
        for setting in ("copy", "replace", "add_field", "rename"):
            for source, target in plugin.settings.get(setting, {}).items():
                touched += [source, target] if setting in ("copy", "rename") else [source]
        touched += [f for s in ("remove_field", "lowercase") for f in plugin.settings.get(s, [])]
        touched += plugin.settings.get("gsub", [])[::3]
    assert [t for t in touched if not is_known(t)] == []


def test_patterns_are_all_defined(config):
    (grok,) = config.of("grok")
    definitions = grok.settings["pattern_definitions"]
    (patterns,) = grok.settings["match"].values()
    used = {n for text in [*patterns, *definitions.values()] for n in re.findall(r"%\{(\w+)", text)}
    assert used == set(definitions)
    assert patterns[-1] == r"\A"
    assert all(p.startswith(r"\A") for p in patterns)
    captured = set(re.findall(r"%\{\w+:([^:}]+)", "".join(patterns)))
    assert all(is_known(c) for c in captured)
    kinds = set(re.findall(r"%\{\w+:[^:}]+:(\w+)\}", "".join(patterns)))
    assert kinds == {"float"}, "Logstash turns any other type into text"
    assert "".join(patterns).isascii()
    assert "".join(definitions.values()).isascii()


def test_no_text_of_a_line_is_filled_into_a_setting(config):
    """sprintf (`%{…}`) is used for one thing: an id that has been checked."""
    filled = []
    for plugin in config.plugins:
        settings = {k: v for k, v in plugin.settings.items() if k not in ("match", "pattern_definitions", "init")}
        filled += [s for s in strings(settings) if "%{" in s]
    assert set(filled) <= {"%{[@metadata][elkkit][id]}"}


def test_ids_are_checked_before_they_are_used(config):
    copies = [p for p in config.of("mutate") if p.settings.get("copy") == {"[event][id]": f"{WORK}[id]"}]
    assert [p.conditions[-1] for p in copies] == [r"[event][id] =~ /\A[0-9a-f]{32}\z/"]
    for output in config.of("elasticsearch"):
        guarded = output.conditions == (f"{WORK}[id]",)
        assert guarded == ("document_id" in output.settings)


def test_streams_are_named_and_nothing_turns_them_off(config):
    for output in config.of("elasticsearch"):
        assert output.settings["data_stream"] == "true"
        assert output.settings["data_stream_dataset"] == CONTRACT.dataset
        assert output.settings["action"] == "create"
        assert output.settings["data_stream_auto_routing"] == "false"
        assert not {"manage_template", "index", "template", "template_name", "ilm_enabled"} & set(output.settings)


def test_variables_are_the_documented_ones(config):
    used = {v for p in config.plugins for s in strings(p.settings) for v in re.findall(r"\$\{(\w+)", s)}
    assert used <= VARIABLES


def test_tls_options_have_the_names_of_their_versions():
    new = {"ssl_enabled", "ssl_certificate_authorities"}
    old = {"ssl", "cacert"}
    for path, wanted, other in (
        ("logstash/pipeline/lane-eval.conf", new, old),
        ("eck", new, old),
        ("logstash/pipeline-8.3/lane-eval.conf", old, new),
        ("classic", old, new),
        ("logstash/pipeline-laptop/lane-eval.conf", set(), old | new),
    ):
        for output in lscl.read(TEXTS[path]).of("elasticsearch"):
            assert wanted <= set(output.settings), path
            assert not other & set(output.settings), path
    beats = next(lscl.read(TEXTS["logstash/pipeline-laptop/lane-eval.conf"]).of("beats"))
    assert beats.settings["host"] == "${ELKKIT_BEATS_HOST:127.0.0.1}"


def test_all_pipelines_share_one_filter():
    section = logstash.filter_section(CONTRACT)
    assert all(text.count(section) == 1 for text in TEXTS.values())


def test_one_folder_holds_one_pipeline():
    """Logstash joins the files of a folder."""
    folders = [p.rsplit("/", 1)[0] for p in TEXTS if "/" in p]
    assert len(folders) == len(set(folders))
