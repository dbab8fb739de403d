"""KQL, Kibana's query language: read it, turn it into Elasticsearch's, or ask it of one event here.

The grammar and its errors are those of Kibana 8.3: what this refuses, Discover refuses too.
"""

from elkkit.kql.ast import (
    And,
    Exists,
    Is,
    MatchAll,
    Nested,
    Node,
    Not,
    Or,
    Range,
    Wildcard,
    field_names,
    matching_fields,
)
from elkkit.kql.dates import event_moment
from elkkit.kql.errors import KqlError, KqlSyntaxError
from elkkit.kql.match import Matcher, to_predicate
from elkkit.kql.parser import parse
from elkkit.kql.query import to_query

__all__ = [
    "And",
    "Exists",
    "Is",
    "KqlError",
    "KqlSyntaxError",
    "MatchAll",
    "Matcher",
    "Nested",
    "Node",
    "Not",
    "Or",
    "Range",
    "Wildcard",
    "event_moment",
    "field_names",
    "matching_fields",
    "parse",
    "to_predicate",
    "to_query",
]
