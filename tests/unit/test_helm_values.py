"""`elkkit render helm-values`: what is given stays one value, or is refused in three lines."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import UndefinedError
from typer.testing import CliRunner

from elkkit.assets import asset
from elkkit.cli import app
from elkkit.contract import load_contract
from elkkit.errors import ElkkitError, InternalError, UsageError
from elkkit.render import helm, templates
from elkkit.render.helm_options import KINDS, SIZES, check, defaults_of, mebibytes, options_of
from elkkit.usecases.helm_values import describe, faults, read_options, render_values

CONTRACT = load_contract()
TYPES = json.loads(asset("helm-values", "schemas", "types.json").read_text("utf-8"))["$defs"]
HOSTILE = [
    "a\nb: c", "lane\n", "\nlane", "lane\r", "a: b", "a # b", "{{ 1 }}", "{% raw %}", "${HOME}", "$(id)", "`id`", "a;b",
    "&anchor", "*alias", "!!python/object", "- a", "[a]", "{a: b}", "|", ">", "'", '"', '"lane"', "\\", "a\\nb",
    "%YAML", "---", "...", ".inf", "~", "a\u2028b", "a\x85b", "a\ufeff", "\x00", "é", "x" * 5_000, "", " ", " lane",
    "lane ", "\tlane", "../../etc", "a/../b", "-lane", "lane-",
]  # fmt: skip
TEXTS = [
    (kind, o.name) for kind in KINDS for o in options_of(kind).values() if o.type not in ("count", "port", "switch")
]


def run(*arguments: str):
    return CliRunner().invoke(app, ["render", "helm-values", *arguments])


def places(value, above: tuple = ()):
    """Every key and value of a document, with where it is."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield (*above, key), None
            yield from places(item, (*above, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from places(item, (*above, number))
    else:
        yield above, value


# --- hostile values --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "name"), TEXTS)
def test_hostile_values_are_refused(kind, name):
    for text in HOSTILE:
        with pytest.raises(UsageError) as caught:
            read_options(kind, [f"{name}={text}"])
        error = caught.value
        assert error.why == f"it is {describe(options_of(kind)[name])}"
        assert error.hint
        assert len(error.message) < 400


@pytest.mark.parametrize("text", ["a\nb: c", "x" * 5_000, "{{ 1 }}", "\x1b[31m", "a\u202eb"])
def test_a_refusal_is_three_lines_without_a_traceback(text):
    done = run("--set", f"logstash.name={text}")
    assert done.exit_code == 2
    assert done.stdout == ""
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == ["error", "why", "hint"]
    assert done.stderr.isprintable() or "\n" in done.stderr
    assert not {"\x1b", "\u202e"} & set(done.stderr)
    assert max(map(len, done.stderr.splitlines())) < 300


def near(option: tuple[str, str]):
    """Texts, many of which are of the option's type, or nearly so."""
    definition = TYPES[options_of(option[0])[option[1]].type]
    good = st.from_regex(definition["pattern"]) if "pattern" in definition else st.sampled_from(definition["enum"])
    return st.tuples(st.just(option), st.one_of(good, st.text(max_size=300)))


@settings(max_examples=60, deadline=None)  # a whole set of charts is rendered and read back
@given(st.sampled_from(TEXTS).flatmap(near))
def test_any_text_is_refused_or_stays_that_text(given_):
    (kind, name), text = given_
    try:
        values = read_options(kind, [f"{name}={text}"])
    except UsageError:
        return
    assert values == {name: text}
    try:
        rendered = render_values(CONTRACT, kind, "small", values)
    except ElkkitError as error:
        assert not isinstance(error, InternalError)  # noqa: PT017  the refusal is what is looked at
        return
    for file in rendered.files:
        assert faults(file.chart, file.text) == []
        before, after = (dict(places(d)) for d in (plain(kind, file.chart), yaml.safe_load(file.text)))
        added = {".".join(map(str, p)) for p in set(after) - set(before)}
        assert all("storageClassName" in p or "publicBaseUrl" in p or "root_url" in p or "extraEnvs" in p
                   or "server" in p for p in added), added  # fmt: skip


@cache
def plain(kind: str, chart: str):
    return yaml.safe_load(helm.values(CONTRACT, kind, "small")[chart])


NAMES = st.from_regex(r"[a-z]([a-z0-9-]{0,34}[a-z0-9])?", fullmatch=True)


@settings(max_examples=20, deadline=None)
@given(NAMES, NAMES, NAMES)
def test_names_come_out_as_they_went_in(elastic, shipper, namespace):
    options = [f"elasticsearch.name={elastic}", f"logstash.name={shipper}", f"namespace={namespace}"]
    (file,) = render_values(CONTRACT, "eck", "production", read_options("eck", options)).files
    eck = yaml.safe_load(file.text)
    assert eck["eck-elasticsearch"]["fullnameOverride"] == elastic
    assert eck["eck-kibana"]["elasticsearchRef"] == {"name": elastic}
    assert eck["eck-logstash"]["fullnameOverride"] == shipper
    assert eck["eck-beats"]["clusterRole"]["name"] == f"lane-eval-filebeat-{namespace}"
    assert yaml.safe_load(eck["eck-logstash"]["extraObjects"][0])["metadata"] == {"name": shipper}


@given(st.text())
def test_the_filter_writes_any_text_so_that_yaml_reads_it_back(text):
    try:
        written = templates.yaml_scalar(text)
    except InternalError:
        assert any("\ud800" <= c <= "\udfff" for c in text)
        return
    assert written.isascii()
    assert written.isprintable()
    assert yaml.safe_load(f"a: {{b: [{written}]}}\nc: 1") == {"a": {"b": [text]}, "c": 1}


@pytest.mark.parametrize("value", [True, False, 0, 1, 99, "true", "1", "1e3", "null", "0o7", "2026-11-22", "on"])
def test_the_filter_keeps_types(value):
    read = yaml.safe_load(templates.yaml_scalar(value))
    assert (type(read), read) == (type(value), value)


def test_a_name_that_a_template_lacks_is_an_error():
    with pytest.raises(UndefinedError):
        templates.render("helm/eck/eck-stack.yaml.j2", version="9.5.0")


# --- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", SIZES)
def test_every_default_is_of_its_type_and_goes_with_the_others(kind, size):
    defaults = defaults_of(kind, size)
    for name, value in defaults.items():
        if value is not None:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            assert read_options(kind, [f"{name}={text}"]) == {name: value}
    check(kind, defaults)


@pytest.mark.parametrize("kind", KINDS)
def test_every_option_changes_something(kind):
    other = {"count": 5, "port": 8080, "switch": True, "size": "7Gi", "cpu": "3", "url": "https://k.example.org/x",
             "days": "9d", "eck-version": "9.4.1", "classic-version": "8.13.4", "containers": "scorer-*.log",
             "folder": "/data", "path": "/m", "dataset": "pose.eval", "stack": "classic"}  # fmt: skip
    plain = helm.values(CONTRACT, kind, "small", note="n")
    for option in options_of(kind).values():
        if option.name.startswith("stream."):
            continue
        value = other.get(option.type, "other-name")
        assert helm.values(CONTRACT, kind, "small", {option.name: value}, note="n") != plain, option.name


def test_the_stream_is_set():
    given_ = read_options("eck", ["stream.dataset=pose.eval", "stream.namespace=night"])
    (file,) = render_values(CONTRACT, "eck", "small", given_).files
    text = yaml.safe_load(file.text)["eck-logstash"]["pipelines"][0]["config.string"]
    assert 'data_stream_dataset => "pose.eval"' in text
    assert "${ELKKIT_NAMESPACE:night}" in text


def test_the_last_of_two_counts():
    assert read_options("eck", ["namespace=a", "namespace=b"]) == {"namespace": "b"}


@pytest.mark.parametrize(
    ("kind", "text", "why"),
    [
        ("eck", "elasticsearch.memry=2Gi", "did you mean elasticsearch.memory"),
        ("eck", "Namespace=x", "did you mean namespace"),
        ("eck", "grafana.secret=x", "only monitoring has it"),
        ("classic", "kibana.count=2", "only eck has it"),
        ("eck", "nonsense", "there is no = in it"),
        ("eck", "zzz=1", "there are namespace, version"),
        ("eck", "=1", "there are namespace, version"),
        ("eck", "eck-elasticsearch.image=evil", "did you mean elasticsearch.name"),
        ("eck", "elasticsearch.count=0", "it is a whole number from 1 to 99"),
        ("eck", "elasticsearch.count=3.0", "it is a whole number"),
        ("eck", "elasticsearch.count=٣", "it is a whole number"),
        ("eck", "elasticsearch.count=" + "9" * 5_000, "it is a whole number"),
        ("eck", "elasticsearch.mmap=yes", "it is true or false"),
        ("eck", "version=8.13.0", "it is a version of the stack from 8.14"),
        ("classic", "version=9.0.0", "below 9"),
        ("eck", "elasticsearch.storage=20", "it is a whole number of Mi, Gi or Ti"),
        ("monitoring", "scoring.port=65536", "it is a port"),
    ],
)
def test_mistakes_are_named(kind, text, why):
    with pytest.raises(UsageError) as caught:
        read_options(kind, [text])
    assert why in (caught.value.why or "")
    assert "--keys" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("eck", "elasticsearch.count=2", "elasticsearch.count cannot be 2"),
        ("classic", "elasticsearch.memory=512Mi", "elasticsearch.memory is too little"),
        ("eck", "logstash.storage=1Gi", "logstash.storage is too little"),
        ("eck", "kibana.url=https://k.example.org:99999/x", "cannot be an address"),
        ("monitoring", "grafana.url=http://g:0", "cannot be an address"),
    ],
)
def test_values_that_would_not_work_are_refused(kind, text, message):
    done = run("--kind", kind, "--set", text)
    assert done.exit_code == 2
    assert message in done.stderr


