"""The rules of the code that no linter knows. Each rule takes a module and yields what offends it."""

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from tests.architecture.names import imported_modules, imported_names, references, resolve

__all__ = ["HOMES", "PRODUCT", "RULES", "Module", "Offense", "offenses"]

PRODUCT = ("schemas", "behavior", "tracks", "ingest", "stage_engine", "segmenter", "notifier", "services")
PURE = ("schemas/*", "behavior/*", "*/domain/*")

# Where each thing may be done, as patterns of paths from the checkout's root.
HOMES = {
    "clock": ("services/runtime/clock.py",),
    "ids": ("services/runtime/ids.py",),
    "environment": ("services/settings.py",),
    "commit": ("services/storage/database.py", "services/eventlog/*"),
    "group offsets": ("services/runtime/*",),
    "kafka": ("services/eventlog/kafka*",),
}

CLOCKS = {
    *(f"time.{name}" for name in (
        "time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time",
        "process_time_ns", "clock_gettime", "clock_gettime_ns", "gmtime", "localtime", "ctime",
    )),
    *(f"datetime.datetime.{name}" for name in ("now", "utcnow", "today")),
    "datetime.date.today",
    "sqlalchemy.func.now", "sqlalchemy.func.current_timestamp", "sqlalchemy.func.clock_timestamp",
}  # fmt: skip
SQL_CLOCK = re.compile(
    r"\bCURRENT_(TIMESTAMP|DATE|TIME)\b|\b(clock_timestamp|statement_timestamp|transaction_timestamp)\(|\bnow\(\)"
    r"|\(\s*'now'|\bunixepoch\(\)"
)
DRAWS = {
    "os.urandom", "uuid.uuid1", "uuid.uuid4", "uuid.uuid6", "uuid.uuid7", "random.SystemRandom",
    *(f"secrets.{name}" for name in ("token_bytes", "token_hex", "token_urlsafe", "choice", "randbelow", "randbits")),
    *(f"random.{name}" for name in (
        "random", "randint", "randrange", "randbytes", "choice", "choices", "sample", "shuffle", "uniform", "gauss",
        "expovariate", "betavariate", "seed", "getrandbits",
    )),
}  # fmt: skip
ENVIRONMENT = {"os.environ", "os.environb", "os.getenv", "os.getenvb", "os.putenv", "os.unsetenv"}
COMMITS = {"commit", "executescript"}
SQL_COMMIT = re.compile(r"\s*(COMMIT|END)(\s+TRANSACTION)?\s*;?\s*|AUTOCOMMIT")
READS = {"open", "print", "input"}
FILE_METHODS = {"read_text", "read_bytes", "write_text", "write_bytes", "unlink", "mkdir", "iterdir", "rglob"}

LOGGERS = {"log", "_log", "logger", "_logger"}
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
EVENT_NAME = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)+")
PRIVATE_FIELDS = {
    "api_token", "authorization", "body", "cookie", "email", "password", "phone", "properties", "token", "traits",
    "write_key",
}  # fmt: skip
RECORD_FIELDS = {
    "args", "asctime", "created", "exc_info", "exc_text", "filename", "funcName", "levelname", "levelno", "lineno",
    "message", "module", "msecs", "msg", "name", "pathname", "process", "processName", "relativeCreated", "stack_info",
    "taskName", "thread", "threadName",
}  # fmt: skip

LEFT_OUT = {
    "pytest.skip", "pytest.importorskip", "pytest.xfail", "pytest.mark.skip", "pytest.mark.skipif", "pytest.mark.xfail",
}  # fmt: skip
SILENCER = re.compile(r"#\s*(?:type:\s*ignore|noqa|pragma)\S*(?P<rest>.*)")
REASON_LENGTH = 10

FILE_LINES = 500
FUNCTION_LINES = 70


