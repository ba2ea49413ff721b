"""The command line: `parcours <command>`. Whatever the user can mend is one sentence and exit code 2."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - this file must say so to an older Python in words
    sys.stderr.write(
        "parcours: Python 3.11 or newer is needed, this is Python {}.{}."
        " Run `make setup PYTHON=python3.11` with a newer one. [python_too_old]\n".format(*sys.version_info)
    )
    raise SystemExit(2)

import argparse
from collections.abc import Callable, Sequence

from services.errors import ServiceError
from services.eventlog.port import LogError
from services.processes.running import FAILED, REFUSED, run_process, tell_error
from services.settings import DEFAULT_PORT, InvalidSetting, Settings, load_settings

__all__ = ["build_parser", "main"]

Command = Callable[[argparse.Namespace, Settings], int]

_DESCRIPTION = "Follows every customer's journey, from the first visit to the last, and acts on its turns."
_EPILOG = "Settings come from the environment and from .env; see docs/reference/settings.md."
_ANY_PORT = 0
_SERVICES = {
    "ingest": ("ingest", "the door, the API and the pages", DEFAULT_PORT),
    "stage-engine": ("stage_engine", "the stage engine", _ANY_PORT),
    "segmenter": ("segmenter", "the segmenter", _ANY_PORT),
    "notifier": ("notifier", "the notifier", _ANY_PORT),
}


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; each sets `command` to what runs it."""
    from services.commands_demo import add_demo_command
    from services.commands_keys import add_keys_commands
    from services.commands_lifecycle import add_lifecycle_commands
    from services.commands_redrive import add_redrive_command
    from services.commands_verify import add_verify_command

    parser = argparse.ArgumentParser(prog="parcours", description=_DESCRIPTION, epilog=_EPILOG)
    parser.set_defaults(default_port=DEFAULT_PORT)
    commands = parser.add_subparsers(title="commands", metavar="<command>", required=True)
    _add(commands, "run", "everything in one process: the default", _run)
    add_demo_command(commands)
    for name, (service, what, port) in _SERVICES.items():
        text = f"{what}, as a process of its own (needs Kafka and PostgreSQL)"
        _add(commands, name, text, _runner(service)).set_defaults(default_port=port)
    _add(commands, "migrate", "create the topics and tables that are missing, and say which", _migrate)
    add_lifecycle_commands(commands)
    add_verify_command(commands)
    add_redrive_command(commands)
    add_keys_commands(commands)
    return parser


class NeedsCluster(ServiceError):
    """A service on its own needs Apache Kafka and PostgreSQL: set KAFKA_BOOTSTRAP_SERVERS and DATABASE_URL."""

    code = "needs_cluster"


def _add(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, what: str, run: Command
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=what, description=what[0].upper() + what[1:] + ".")
    parser.set_defaults(command=run)
    return parser


def _run(_arguments: argparse.Namespace, settings: Settings) -> int:
    from services.processes.all_in_one import run_all_in_one

    return run_all_in_one(settings)


def _runner(service: str) -> Command:
    def run(_arguments: argparse.Namespace, settings: Settings) -> int:
        from services.processes.all_in_one import run_services

        if not settings.cluster:
            raise NeedsCluster
        return run_services(settings, (service,))

    return run


def _migrate(_arguments: argparse.Namespace, settings: Settings) -> int:
    from services.processes.migration import run_migration

    return run_process(lambda _stop, _is_up: run_migration(settings))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code: 0 done, 1 failed, 2 asked for something that cannot be."""
    from services.processes.logs import configure_logging

    parsed = build_parser().parse_args(arguments)
    try:
        settings = load_settings(default_port=parsed.default_port)
        configure_logging(settings.log_level, settings.log_format)
        command: Command = parsed.command
        return command(parsed, settings)
    except (ServiceError, LogError, InvalidSetting) as error:
        tell_error(error)
        return REFUSED
    except KeyboardInterrupt:
        return FAILED


if __name__ == "__main__":
    sys.exit(main())
