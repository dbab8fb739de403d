"""`python -m elkkit`."""

from elkkit.cli import app

app(prog_name="elkkit")
