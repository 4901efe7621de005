"""``bbhost config show``: every setting, its value, and where the value came from."""

from pathlib import Path

import typer

from bbhost.cli.commanding import Answer, Cli, local_command
from bbhost.cli.printing import clean, say, say_table

app = typer.Typer(name="config", help="Settings.", no_args_is_help=True, rich_markup_mode=None)


@local_command(app, "show")
def show(cli: Cli) -> Answer | None:
    """Show every setting with its value and its source. Secrets are not shown."""
    from bbhost.daemon.config import SETTINGS, default_data_dir

    config = cli.place.config()
    rows = []
    for setting in SETTINGS:
        sourced = config.values[setting.name]
        value = sourced.value
        if setting.secret and value is not None:
            value = "(hidden)"
        elif setting.name == "data_dir" and value is None:
            value = default_data_dir()
        rows.append((setting.name, value, sourced.source, setting.help))
    return Answer(
        {
            "file": str(config.file),
            "settings": [
                {"name": name, "value": value, "source": source, "help": help_text}
                for name, value, source, help_text in rows
            ],
            "providers": {name: sorted(table) for name, table in config.providers.items()},
        },
        lambda: _show(config.file, rows),
    )


def _show(file: Path, rows: list[tuple[str, object, str, str]]) -> None:
    absent = "" if file.exists() else " (there is none)"
    say(f"Configuration file: {clean(file)}{absent}")
    say_table(["setting", "value", "source", "meaning"], rows)
