"""`elkkit diff-dashboards`: what an import would change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from elkkit.cli import kibana_options as options
from elkkit.cli.command import command
from elkkit.cli.output import Output, harmless
from elkkit.errors import ExitCode

if TYPE_CHECKING:
    from rich.console import Console


def register(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "diff-dashboards", kibana=True)
    def diff_dashboards(
        out: Output,
        paths: options.Files = None,
        only: options.Only = None,
        bundle: options.Bundle = None,
        space: options.Spaces = "default",
        map_ref: options.MapRef = None,
        index_pattern: options.IndexPattern = None,
        data_view: options.DataView = None,
        time_field: options.TimeField = None,
        map_field: options.MapField = None,
        wait: options.Wait = 60.0,
    ) -> None:
        """Compare dashboards with what Kibana has; exit 0 if it is the same, 1 if not.

        Each object that differs, and what differs in it: from what Kibana has to what the
        file has. Nothing is written.

        Examples:

          elkkit diff-dashboards --kibana-url http://localhost:5601

          elkkit diff-dashboards dashboards/ --space team-a --json
        """
        from elkkit.usecases.dashboards import gather, survey, target_for
        from elkkit.usecases.retargeting import aim

        choice = options.choice_of(paths, only, bundle, map_ref, map_field, index_pattern=index_pattern,
                                   data_view_id=data_view, time_field=time_field)  # fmt: skip
        spaces = options.spaces_of(space)
        contract = out.settings.contract()
        given = options.gathered_of(out, choice)
        with options.open_kibana(out, wait) as kibana:
            given = given or gather(contract, choice, target_for(kibana.server))
            gathered = aim(given, choice, contract, kibana, spaces[0])
            plans = [survey(kibana, contract, gathered, choice, name) for name in spaces]
            server = kibana.server
        same = all(p.same for p in plans)
        data = {"kibana": {"url": server.url, "product": server.product, "version": server.version_text},
                "source": gathered.source, "same": same, "spaces": [p.as_dict() for p in plans]}  # fmt: skip

        def people(console: Console) -> None:
            for plan in plans:
                if len(plans) > 1:
                    console.print(f"space {harmless(plan.space)}:")
                rows = [s for s in plan.steps if out.verbose or s.action != "unchanged"]
                options.show_steps(console, rows, verbose=1)
            out.note("the same" if same else "next: elkkit import-dashboards --dry-run")

        out.finish(data, people, exit_code=ExitCode.DONE if same else ExitCode.NO)
