"""`python -m elkkit.render [--check]`: write files and tables, or say whether they are up to date."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from elkkit.assets import assets_root
from elkkit.cli.output import show_error
from elkkit.contract import load_contract
from elkkit.errors import ElkkitError, ExitCode
from elkkit.render import generate_all
from elkkit.render.docs import pages
from elkkit.render.tree import difference, write

USAGE = "usage: tools/render [--check]"


def main(arguments: Sequence[str]) -> int:
    """Run the command; the exit code."""
    if arguments and list(arguments) != ["--check"]:
        print(USAGE, file=sys.stdout if set(arguments) <= {"-h", "--help"} else sys.stderr)
        return ExitCode.DONE if set(arguments) <= {"-h", "--help"} else ExitCode.USAGE
    root = assets_root()
    contract = load_contract()
    wanted = generate_all(contract) | pages(root, contract)
    if not arguments:
        for path in (changed := write(root, wanted)):
            print(path)
        print(f"{len(wanted)} files, {len(changed)} changed", file=sys.stderr)
        return ExitCode.DONE
    lines = list(difference(root, wanted))
    sys.stdout.writelines(line if line.endswith("\n") else f"{line}\n" for line in lines)
    if lines:
        print("error: generated files are out of date\nhint: tools/render", file=sys.stderr)
        return ExitCode.NO
    return ExitCode.DONE


if __name__ == "__main__":
    try:
        code = main(sys.argv[1:])
    except ElkkitError as error:
        show_error(error)
        code = error.exit_code
    sys.exit(code)
