"""First one wins: flag, `ARWD_*`, ARW's and the Hub's variables, the file, the service manager, the default. Mistakes
are named.
"""

import os
import re
from pathlib import Path
from typing import Any

import platformdirs
import pytest

from arwd import net, settings
from arwd.errors import SettingsError
from arwd.settings import keys, load, state_dir


@pytest.fixture(autouse=True)
def _no_file_of_this_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platformdirs, "user_config_path", lambda _: tmp_path / "nobody")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "arwd.toml"


def test_without_anything_set_the_defaults_hold() -> None:
    loaded = load({}, {})
    assert (loaded.server.host, loaded.server.port) == ("127.0.0.1", 8090)
    assert (loaded.jobs.max_jobs, loaded.net.stall_timeout, loaded.transfer.retry_for) == (3, 60.0, 900.0)
    assert (loaded.bus.ring, loaded.bus.heartbeat, loaded.sources.resolve_timeout) == (8192, 15.0, 15.0)
    assert (loaded.streams.max_streams, loaded.streams.max_streams_per_address) == (1000, 64)
    assert (loaded.auth.token, loaded.auth.allowed_hosts) == ("", ())


# Each source sets the state directory; the ones below it must not matter.
SOURCES = ["flag", "ARWD_STATE_DIR", "ARW_STATE_DIR", "file", "STATE_DIRECTORY"]


@pytest.mark.parametrize("first", range(len(SOURCES)))
def test_the_first_source_that_says_something_wins(first: int, file: Path) -> None:
    present = SOURCES[first:]
    flags = {"state_dir": "/by/flag" if "flag" in present else None, "config": None}
    environ = {name: f"/by/{name}" for name in present if name.isupper()}
    if "file" in present:
        file.write_text('state_dir = "/by/file"\n')
        environ["ARWD_CONFIG"] = str(file)
    assert load(flags, environ).store.state_dir == f"/by/{SOURCES[first]}"


def test_the_hub_s_own_variable_comes_after_ours_and_before_the_file(file: Path) -> None:
    file.write_text('hf_endpoint = "https://by-file.example"\n')
    environ = {"ARWD_CONFIG": str(file)}
    for name in ("HF_ENDPOINT", "ARWD_HF_ENDPOINT"):
        environ[name] = f"https://{name.lower().replace('_', '-')}.example"
        assert load({}, environ).sources.hf_endpoint == environ[name]
    assert load({}, {"ARWD_CONFIG": str(file), "HF_ENDPOINT": ""}).sources.hf_endpoint == "https://by-file.example"


def test_the_hub_s_token_is_no_setting() -> None:
    environ = {"HF_TOKEN": "s3cr3t", "HF_TOKEN_PATH": "/run/s3cr3t", "HF_HOME": "/s3cr3t"}
    assert load({}, environ) == load({}, {}), "so nothing can show it"


def test_without_a_source_the_platform_says_where_the_state_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(platformdirs, "user_state_path", lambda name: tmp_path / name)
    assert state_dir(load({}, {})) == tmp_path / "arwd"


def test_the_state_directory_is_absolute_whatever_was_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert state_dir(load({"state_dir": "here"}, {})) == tmp_path / "here"
    assert state_dir(load({"state_dir": "~/there"}, {})) == Path("/home/somebody/there")


def test_of_several_directories_of_the_manager_the_first_counts() -> None:
    assert load({}, {"STATE_DIRECTORY": "/var/lib/arwd:/var/lib/other"}).store.state_dir == "/var/lib/arwd"


@pytest.mark.parametrize(
    ("variable", "value", "room", "name", "expected"),
    [
        ("ARW_STATE_DIR", "/s", "store", "state_dir", "/s"),
        ("ARW_PORT", "9000", "server", "port", 9000),
        ("ARW_ADMIN_TOKEN", "t", "auth", "token", "t"),
        ("ARWD_MAX_JOBS", "7", "jobs", "max_jobs", 7),
        ("ARWD_STALL_TIMEOUT", "2.5", "net", "stall_timeout", 2.5),
        ("ARWD_RESERVE", "1024", "store", "reserve", 1024),
        ("ARWD_MAX_FILE_SIZE", "1024", "store", "max_file_size", 1024),
        ("ARWD_QUOTA", "1024", "store", "quota", 1024),
        ("ARWD_LOG_FORMAT", "json", "logs", "log_format", "json"),
        ("ARWD_ALLOWED_HOSTS", "a.example, b.example:8090,", "auth", "allowed_hosts", ("a.example", "b.example:8090")),
        ("ARWD_ALLOWED_ORIGINS", "https://a.example", "auth", "allowed_origins", ("https://a.example",)),
        ("ARWD_TOKEN", "", "auth", "token", ""),
        ("ARW_PORT", "", "server", "port", 8090),
    ],
)
def test_a_variable_sets_its_setting(variable: str, value: str, room: str, name: str, expected: object) -> None:
    assert getattr(getattr(load({}, {variable: value}), room), name) == expected