@dataclass(frozen=True)
class Module:
    """One Python file: its path from the checkout's root with slashes, and its text."""

    path: str
    text: str

    @property
    def tree(self) -> ast.Module:
        """The parsed module."""
        return ast.parse(self.text)

    def matches(self, patterns: tuple[str, ...]) -> bool:
        """Whether the path fits one of the patterns."""
        return any(fnmatchcase(self.path, pattern) for pattern in patterns)


@dataclass(frozen=True)
class Offense:
    """One line that breaks a rule, and what to do instead."""

    rule: str
    line: int
    advice: str


Rule = Callable[[Module, ast.Module], Iterator[tuple[int, str]]]


def _constants(tree: ast.Module) -> Iterator[tuple[int, str]]:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    prose = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.lineno, node.value


def clock_reads(module: Module, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Only one module looks at a clock, so a test can move every clock there is."""
    if module.matches(HOMES["clock"]):
        return
    for line, dotted in references(tree):
        if dotted in CLOCKS:
            yield line, f"{dotted} is read; take the time as an argument, or from services/runtime/clock.py"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and not node.args and getattr(node.func, "attr", "") == "time":
            yield node.lineno, ".time() of an event loop is a clock; use asyncio.timeout or services/runtime/clock.py"
    for line, text in _constants(tree):
        if SQL_CLOCK.search(text):
            yield line, "a statement asks the database for the time; bind an instant instead"


def id_draws(module: Module, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Only one module draws ids and secrets; ids elsewhere are derived, so a replay finds the same ones."""
    if module.matches(HOMES["ids"]):
        return
    for line, dotted in references(tree):
        if dotted in DRAWS:
            yield line, f"{dotted} is used; derive the id, or draw it in services/runtime/ids.py"
    names = imported_names(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or node.args or node.keywords:
            continue
        if resolve(node.func, names) == "random.Random":
            yield node.lineno, "random.Random() without a seed; give it one"


def environment_reads(module: Module, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Only the settings read the environment, once."""
    if module.matches(HOMES["environment"]):
        return
    for line, dotted in references(tree):
        if dotted in ENVIRONMENT:
            yield line, f"{dotted} is used; make it a setting in services/settings.py"


def commits(module: Module, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Only the database module and the event log commit, so one batch is one transaction."""
    if module.matches(HOMES["commit"]):
        return
    # What is awaited is the reader's commit of group offsets: stores are synchronous.
    offsets = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Await)}
    blocks = {id(node.context_expr) for node in ast.walk(tree) if isinstance(node, ast.withitem)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            allowed = method == "commit" and id(node) in offsets and module.matches(HOMES["group offsets"])
            if (method in COMMITS and not allowed) or (method == "begin" and id(node) in blocks):
                yield node.lineno, f".{method}() commits; use the transaction of services/storage/database.py"
            for keyword in node.keywords:
                value = keyword.value
                if keyword.arg == "autocommit" and isinstance(value, ast.Constant) and value.value is True:
                    yield node.lineno, "autocommit=True commits; use the transaction of services/storage/database.py"
    for line, text in _constants(tree):
        if SQL_COMMIT.fullmatch(text):
            yield line, f"{text.strip()!r} commits; use the transaction of services/storage/database.py"


def kafka_imports(module: Module, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Only the Kafka adapter of the event log knows the Kafka client."""
    if module.matches(HOMES["kafka"]):
        return
    for line, dotted in imported_modules(tree):
        if dotted.partition(".")[0] == "aiokafka":
            yield line, "aiokafka is imported; use the port in services/eventlog/port.py"


def pure_io(module: Module, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The pure core touches no file and no terminal."""
    if not module.matches(PURE):
        return
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id in READS:
            yield node.lineno, f"{node.func.id}() in the pure core; take the content as an argument"
        if isinstance(node.func, ast.Attribute) and node.func.attr in FILE_METHODS:
            yield node.lineno, f".{node.func.attr}() in the pure core; take the content as an argument"


def log_calls(module: Module, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """A log line is a constant dotted name and fields; no field carries what belongs to a person or a key."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS):
            continue
        receiver = node.func.value
        name = receiver.id if isinstance(receiver, ast.Name) else getattr(receiver, "attr", None)
        if name not in LOGGERS:
            continue
        first = node.args[0] if node.args else None
        if not (isinstance(first, ast.Constant) and EVENT_NAME.fullmatch(str(first.value)) and len(node.args) == 1):
            yield node.lineno, 'write log.info("what.happened", extra={...}): a constant dotted name, then fields'
        for keyword in node.keywords:
            if keyword.arg == "extra" and isinstance(keyword.value, ast.Dict):
                yield from _bad_fields(keyword.value)


def _bad_fields(fields: ast.Dict) -> Iterator[tuple[int, str]]:
    for key in fields.keys:
        if isinstance(key, ast.Constant) and key.value in PRIVATE_FIELDS:
            yield key.lineno, f"the field {key.value!r} may hold what no log should; leave it out"
        if isinstance(key, ast.Constant) and key.value in RECORD_FIELDS:
            yield key.lineno, f"the field {key.value!r} collides with logging's own; name it otherwise"


def sizes(module: Module, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """A file has fewer than 500 lines, a function fewer than 70."""
    count = module.text.count("\n")
    if count >= FILE_LINES:
        yield count, f"{count} lines in one file; split it by what changes together"
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.end_lineno is not None:
            length = node.end_lineno - node.lineno + 1
            if length >= FUNCTION_LINES:
                yield node.lineno, f"{node.name} has {length} lines; give its parts names"


def docstrings(module: Module, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Modules and what is public in them say what they are; a method of a port may leave it to the port."""
    if not module.matches(tuple(f"{package}/*" for package in PRODUCT)):
        return
    if ast.get_docstring(tree) is None:
        yield 1, "the module has no docstring"
    definitions = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in tree.body:
        if not isinstance(node, definitions) or node.name.startswith("_"):
            continue
        if ast.get_docstring(node) is None:
            yield node.lineno, f"{node.name} has no docstring: shapes, units, errors raised"
        if isinstance(node, ast.ClassDef) and not node.bases:
            for inner in node.body:
                if isinstance(inner, definitions) and not inner.name.startswith("_") and not ast.get_docstring(inner):
                    yield inner.lineno, f"{node.name}.{inner.name} has no docstring: shapes, units, errors raised"


def left_out(module: Module, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """A test that does not run says why."""
    names = imported_names(tree)
    for node in ast.walk(tree):
        bare: list[ast.expr] = []
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            bare = node.decorator_list
        elif isinstance(node, ast.Call) and not any(keyword.arg == "reason" for keyword in node.keywords):
            called = resolve(node.func, names)
            bare = [] if called == "pytest.skip" and node.args else [node.func]
        for expression in bare:
            if resolve(expression, names) in LEFT_OUT:
                yield expression.lineno, "a test is left out without a reason"


def silenced(module: Module, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Whatever silences a tool says why beside it."""
    for number, text in enumerate(module.text.splitlines(), start=1):
        found = SILENCER.search(text)
        if found and len(found["rest"].strip(" #-:")) < REASON_LENGTH:
            yield number, "a tool is silenced without a reason beside it"


RULES: dict[str, Rule] = {
    "clock": clock_reads,
    "ids": id_draws,
    "environment": environment_reads,
    "commit": commits,
    "kafka": kafka_imports,
    "pure": pure_io,
    "log": log_calls,
    "size": sizes,
    "docstring": docstrings,
    "left out": left_out,
    "silenced": silenced,
}
EVERYWHERE = ("size", "left out", "silenced")


def offenses(module: Module) -> list[Offense]:
    """All offenses of a module. Tests, benchmarks and scripts only keep the rules of `EVERYWHERE`."""
    in_product = module.path.partition("/")[0] in PRODUCT
    tree = module.tree
    return [
        Offense(name, line, advice)
        for name, rule in RULES.items()
        if in_product or name in EVERYWHERE
        for line, advice in rule(module, tree)
    ]