def test_sizes_are_counted_in_mebibytes():
    assert [mebibytes(s) for s in ("512Mi", "2Gi", "1Ti")] == [512, 2048, 1_048_576]
    with pytest.raises(UsageError):
        mebibytes("2G")


# --- the command -----------------------------------------------------------------------------------------------------


def test_one_chart_goes_to_standard_output_whole():
    done = run("--set", "namespace=n", "--size", "production")
    assert done.exit_code == 0
    assert done.stdout.startswith("# Written by elkkit ")
    assert "--size production --set namespace=n\n" in done.stdout.splitlines(keepends=True)[0]
    committed = asset("helm-values", "eck", "production", "eck-stack.yaml").read_text("utf-8")
    plain = run("--size", "production").stdout
    assert plain.partition("\n")[2] == committed.partition("\n")[2]


def test_several_charts_need_a_folder_or_a_name():
    done = run("--kind", "classic")
    assert done.exit_code == 2
    assert "--chart elasticsearch" in done.stderr
    assert yaml.safe_load(run("--kind", "classic", "--chart", "logstash").stdout)["fullnameOverride"] == "logstash"
    assert "did you mean logstash?" in run("--kind", "classic", "--chart", "logstach").stderr
    assert "did you mean classic?" in run("--kind", "clasic").stderr
    assert "there are small, production" in run("--size", "x").stderr


