"""Real grok engines that can be asked about lines: Elasticsearch's library, an ingest node, Logstash."""

from elkkit.stack.grokengine.answer import LIMIT, Answer, Grok, GrokEngine, NotAtHandError, RefusedError
from elkkit.stack.grokengine.elastic import IngestEngine
from elkkit.stack.grokengine.library import LibraryEngine
from elkkit.stack.grokengine.logstash import VARIABLE, LogstashEngine

__all__ = [
    "LIMIT",
    "VARIABLE",
    "Answer",
    "Grok",
    "GrokEngine",
    "IngestEngine",
    "LibraryEngine",
    "LogstashEngine",
    "NotAtHandError",
    "RefusedError",
]
