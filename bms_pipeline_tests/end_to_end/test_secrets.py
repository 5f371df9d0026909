"""No secret in any output or file: canaries through every command and the failures, then a search of every byte."""

from __future__ import annotations

from pathlib import Path

import zstandard

from bms_pipeline_tests.running import Home
from bms_sandbox.process import running_sandbox

PASSWORD, MFA_SEED = "canary-password-91c4e7", "CANARYMFASEEDAAAA"
COMMANDS = (
    ("authenticate",),
    ("sync", "--create-unmatched"),
    ("preview", "--json"),
    ("status", "--json"),
    ("explain", "clients", "1"),
)


def test_no_secret_reaches_any_output_or_file(tmp_path: Path) -> None:
    with running_sandbox("small", 6, tmp_path / "tenant", {"hourly_limit": None}) as sandbox:
        home = Home(tmp_path / "home", sandbox)
        real = sandbox.login["password"]
        outputs = [home.call(*command) for command in COMMANDS]
        assert outputs[1].returncode == 0, outputs[1].stderr
        refused = home.call(*COMMANDS[0], BMS_PASSWORD=PASSWORD, BMS_MFA_SECRET=MFA_SEED)
        outputs += [refused, home.run(*COMMANDS[1], BMS_PASSWORD=PASSWORD, BMS_MFA_SECRET=MFA_SEED)]
        sandbox.behave(faults=[{"route": "employees", "kind": "html"}])
        outputs.append(home.run("sync", "--full"))
        sandbox.behave(faults=[{"route": "authenticate", "kind": "status", "status": 500}])
        outputs.append(home.call("authenticate", BMS_PASSWORD=PASSWORD))
        secrets = [each.encode() for each in (real, PASSWORD, MFA_SEED)]
        for output in outputs:
            assert not [each for each in secrets if each in (output.stdout + output.stderr).encode()], output.args
        for file in [each for each in home.folder.rglob("*") if each.is_file()]:
            content = file.read_bytes()
            if file.suffix == ".zst":
                content = zstandard.ZstdDecompressor().decompressobj().decompress(content)
            assert not [each for each in secrets if each in content], file
        assert len(list(home.folder.rglob("*"))) > 10


def test_a_secret_from_a_folder_reaches_bms_and_nothing_else(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    with running_sandbox("small", 6, tmp_path / "tenant", {"hourly_limit": None}) as sandbox:
        home = Home(tmp_path / "home", sandbox)
        real = home.environment.pop("BMS_PASSWORD")
        home.environment["BMS_PIPELINE_SECRETS"] = str(secrets)
        (secrets / "bms_password").write_text(f"{real}\n")
        outputs = [home.run("authenticate"), home.run("sync", "--entity", "clients", "--create-unmatched")]
        assert [output.returncode for output in outputs] == [0, 0], outputs[-1].stderr
        for content in (f"{PASSWORD}\n", f"{PASSWORD}\nmore\n"):
            (secrets / "bms_password").write_text(content)
            outputs.append(home.run("authenticate"))
            assert outputs[-1].returncode == 1
        for output in outputs:
            assert not [text for text in (real, PASSWORD) if text in output.stdout + output.stderr], output.args
        for file in [path for path in home.folder.rglob("*") if path.is_file()]:
            assert not [text for text in (real, PASSWORD) if text.encode() in file.read_bytes()], file