def test_files_are_written_once_and_never_over_others(tmp_path):
    folder = tmp_path / "a" / "b"
    first = run("--kind", "classic", "--out", str(folder))
    assert first.exit_code == 0
    assert {p.name for p in folder.iterdir()} == {f"{c}.yaml" for c in helm.CHARTS["classic"]}
    assert first.stderr.startswith("next: helm install elasticsearch elastic/elasticsearch -n lane")
    again = run("--kind", "classic", "--out", str(folder))
    assert again.stdout.count("unchanged") == 4
    (folder / "kibana.yaml").write_text("mine: 1\n")
    before = {p: p.read_bytes() for p in folder.iterdir()}
    refused = run("--kind", "classic", "--out", str(folder), "--set", "version=8.6.2", "-v")
    assert refused.exit_code == 1
    assert "-mine: 1" in refused.stdout
    assert {p: p.read_bytes() for p in folder.iterdir()} == before
    assert run("--kind", "classic", "--out", str(folder), "--overwrite", "--dry-run").exit_code == 0
    assert {p: p.read_bytes() for p in folder.iterdir()} == before
    assert run("--kind", "classic", "--out", str(folder), "--overwrite").exit_code == 0
    assert yaml.safe_load((folder / "kibana.yaml").read_text())["imageTag"] == "8.5.1"


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    done = run("--out", str(tmp_path / "file"))
    assert done.exit_code == 2
    assert done.stderr.startswith("error: cannot read ")
    assert run("--out", "a\0b").exit_code == 2
    assert run("--overwrite").exit_code == 2


def test_keys_and_json(tmp_path):
    keys = json.loads(run("--kind", "monitoring", "--keys", "--json").stdout)["data"]["keys"]
    assert [k["key"] for k in keys] == list(options_of("monitoring"))
    assert "scoring.port" in run("--kind", "monitoring", "--keys", "-v").stdout
    shown = json.loads(run("--kind", "classic", "--json").stdout)["data"]
    assert [f["chart"] for f in shown["files"]] == list(helm.CHARTS["classic"])
    assert yaml.safe_load(shown["files"][2]["text"])["replicas"] == 1
    assert shown["options"]["stream.dataset"] == "lane.eval"
    written = json.loads(run("--json", "--out", str(tmp_path)).stdout)["data"]
    assert written["files"] == [{"chart": "eck-stack", "path": str(tmp_path / "eck-stack.yaml"), "action": "new"}]
    assert written["written"] is True


def test_a_teams_own_metrics_are_in_the_pipeline(tmp_path):
    (tmp_path / "elkkit.toml").write_text('dataset = "pose.eval"\n[metrics.PCK]\naliases = ["pck_0.2"]\n')
    done = run("--config", str(tmp_path / "elkkit.toml"))
    text = yaml.safe_load(done.stdout)["eck-logstash"]["pipelines"][0]["config.string"]
    assert "pck_0" in text
    assert 'data_stream_dataset => "pose.eval"' in text


def test_the_readme_shows_every_kind_and_names_real_keys():
    text = (Path(__file__).resolve().parents[2] / "helm-values" / "README.md").read_text("utf-8")
    for kind in KINDS:
        assert f"`{kind}/`" in text
    known = {name for kind in KINDS for name in options_of(kind)}
    assert set(re.findall(r"--set ([a-z_.]+)=", text)) <= known
