"""Public keys as ssh-keygen writes them are taken, and nothing else is."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

import opennebula_tenancy as ont
from opennebula_tenancy.ssh_key import SshKey


KEYS = {
    "ed25519": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINQKwFeBrYVLOKQsXys2QFyLXJAlZbNTT2Abykr/Vvqz",
    "rsa": "ssh-rsa "
    "AAAAB3NzaC1yc2EAAAADAQABAAABgQCs4UEzcuIsKPSMPwoBIxnt/2s/Dq3qSVF0IKjROzbFwcdITf3KHe6R6AGDXGrJAxgP"
    "b6Hy6P1azLMBIL3TcqWpVO6XXuE0RCslr6/dhPJrWrWChT71SFeyK53iXLL07R6MYRWGo7sNJ8LbRFthM60B9xQiPA3Lh5u5"
    "SZ815u0itAPpSKyYBYb2dPVs9TgJ0djVF19pyNb/a5Nu4ZxnOgPuBNSd+jEt/sNBhtg33Jr/0e8V79UQSRz7D+9UdI6XHfs8"
    "1ZPA4GzaRGp53SH0OLaJqDh8ammsYrXzWJd13rwFZi3Bh9kH2YvVMpWAoopX+lY7+D6REjoBzPKsmhSYycOTnICwNmvkGXcq"
    "E9uUNXi0HQnq6+BQDozznA9jK8EPUUDrjTrBVzXO9kHATKRoOdfHjC0PM2rlcnhzXu6ztzCuJl87ckAlgRr7SJHMrbF510zm"
    "DriIM2nsRDofQ5NHBkwO72Ekqe4ijYgWaE0km0R4MX6pe3p98WIW+i/LqV3LAW8=",
    "nistp256": "ecdsa-sha2-nistp256 "
    "AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBLZKKLzIrPbKvhX/Pg6hQ3vBRzX0L6l8CYejEyCfIoFh"
    "avq1raniKMc/W4+izi2LM1AzQ46SmooWbnrJrTahCxU=",
    "nistp521": "ecdsa-sha2-nistp521 "
    "AAAAE2VjZHNhLXNoYTItbmlzdHA1MjEAAAAIbmlzdHA1MjEAAACFBAApFCqyghgfUS4/dgwDSISYODZixsyJ9JL3uAiU+Qeu"
    "JPMSKg2gbO1xINWgb6mMebArG8G7PymSO0lcb+BGt6gr/gBuI7j14XLLULgmWGJOkSy0zuOnxuQAey3QqeHXr0//7ZMKt9fV"
    "vGnzVH0cPhLYYTjMCZ1e0s/c/fLK69bgDvD1Kg==",
    "rsa of 1024 bits": "ssh-rsa "
    "AAAAB3NzaC1yc2EAAAADAQABAAAAgQDNvjV1FfJp/1UXtBtsSzixfZknzOtYkeQ+nhZyutw4niOvXbp0jwJ507fkaK8jYo/L"
    "IlaprgDEmsJwyoUZZ3ua2/TcuR8Yp86zite1PGmeL4mqcpsdyLUK0hw+VX65p4pkL39q1s5rYnDfnm2apfjaO9/kH1axxBZz"
    "rrPaLtQ3Dw==",
}


def field(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def line(kind: str, *parts: bytes, named: str | None = None) -> str:
    """A key line whose fields are these."""
    return f"{kind} {base64.b64encode(field((named or kind).encode(), *parts)).decode()}"


@pytest.mark.parametrize("text", KEYS.values(), ids=KEYS)
def test_a_key_that_ssh_keygen_made_is_taken_as_it_is(text: str) -> None:
    for given_text in (text, f"{text} alice@example.org", f"  {text}\talice and  bob \n"):
        key = SshKey.parse(given_text)
        assert f"{key.type} {key.data}" == text
    assert str(SshKey.parse(f"{text} alice and bob")) == f"{text} alice and bob"


@pytest.mark.parametrize("kind", ["sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"])
def test_keys_of_security_tokens_are_taken(kind: str) -> None:
    parts = [b"x" * 32] if "ed25519" in kind else [b"nistp256", b"\x04" + b"x" * 64]
    assert SshKey.parse(line(kind, *parts, b"ssh:")).type == kind


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("ssh-ed25519", "base64|cut short|another type"),
        ("ssh-ed25519 !!!!", "base64"),
        ("ssh-ed25519 AAAA", "cut short"),
        ("alice@example.org", "does not begin with a type"),
        ('command="ls" ' + KEYS["ed25519"], "does not begin with a type"),
        ("ssh-dss AAAAB3NzaC1kc3M=", "does not begin with a type"),
        ("ssh-ed25519-cert-v01@openssh.com AAAA", "does not begin with a type"),
        (KEYS["ed25519"] + "\n" + KEYS["rsa"], "more than one line"),
        (KEYS["ed25519"] + "\r\nssh-rsa", "control character"),
        (KEYS["ed25519"] + " a\x07b", "control character"),
        (KEYS["ed25519"] + " $USER[PASSWORD]", r"'\$'"),
        (KEYS["ed25519"] + " $(id)", r"'\$'"),
        (KEYS["ed25519"] + " ]]>", "]]>"),
        (KEYS["ed25519"] + " " + "x" * 257, "256 printable"),
        (KEYS["ed25519"] + " a\u200bb", "printable"),
        (KEYS["rsa"].replace("ssh-rsa", "ssh-ed25519"), "another type"),
        (line("ssh-ed25519", b"x" * 31), "31 bytes"),
        (line("ssh-ed25519", b"x" * 32, b"more"), "parts"),
        (line("ssh-rsa", b"\x01\x00\x01", b"\x00" + b"\xff" * 64), "512 bits"),
        (line("ssh-rsa", b"\x01\x00\x01", b"\x00\x00" + b"\xff" * 256), "not as numbers"),
        (line("ssh-rsa", b"\x01\x00\x01", b"\xff" * 256), "not as numbers"),
        (line("ssh-rsa", b"\x02", b"\x00" + b"\xff" * 256), "exponent"),
        (line("ssh-rsa", b"\x01\x00\x01"), "parts"),
        (line("ecdsa-sha2-nistp256", b"nistp384", b"\x04" + b"x" * 64), "another curve"),
        (line("ecdsa-sha2-nistp256", b"nistp256", b"\x04" + b"x" * 63), "another length"),
        (line("ecdsa-sha2-nistp256", b"nistp256", b"\x02" + b"x" * 64), "another length"),
        (line("ecdsa-sha2-nistp256", b"nistp256", b""), "another length"),
    ],
)
def test_what_is_no_key_is_refused_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(ont.SettingsError, match=reason):
        SshKey.parse(text)


def test_a_private_key_is_refused_and_not_repeated() -> None:
    secret = "b3BlbnNzaC1rZXktdjEAAAA"
    text = f"-----BEGIN OPENSSH PRIVATE KEY-----\n{secret}\n-----END OPENSSH PRIVATE KEY-----"
    with pytest.raises(ont.SettingsError, match="private key") as caught:
        SshKey.parse(text)
    assert secret not in str(caught.value)


@given(st.sampled_from(sorted(KEYS)), st.data())
def test_a_key_with_anything_cut_off_is_none(name: str, data: st.DataObject) -> None:
    kind, _, encoded = KEYS[name].partition(" ")
    blob = base64.b64decode(encoded)
    short = blob[: data.draw(st.integers(0, len(blob) - 1))]
    with pytest.raises(ont.SettingsError):
        SshKey.parse(f"{kind} {base64.b64encode(short).decode()}")


@given(st.text(max_size=60))
def test_no_text_is_an_error_of_another_kind(text: str) -> None:
    for prefix in ("", "ssh-rsa ", "ssh-ed25519 AAAA", KEYS["ed25519"] + " "):
        try:
            key = SshKey.parse(prefix + text)
        except ont.SettingsError:
            continue
        assert "\n" not in str(key)
        assert "$" not in str(key)
        assert SshKey.parse(str(key)) == key
