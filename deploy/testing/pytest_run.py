"""Run pytest in child processes that use the tests' own services.

Tests run in parallel: the end-to-end tests on two workers, all others file by file on the rest. Measurements of speed
(`tests/performance`) run alone after them, because another test beside them would distort the figures.
"""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import psutil

from deploy.bootstrap import without_bytecode_ban
from deploy.home import REPOSITORY, TEST_RUN_VARIABLE
from deploy.local.kafka.broker import JVM_OPTIONS_VARIABLE
from deploy.testing.left_processes import end_left_processes, new_run
from deploy.testing.run_report import REPORT_FILE_VARIABLE, REPORT_PLUGIN, RunReport, read_report

TEST_FOLDER = "tests"
MEASUREMENT_FOLDER = "tests/performance"
WORKERS_MIN, WORKERS_MAX = 3, 4
"""More workers than these gain little: the end-to-end tests run on two workers and take the longest. On two cores, a
third worker for them took as long, because each test waited for a processor."""
TEMPORARY_SERVICES_VARIABLE = "PLATFORM_TEST_TEMPORARY"
"""Set if the services are removed after the run. The tests then need not drop their databases."""
KAFKA_JVM_OPTIONS = "-XX:TieredStopAtLevel=1"
"""A broker of a test ends before Java's second compiler has saved the time that it costs."""
_NO_TESTS_COLLECTED = 5
_INTERRUPTED = 2
_OWN_PROCESS_OPTIONS = {"-n", "--numprocesses", "--dist", "--pdb", "--trace", "-s", "--capture=no", "--collect-only"}
"""Options that choose the number of workers themselves or need all tests in one process."""
_VALUE_OPTIONS = {"-k", "-m", "-n", "-p", "-o", "-c", "-W", "--deselect", "--ignore", "--ignore-glob", "--junitxml"}
"""The argument after one of these is not a test path, even if a file has its name."""


def test_environment(addresses: Mapping[str, str], *, temporary: bool = False) -> dict[str, str]:
    """This process's environment with the services' addresses. PLATFORM_TEST_HOME permits tests to empty them.

    `temporary`: the services are removed after the run.
    """
    return {
        # A test that runs this command is in a worker of pytest-xdist; the new run is not.
        **{
            name: value
            for name, value in without_bytecode_ban(os.environ).items()
            if not name.startswith("PYTEST_XDIST_") and name != TEMPORARY_SERVICES_VARIABLE
        },
        **addresses,
        "PLATFORM_TEST_HOME": addresses["PLATFORM_HOME"],
        "PLATFORM_PYTHON_ENV": "current",
        # Only the tests of the dashboard build it.
        "PLATFORM_DASHBOARD": "off",
        JVM_OPTIONS_VARIABLE: KAFKA_JVM_OPTIONS,
        **({TEMPORARY_SERVICES_VARIABLE: "1"} if temporary else {}),
    }


def run_pytest(
    environment: Mapping[str, str], arguments: list[str], *, workers: int | None = None, coverage: Path | None = None
) -> int:
    """Run the tests that `arguments` name, or all, and return pytest's exit code.

    `workers`: number of parallel test processes; by default one more than processors for a folder, because end-to-end
    tests mostly wait, and one for a single file.
    `coverage`: the folder for the coverage report; the variable COVERAGE_FILE must be set then.
    """
    runs = plan_runs(arguments, workers)
    if coverage is not None:
        for number, run in enumerate(runs):
            run += ["--cov", *(["--cov-append"] if number else [])]
            run += _coverage_reports(coverage) if number == len(runs) - 1 else ["--cov-report="]
    codes: list[int] = []
    reports: list[RunReport] = []
    run_id = new_run()
    try:
        with tempfile.TemporaryDirectory(prefix="trading-test-report-") as folder:
            for number, run in enumerate(runs):
                report_file = Path(folder) / f"{number}.json"
                variables = {**environment, REPORT_FILE_VARIABLE: str(report_file), TEST_RUN_VARIABLE: run_id}
                codes.append(_run_pytest(variables, run))
                reports += read_report(report_file)
                if codes[-1] == _INTERRUPTED or (codes[-1] and _stops_at_first_failure(arguments)):
                    break
    finally:
        for command in end_left_processes(run_id):
            print_status(f"ended a process that a test left running: {command}")
    if len(reports) > 1:
        print(RunReport.merge(reports).text(), flush=True)
    failures = [code for code in codes if code not in (0, _NO_TESTS_COLLECTED)]
    return failures[0] if failures else min(codes)


