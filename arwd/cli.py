"""The command line: `arwd serve` runs the daemon, the other commands talk to one that runs."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

from arwd import __version__, client
from arwd.client import Client

DONE: Final = 0
FAILED: Final = 1
USAGE: Final = 2
NOT_REACHABLE: Final = 3

_DEFAULT_URL: Final = "http://127.0.0.1:8090"
_FINAL: Final = frozenset({"complete", "error", "canceled"})

Command = Callable[[argparse.Namespace, Client], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    given = _parser().parse_args(arguments)
    if given.command == "serve":
        return _serve(given)
    token = os.environ.get("ARWD_TOKEN") or os.environ.get("ARW_ADMIN_TOKEN")
    try:
        return given.run(given, Client(given.url or _DEFAULT_URL, token))  # type: ignore[no-any-return]
    except client.Unusable as error:
        return _complain(error, USAGE)
    except client.NotReachable as error:
        return _complain(error, NOT_REACHABLE)
    except client.Refused as error:
        return _complain(error, FAILED)
    except KeyboardInterrupt:
        # The download goes on without us; that is what a daemon is for.
        return FAILED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE


def _serve(given: argparse.Namespace) -> int:
    # Here, not above: the clients start in a tenth of the time without the server's packages.
    from arwd import errors, server, settings

    flags = {name: getattr(given, name) for name in ("host", "port", "state_dir", "config")}
    try:
        server.serve(settings.load(flags, os.environ))
    except errors.StartError as error:
        return _complain(error, error.exit_status)
    except errors.StorageError as error:
        return _complain(error, FAILED)
    return DONE


def _get(given: argparse.Namespace, daemon: Client) -> int:
    asked = {name: getattr(given, name) for name in ("ref", "id", "sha256", "quantization")}
    # An empty one was given, and the daemon says what is wrong with it.
    body = {name: value for name, value in asked.items() if value is not None}
    receipt = daemon.call("POST", "/models/download", body)
    job = receipt["data"]
    if given.no_wait:
        _show(given, job, f"{job['id']}  {job['status']}  {job['job_id']}")
        return DONE
    line = _Line(as_json=given.json)
    status = FAILED
    for kind, payload in daemon.follow(job_id=job["job_id"], until="done"):
        if kind == "Models.DownloadProgress":
            line.tell(payload)
            if payload.get("status") in _FINAL:
                status = DONE if payload["status"] == "complete" else FAILED
    return status


def _jobs(given: argparse.Namespace, daemon: Client) -> int:
    jobs = daemon.call("GET", "/models/jobs")
    rows = [
        f"{job['status']:12} {_amount(job):>24}  {job['id']}  {job.get('error', '')}".rstrip() for job in jobs["jobs"]
    ]
    _show(given, jobs, "\n".join(rows) or "No jobs.")
    return DONE


def _ls(given: argparse.Namespace, daemon: Client) -> int:
    models = daemon.call("GET", "/models")
    rows = [
        f"{model['status']:12} {_size(model.get('bytes')):>10}  {model['id']}  {model.get('path', '')}"
        for model in models
    ]
    _show(given, models, "\n".join(row.rstrip() for row in rows) or "No models.")
    return DONE


def _watch(given: argparse.Namespace, daemon: Client) -> int:
    for kind, payload in daemon.follow(prefix="Models.,Service.S,Bus."):
        _show(given, {"kind": kind, "payload": payload}, f"{kind}  {_sentence(payload)}")
    return DONE


def _command(path: str) -> Command:
    def run(given: argparse.Namespace, daemon: Client) -> int:
        receipt = daemon.call("POST", path, {"id": given.id})["data"]
        _show(given, receipt, f"{receipt['id']}  {receipt['status']}")
        return FAILED if receipt["status"] == "no-active-job" else DONE

    return run


def _cancel(given: argparse.Namespace, daemon: Client) -> int:
    receipt = daemon.call("POST", "/models/download/cancel", {"id": given.id})["data"]
    if receipt["status"] == "no-active-job":
        _show(given, receipt, f"{given.id}  no-active-job")
        return FAILED
    # Back only when it is true: `canceled` is said once the part is gone.
    for _, payload in daemon.follow(job_id=receipt["job_id"], until="done"):
        if payload.get("status") in _FINAL:
            receipt["status"] = payload["status"]
    _show(given, receipt, f"{given.id}  {receipt['status']}")
    return DONE if receipt["status"] == "canceled" else FAILED


class _Line:
    """One download on the terminal: a line that is rewritten, or one line for each change where there is none."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._is_terminal = sys.stdout.isatty() and not as_json

    def tell(self, payload: dict[str, Any]) -> None:
        is_tick = payload.get("status") == "downloading"
        if self._as_json:
            _write(json.dumps(payload, ensure_ascii=False) + "\n")
        elif self._is_terminal:
            _write(f"\r\033[K{_sentence(payload)}" + ("" if is_tick else "\n"))
        elif not is_tick:
            _write(_sentence(payload) + "\n")


