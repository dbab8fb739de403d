"""The Azure ML entry script: `init()` and `run(raw)`, as `elkkit_scoring.service` describes them.

A file of its own with nothing in it, because Azure's server runs its entry script without making it a module: classes
defined in one do not work as elsewhere. It may be copied to where a deployment wants it; `logging.json` beside it keeps
the server's own lines off standard output, which then holds metrics alone.
"""

from elkkit_scoring.service_http import init, run

__all__ = ["init", "run"]