def test_credentials_can_come_from_a_table_or_from_a_variable(file: Path) -> None:
    files = {"https://a.example": "/run/a", "http://[::1]:80": "/run/b"}
    file.write_text("[credentials]\n" + "".join(f'"{origin}" = "{path}"\n' for origin, path in files.items()))
    assert load({"config": str(file)}, {}).net.credentials == files
    assert (
        load({}, {"ARWD_CREDENTIALS": "https://a.example=/run/a, http://[::1]:80 = /run/b,"}).net.credentials == files
    )


def test_a_file_sets_what_it_names(file: Path) -> None:
    file.write_text('port = 9001\nallowed_hosts = ["a.example"]\nheartbeat = 5\n')
    loaded = load({"config": str(file)}, {})
    assert (loaded.server.port, loaded.auth.allowed_hosts, loaded.bus.heartbeat) == (9001, ("a.example",), 5.0)


def test_the_manager_s_directories_are_looked_into(tmp_path: Path, file: Path) -> None:
    file.write_text("port = 9002\n")
    (tmp_path / "arwd.token").write_text("from-the-credential\n")
    loaded = load({}, {"CONFIGURATION_DIRECTORY": f"{tmp_path}:/elsewhere", "CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert loaded.server.port == 9002
    assert loaded.auth.secret() == "from-the-credential"


def test_hosts_and_origins_as_browsers_send_them_are_taken() -> None:
    hosts, origins = "models.example, [fd00::1]:8443", "https://dash.example:8443, tauri://localhost, http://[::1]:3000"
    loaded = load({}, {"ARWD_ALLOWED_HOSTS": hosts, "ARWD_ALLOWED_ORIGINS": origins})
    assert len(loaded.auth.allowed_hosts + loaded.auth.allowed_origins) == 5


@pytest.mark.parametrize("token", ["two words", "t\n", "tür", "a\tb", " t0ken"])
def test_a_token_is_one_word_and_is_not_repeated(token: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="one word of visible ASCII") as caught:
        load({}, {"ARWD_TOKEN": token}).auth.secret()
    assert token not in str(caught.value)


@pytest.mark.parametrize("token", ["~t0ken", "~nobody-here/t0ken", "~/t0ken"])
def test_a_token_is_no_path_whatever_it_begins_with(token: str) -> None:
    assert load({}, {"ARWD_TOKEN": token}).auth.secret() == token


@pytest.mark.parametrize("content", [b"", b"\n", b"two words", b"t\xc3\xbcr", b"a\x00b"])
def test_a_token_file_holds_one_token(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(SettingsError, match="one token of visible ASCII"):
        load({}, {"ARWD_TOKEN_FILE": str(tmp_path / "token")}).auth.secret()


def test_a_token_file_may_be_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "token").write_text("t0ken\n")
    assert load({}, {"ARWD_TOKEN_FILE": "~/token"}).auth.secret() == "t0ken"


def test_a_pipe_in_place_of_a_token_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SettingsError, match="no regular file"):
        load({}, {"ARWD_TOKEN_FILE": str(tmp_path / "pipe")}).auth.secret()


@pytest.mark.parametrize("name", ["gone", "s3cr3t", "x" * 5000])
def test_a_token_file_that_is_not_there_is_not_repeated(name: str, tmp_path: Path) -> None:
    loaded = load({}, {"ARWD_TOKEN_FILE": str(tmp_path / name)})
    with pytest.raises(SettingsError, match=r"Cannot read .*setting token_file.*chmod 600") as caught:
        loaded.auth.secret()
    assert name not in str(caught.value)


@pytest.mark.parametrize("name", ["allowed_hosts", "allowed_origins", "egress_allow"])
def test_a_password_in_a_place_for_names_is_not_repeated(name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} is wrong") as caught:
        net.Egress(load({}, {f"ARWD_{name.upper()}": "https://u:s3cr3t@dash.example"}).net, {})
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize("text", ["port=" + "1" * 5000, "allowed_hosts=" + "[" * 3000, "\udcff"])
def test_a_settings_file_that_overtaxes_its_reader_is_named(text: str, file: Path) -> None:
    file.write_text(text, errors="surrogateescape")
    with pytest.raises(SettingsError, match="is not valid TOML"):
        load({}, {"ARWD_CONFIG": str(file)})


def test_a_pipe_in_place_of_the_settings_file_is_refused_at_once_and_nothing_is_no_settings(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SettingsError, match="no regular file"):
        load({}, {"ARWD_CONFIG": str(tmp_path / "pipe")})
    assert load({}, {"ARWD_CONFIG": os.devnull}) == load({}, {})


def test_what_is_no_text_is_no_traceback() -> None:
    with pytest.raises(SettingsError, match=r"log_level .*no text"):
        load({}, {"ARWD_LOG_LEVEL": "\udcff"})


def test_a_directory_that_cannot_be_holds_no_settings() -> None:
    assert load({}, {"CONFIGURATION_DIRECTORY": "x" * 5000, "CREDENTIALS_DIRECTORY": "x" * 5000}) == load({}, {})


@pytest.mark.parametrize(
    ("flags", "environ", "text", "sentence"),
    [
        ({}, {"ARWD_MAX_JOB": "3"}, "", r"no setting max_job \(from ARWD_MAX_JOB\)\. Did you mean max_jobs\?"),
        ({}, {}, "heart_beat = 3", r"no setting heart_beat \(from .*arwd\.toml\)\. Did you mean heartbeat\?"),
        ({"prot": 1}, {}, "", r"no setting prot \(from --prot\)\. Did you mean port\?"),
        ({}, {"ARWD_XYZZY": "1"}, "", r"no setting xyzzy \(from ARWD_XYZZY\)\.$"),
        ({}, {"ARWD_PORT": "many"}, "", r"port \(from ARWD_PORT\) is wrong"),
        ({}, {"ARW_PORT": "many"}, "", r"port \(from ARW_PORT\) is wrong"),
        ({}, {}, 'port = "8090x"', r"port \(from .*arwd\.toml\) is wrong"),
        ({}, {}, "allowed_hosts = 3", r"allowed_hosts \(from .*arwd\.toml\) is wrong"),
        ({}, {"ARWD_LOG_LEVEL": "loud"}, "", r"log_level \(from ARWD_LOG_LEVEL\) is wrong"),
        ({}, {}, "port = ", r"settings file .*arwd\.toml is not valid TOML"),
        ({"port": -1}, {}, "", "port is wrong: -1 is not between"),
        ({"port": 65536}, {}, "", "port is wrong: 65536 is not between"),
        ({}, {"ARWD_MAX_JOBS": "0"}, "", "max_jobs is wrong: 0 is below 1"),
        ({}, {}, 'state_dir = "/a\\u0000b"', "state_dir .*holds a NUL"),
        ({}, {}, '[credentials]\n"https://a.example" = "~nobody-of-that-name/x"', "credentials .*names no user"),
        ({}, {"ARWD_CA_BUNDLE": "~nobody-of-that-name/x"}, "", "ca_bundle .*names no user"),
        ({}, {"ARWD_CONNECT_TIMEOUT": "inf"}, "", "connect_timeout is wrong: inf is no number"),
        ({}, {"ARWD_RING": "63"}, "", "ring is wrong: 63 is below 64"),
        ({}, {"ARWD_HEARTBEAT": "0.5"}, "", "heartbeat is wrong"),
        ({}, {"ARWD_STALL_TIMEOUT": "0"}, "", "stall_timeout is wrong"),
        ({}, {"ARWD_STALL_TIMEOUT": "nan"}, "", "stall_timeout .*is wrong"),
        ({}, {"ARWD_RETRY_FOR": "-1"}, "", "retry_for is wrong"),
        ({}, {"ARWD_RESERVE": "-1"}, "", "reserve .*is wrong"),
        ({}, {}, "credentials = 3", r"credentials \(from .*arwd\.toml\) is wrong"),
        ({}, {}, "egress_allow = 3", r"egress_allow \(from .*arwd\.toml\) is wrong"),
        ({}, {"ARWD_MAX_FILE_SIZE": "0"}, "", "max_file_size is wrong: 0 is below 1"),
        ({}, {"ARWD_QUOTA": "0"}, "", "quota is wrong: 0 is below 1"),
        *(
            ({}, {"ARWD_ALLOWED_HOSTS": each}, "", f"allowed_hosts is wrong: {re.escape(each)} is no host")
            for each in ("http://x", "x/", "*", "*.example", "a b", "x:", "x:0", "a..b", ".", "bücher.example")
        ),
        *(
            ({}, {"ARWD_ALLOWED_ORIGINS": each}, "", f"allowed_origins is wrong: {re.escape(each)} is no web origin")
            for each in (
                "*",
                "dash.example",
                "https://dash.example/",
                "https://Dash.example",
                "https://dash.example:443",
                "http://dash.example:80",
                "null",
                "https://*.example",
                "https://dash.example:0",
                "https://dash.example:08443",
                "https://dash.example:65536",
                "https://",
            )
        ),
        *(
            ({}, {name: each}, "", r"hf_endpoint is wrong: it must be a URL such as https://huggingface\.co\.$")
            for name in ("HF_ENDPOINT", "ARWD_HF_ENDPOINT")
            for each in (
                "huggingface.co",
                "ftp://hub.example",
                "https://u:s3cr3t@hub.example",
                "https://h/?s3cr3t",
                "/",
            )
        ),
        (
            {},
            {"ARWD_CATALOG": "/nonexistent/catalog.toml"},
            "",
            "Cannot read /nonexistent/catalog.toml .setting catalog",
        ),
        ({}, {"ARWD_CATALOG": "/dev/null"}, "", "setting catalog.: it is no regular file"),
        ({}, {"ARWD_QUOTA": "10GB"}, "", "quota .*is wrong"),
    ],
)
def test_a_mistake_is_named_with_where_it_was_made(
    flags: dict[str, Any], environ: dict[str, str], text: str, sentence: str, file: Path
) -> None:
    if text:
        file.write_text(text)
        environ = {**environ, "ARWD_CONFIG": str(file)}
    with pytest.raises(SettingsError, match=sentence) as caught:
        load(flags, environ)
    assert caught.value.exit_status == 78


@pytest.mark.parametrize(("name", "value"), [("port", 0), ("port", 65535)])
def test_the_ends_of_a_range_belong_to_it(name: str, value: int) -> None:
    assert load({name: value}, {}).server.port == value


def test_a_file_that_was_asked_for_and_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"Cannot read .*gone"):
        load({"config": str(tmp_path / "gone")}, {})


