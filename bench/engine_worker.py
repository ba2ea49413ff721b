"""The stage engine alone, in a process of its own: what `bench.engine` measures. Settings come from the environment."""

from services.processes.all_in_one import run_services
from services.settings import load_settings

__all__: list[str] = []

if __name__ == "__main__":
    raise SystemExit(run_services(load_settings(), ("stage_engine",)))