def plan_runs(arguments: list[str], workers: int | None) -> list[list[str]]:
    """The arguments of each pytest run: one run for named tests; all tests take two, the measurements last."""
    pairs = zip(["", *arguments], arguments, strict=False)
    paths = [path for option, path in pairs if option not in _VALUE_OPTIONS and _is_test_path(path)]
    options = ["-p", REPORT_PLUGIN, "--durations=20", *_worker_options(arguments, paths, workers)]
    if paths:
        return [[*options, *arguments]]
    alone = [*options[:3], MEASUREMENT_FOLDER, *arguments, "-n", "0"]
    return [[*options, f"--ignore={MEASUREMENT_FOLDER}", TEST_FOLDER, *arguments], alone]


def _worker_options(arguments: list[str], paths: list[str], workers: int | None) -> list[str]:
    if workers is None:
        names = {name for argument in arguments for name in (argument, argument.split("=")[0], argument[:2])}
        if names.intersection(_OWN_PROCESS_OPTIONS):
            return []
        is_one_file = len(paths) == 1 and paths[0].split("::")[0].endswith(".py")
        measures = any(path.startswith(MEASUREMENT_FOLDER) for path in paths)
        workers = 1 if is_one_file or measures else max(WORKERS_MIN, min(WORKERS_MAX, len(os.sched_getaffinity(0)) + 1))
    # One worker is this pytest process itself: no messages between processes, and a debugger works.
    return ["-n", str(workers if workers > 1 else 0)]


def _stops_at_first_failure(arguments: list[str]) -> bool:
    return any(argument in ("-x", "--exitfirst") or argument.startswith("--maxfail") for argument in arguments)


def _coverage_reports(folder: Path) -> list[str]:
    return [
        "--cov-report=term:skip-covered",
        f"--cov-report=html:{folder / 'html'}",
        f"--cov-report=json:{folder / 'coverage.json'}",
    ]


def _run_pytest(environment: Mapping[str, str], arguments: list[str]) -> int:
    command = [sys.executable, "-m", "pytest", *arguments]
    print_status("running " + " ".join(command[2:]))
    # A shell starts background jobs with SIGINT ignored, and Python would leave it so.
    child = subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    )
    try:
        return child.wait()
    except KeyboardInterrupt:
        # The terminal sent Ctrl-C to pytest too: let it print its summary.
        return child.wait()
    finally:
        if child.poll() is None:
            _interrupt(child)


def _interrupt(child: subprocess.Popen[bytes]) -> None:
    """Interrupt pytest as Ctrl-C does, so that tests stop the processes that they started. SIGTERM gives no time."""
    for worker in _worker_processes(child.pid):
        worker.send_signal(signal.SIGINT)
    child.send_signal(signal.SIGINT)
    try:
        child.wait(60)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _worker_processes(pid: int) -> list[psutil.Process]:
    """The test processes of pytest-xdist, which read their program from standard input."""
    try:
        children = psutil.Process(pid).children()
        return [process for process in children if any("exec(eval(sys.stdin" in part for part in process.cmdline())]
    except psutil.Error:
        return []


def _is_test_path(argument: str) -> bool:
    return not argument.startswith("-") and (REPOSITORY / argument.split("::")[0]).exists()


def print_status(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
