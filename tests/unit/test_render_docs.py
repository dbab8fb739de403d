"""Tables in the READMEs."""

from __future__ import annotations

import pytest

from elkkit.assets import assets_root
from elkkit.contract import load_contract
from elkkit.errors import InputError
from elkkit.render.docs import fields, filled, metrics, pages

CONTRACT = load_contract()


def test_committed_tables_are_up_to_date():
    root = assets_root()
    for name, text in pages(root, CONTRACT).items():
        assert (root / name).read_text("utf-8") == text, f"{name}: run tools/render"


def test_tables_hold_every_field_and_metric():
    assert all(f"| `{name}`" in fields(CONTRACT) for name in CONTRACT.fields)
    assert all(f"| `{name}` |" in metrics(CONTRACT) for name in CONTRACT.metrics)
    assert len({row.count(" | ") for row in fields(CONTRACT).splitlines()}) == 1


def test_what_stands_between_markers_is_replaced_and_nothing_else():
    page = "a\n<!-- elkkit:metrics -->\nold \\1\n<!-- /elkkit:metrics -->\nb\n"
    once = filled(page, CONTRACT)
    assert once.startswith("a\n<!-- elkkit:metrics -->\n| metric |")
    assert once.endswith("|\n<!-- /elkkit:metrics -->\nb\n")
    assert filled(once, CONTRACT) == once
    assert filled("no markers\n", CONTRACT) == "no markers\n"


def test_a_marker_without_its_end_is_an_error():
    with pytest.raises(InputError, match="do not pair"):
        filled("<!-- elkkit:fields -->\n", CONTRACT)
