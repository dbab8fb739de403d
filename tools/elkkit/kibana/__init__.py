"""Kibana's saved objects: dashboards written as small specs, two ways to build them, and a check of any bundle."""

from elkkit.kibana.bundle import TARGETS, bundle, bundle_files, encode, load_specs, read_lines
from elkkit.kibana.problems import Problem
from elkkit.kibana.spec import Dashboard, Shared, read_dashboard, read_shared
from elkkit.kibana.stamps import limits_of
from elkkit.kibana.validate import known_fields, validate

__all__ = [
    "TARGETS",
    "Dashboard",
    "Problem",
    "Shared",
    "bundle",
    "bundle_files",
    "encode",
    "known_fields",
    "limits_of",
    "load_specs",
    "read_dashboard",
    "read_lines",
    "read_shared",
    "validate",
]