def test_the_clients_own_variables_and_everybody_else_s_are_let_be() -> None:
    environ = {"ARWD_URL": "http://h", "ARWD_CONFIG": "", "PATH": "/bin", "ARW_OTHER": "x", "arwd_port": "1"}
    assert load({}, environ) == load({}, {})


def test_what_is_shown_has_every_setting_and_no_secret() -> None:
    shown = load({}, {"ARWD_TOKEN": "s3cr3t", "ARWD_MAX_JOBS": "5"}).shown()
    assert set(shown) == set(keys()) - {"reserve", "max_file_size", "quota"}, "what has no value is left out"
    assert shown["max_jobs"] == 5
    assert shown["token"]
    assert "s3cr3t" not in repr(shown)


def test_of_a_proxy_and_of_tokens_only_what_is_no_secret_is_shown() -> None:
    environ = {"ARWD_PROXY": "http://me:s3cr3t@proxy:1", "ARWD_CREDENTIALS": "https://h=/run/s3cr3t"}
    shown = load({}, environ).shown()
    assert (shown["proxy"], list(shown["credentials"])) == ("http://proxy:1", ["https://h"])
    assert "s3cr3t" not in repr(shown)


def test_a_secret_that_is_not_set_is_shown_as_such() -> None:
    assert load({}, {}).shown()["token"] == ""


def test_an_ill_typed_token_is_not_repeated_in_the_error(file: Path) -> None:
    file.write_text("token = 47114711\n")
    with pytest.raises(SettingsError) as caught:
        load({"config": str(file)}, {})
    assert "47114711" not in str(caught.value)


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name, (_, kind) in keys().items()])
def test_every_setting_can_be_written_in_the_environment(name: str, kind: object) -> None:
    assert f"{settings.PREFIX}{name.upper()}".removeprefix(settings.PREFIX).lower() == name
    assert name not in {"config", "url"}
    assert kind is not dict