def _sentence(payload: dict[str, Any]) -> str:
    status = payload.get("status", payload.get("op", ""))
    if status == "downloading":
        share = f"{payload['progress']:3} %" if "progress" in payload else ""
        speed = _size(payload.get("bytes_per_second"))
        left = f", {payload['eta_seconds']} s left" if "eta_seconds" in payload else ""
        several = f", {payload['files_done']} of {payload['files_total']} files" if "files_total" in payload else ""
        return f"{payload['id']}  {share}  {_amount(payload)}{several}, {speed}/s{left}"
    count = f"{payload['files']} files" if "files" in payload else None
    facts = [payload.get("file"), count, *(payload.get(name) for name in ("sha256", "url", "error"))]
    return "  ".join(str(part) for part in (payload.get("id", ""), status, *facts) if part)


def _amount(job: dict[str, Any]) -> str:
    total = f" of {_size(job['total'])}" if job.get("total") is not None else ""
    return f"{_size(job.get('downloaded'))}{total}"


def _size(count: int | None) -> str:
    if count is None:
        return ""
    amount, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while amount >= 999.5 and len(units) > 1:
        amount /= 1000
        units.pop(0)
    return f"{amount:.0f} {units[0]}" if units[0] == "B" or amount >= 99.5 else f"{amount:.1f} {units[0]}"


def _show(given: argparse.Namespace, value: Any, text: str) -> None:
    _write((json.dumps(value, ensure_ascii=False) if given.json else text) + "\n")


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _complain(error: Exception, status: int) -> int:
    sys.stderr.write(f"arwd: {error}\n")
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="arwd", description="Downloads AI models: resumable, verified, atomic, live.")
    parser.add_argument("--version", action="version", version=f"arwd {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="run the daemon")
    serve.add_argument("--host", help="the address to listen on (127.0.0.1)")
    serve.add_argument("--port", type=int, help="the port to listen on (8090); 0 picks a free one")
    serve.add_argument("--state-dir", help="where models and the database are kept")
    serve.add_argument("--config", help="a TOML file with settings")

    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--json", action="store_true", help="answer in JSON")
    shared.add_argument(
        "--url", default=os.environ.get("ARWD_URL", _DEFAULT_URL), help="where the daemon is (ARWD_URL)"
    )

    def add(name: str, run: Command, meaning: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=meaning, parents=[shared])
        command.set_defaults(run=run)
        return command

    get = add("get", _get, "download a model and wait for it")
    get.add_argument("ref", help="a URL, a link to Hugging Face, hf://org/repo[:quantization], or publisher/name")
    get.add_argument("--id", help="the model's id (by default what its source calls it, or the file's name)")
    get.add_argument("--sha256", help="the digest the file must have")
    get.add_argument("--quantization", help="which files of a Hugging Face link, such as Q4_K_M")
    get.add_argument("--no-wait", action="store_true", help="return as soon as it is accepted")
    add("jobs", _jobs, "list the jobs")
    add("ls", _ls, "list the models")
    add("watch", _watch, "follow the events")
    for name, run, meaning in (
        ("cancel", _cancel, "cancel a download and delete its part"),
        ("pause", _command("/models/download/pause"), "pause a download"),
        ("resume", _command("/models/download/resume"), "let a paused download go on"),
        ("rm", _command("/models/delete"), "delete a model"),
    ):
        add(name, run, meaning).add_argument("id", help="the model's id")
    return parser
