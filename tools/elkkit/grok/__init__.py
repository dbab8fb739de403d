"""The judging patterns, as grok definitions for Logstash and Elasticsearch and as expressions for Python."""

from elkkit.grok.patterns import GrokPatterns, grok_patterns, is_own_name, python_expression

__all__ = ["GrokPatterns", "grok_patterns", "is_own_name", "python_expression"]
