from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsam_backend.errors import ImageError, SettingsError
from xsam_backend.labelstudio.egress import EgressRules, FetchPolicy, WebAddress, is_public, redacted

LABEL_STUDIO = "http://labels.internal:8080"


def rules(*allowed: str, url: str | None = LABEL_STUDIO) -> EgressRules:
    return EgressRules(FetchPolicy(label_studio_url=url, allowed_private_hosts=allowed))


class TestAddresses:
    @pytest.mark.parametrize(
        ("address", "public", "reason"),
        [
            ("93.184.216.34", True, "an ordinary server"),
            ("2606:2800:220:1::1", True, "an ordinary server, IPv6"),
            ("127.0.0.1", False, "loopback"),
            ("127.8.8.8", False, "all of 127/8 is loopback"),
            ("0.0.0.0", False, "means this machine on Linux"),
            ("10.1.2.3", False, "private"),
            ("172.16.0.1", False, "private"),
            ("172.32.0.1", True, "just behind the private block"),
            ("192.168.1.1", False, "private"),
            ("100.64.0.1", False, "carrier's network, some clouds' metadata"),
            ("169.254.169.254", False, "link-local: cloud metadata"),
            ("168.63.129.16", False, "Azure's host machine"),
            ("192.0.2.1", False, "documentation"),
            ("224.0.0.1", False, "multicast"),
            ("240.0.0.1", False, "reserved"),
            ("255.255.255.255", False, "broadcast"),
            ("::1", False, "loopback"),
            ("::", False, "unspecified"),
            ("fe80::1", False, "link-local"),
            ("fe80::1%eth0", False, "link-local with its zone"),
            ("fd00:ec2::254", False, "cloud metadata, IPv6"),
            ("ff02::1", False, "multicast"),
            ("::ffff:127.0.0.1", False, "IPv4 mapped"),
            ("::ffff:93.184.216.34", True, "IPv4 mapped, a public one"),
            ("::127.0.0.1", False, "IPv4 compatible, long forbidden"),
            ("64:ff9b::7f00:1", False, "NAT64 to loopback"),
            ("64:ff9b::5db8:d822", True, "NAT64 to an ordinary server"),
            ("2002:7f00:1::", False, "6to4 to loopback"),
            ("2001::1", False, "Teredo"),
        ],
    )
    def test_is_public(self, address: str, public: bool, reason: str) -> None:
        assert is_public(ipaddress.ip_address(address)) is public, reason

    @given(st.ip_addresses(v=4))
    def test_wrapping_changes_nothing(self, inner: ipaddress.IPv4Address) -> None:
        for start in ("::ffff:0:0", "64:ff9b::"):
            wrapped = ipaddress.IPv6Address(int(ipaddress.IPv6Address(start)) + int(inner))
            assert is_public(wrapped) is is_public(inner)
        assert is_public(ipaddress.IPv6Address(0x2002 << 112 | int(inner) << 80)) is is_public(inner)

    @pytest.mark.parametrize(
        ("allowed", "url", "resolved", "permitted", "reason"),
        [
            ((), "http://a.example/", ["93.184.216.34"], ["93.184.216.34"], "public"),
            (
                (),
                "http://a.example/",
                ["10.0.0.1", "93.184.216.34"],
                ["93.184.216.34"],
                "the private one is left out",
            ),
            (("10.0.0.0/8",), "http://a.example/", ["10.0.0.1"], ["10.0.0.1"], "in a listed network"),
            (("10.0.0.1",), "http://a.example/", ["10.0.0.1"], ["10.0.0.1"], "a listed address"),
            (("10.0.0.0/8",), "http://a.example/", ["::ffff:10.0.0.1"], ["::ffff:10.0.0.1"], "in it, mapped"),
            (("fd00::/8",), "http://a.example/", ["fd00::7"], ["fd00::7"], "a listed IPv6 network"),
            (("[fd00::7]",), "http://[fd00::7]/", ["fd00::7"], ["fd00::7"], "brackets as in an address"),
            (("minio.lan",), "http://MINIO.lan:9000/", ["10.0.0.1"], ["10.0.0.1"], "a listed name, any port"),
            ((), LABEL_STUDIO + "/x", ["10.0.0.1"], ["10.0.0.1"], "Label Studio itself"),
        ],
    )
    def test_permitted(
        self, allowed: tuple[str, ...], url: str, resolved: list[str], permitted: list[str], reason: str
    ) -> None:
        assert rules(*allowed).permitted(WebAddress.parse(url), resolved) == permitted, reason

    @pytest.mark.parametrize(
        ("allowed", "url", "reason"),
        [
            ((), "http://a.example/", "private and not listed"),
            (("10.1.0.0/16",), "http://a.example/", "in another network"),
            (("a.example.evil.example", "example"), "http://a.example/", "names are compared whole"),
            ((), "http://labels.internal/", "Label Studio's host at another port"),
            ((), "https://labels.internal:8080/", "Label Studio's host with another scheme"),
        ],
    )
    def test_refused(self, allowed: tuple[str, ...], url: str, reason: str) -> None:
        with pytest.raises(ImageError, match=r"private or reserved address \(10\.0\.0\.1\)") as caught:
            rules(*allowed).permitted(WebAddress.parse(url), ["10.0.0.1"])
        assert "allow_private_hosts" in str(caught.value), reason

    @pytest.mark.parametrize("entry", ["10.0.0.0/33", "", "fd00::zz", "http://minio"])
    def test_wrong_entry_is_an_error_of_settings(self, entry: str) -> None:
        with pytest.raises(SettingsError, match="allow_private_hosts: expected a host name"):
            rules(entry)


class TestToken:
    @pytest.mark.parametrize(
        ("url", "gets", "reason"),
        [
            ("http://labels.internal:8080/data/upload/8/a.png", True, "an upload"),
            ("HTTP://LABELS.internal:8080/data/upload/8/a.png", True, "case of scheme and host means nothing"),
            ("http://labels.internal:8080/data/local-files/?d=a.png", True, "local files"),
            ("http://labels.internal:8080/data/local-files?d=a.png", True, "local files, without slash"),
            ("http://labels.internal:8080/tasks/7/resolve/?fileuri=x", True, "cloud storage"),
            ("http://labels.internal:8080/storage-data/uploaded/?filepath=x", True, "uploads in a cloud"),
            ("http://labels.internal/data/upload/8/a.png", False, "another port"),
            ("https://labels.internal:8080/data/upload/8/a.png", False, "another scheme"),
            ("http://labels.internal.evil.example:8080/data/upload/8/a.png", False, "another host"),
            ("http://labels.internal:8080/api/tasks/7/", False, "reading a task starts predictions"),
            ("http://labels.internal:8080/data/upload/../../api/tasks/7/", False, "a way out of the file paths"),
            ("http://labels.internal:8080/data/upload/%2e%2e/%2e%2e/api/tasks/7/", False, "the same, quoted"),
            ("http://labels.internal:8080/logout?x=/data/upload/", False, "file path in the query"),
        ],
    )
    def test_goes_to_file_paths_only(self, url: str, gets: bool, reason: str) -> None:
        assert rules().gets_token(WebAddress.parse(url)) is gets, reason

    def test_below_a_path(self) -> None:
        below = rules(url="https://host.example/labels/")
        assert below.gets_token(WebAddress.parse("https://host.example/labels/data/upload/1/a.png"))
        assert not below.gets_token(WebAddress.parse("https://host.example/wiki/data/upload/1/a.png"))

    def test_nobody_gets_it_without_label_studio(self) -> None:
        assert not rules(url=None).gets_token(WebAddress.parse("http://a.example/data/upload/1/a.png"))


class TestWebAddress:
    @pytest.mark.parametrize(
        ("url", "host", "port", "target", "reason"),
        [
            ("http://a.example", "a.example", 80, "/", "no path"),
            ("https://a.example/x#part", "a.example", 443, "/x", "a fragment stays at home"),
            ("http://a.example:81/im_%C3%A9_1.png", "a.example", 81, "/im_%C3%A9_1.png", "never quoted again"),
            ("http://a.example/im é.png", "a.example", 80, "/im%20%C3%A9.png", "unquoted: quoted"),
            ("http://a.example/?a=b/c d&e=%2F", "a.example", 80, "/?a=b/c%20d&e=%2F", "a query as well"),
            ("http://bücher.example/", "xn--bcher-kva.example", 80, "/", "an international name"),
            ("http://[::1]:8080/", "::1", 8080, "/", "IPv6"),
            ("http://１２７.0.0.1/", "127.0.0.1", 80, "/", "wide digits are digits to resolvers too"),
        ],
    )
    def test_parts(self, url: str, host: str, port: int, target: str, reason: str) -> None:
        address = WebAddress.parse(url)
        assert (address.host, address.port, address.target) == (host, port, target), reason

    @pytest.mark.parametrize(
        ("url", "words"),
        [
            ("ftp://a.example/x", "expected an http or https address, got scheme 'ftp'"),
            ("gopher://a.example/x", "got scheme 'gopher'"),
            ("http://user:pass@a.example/x", "user name or password"),
            ("http://token@a.example/x", "user name or password"),
            ("http://good.example\\@evil.example/", "user name or password|no usable host|cannot be read"),
            ("http://", "no usable host"),
            ("http:///path", "no usable host"),
            ("http://a.example:99999/", "cannot be read"),
            ("http://a.example:http/", "cannot be read"),
            ("http://[::1/", "cannot be read"),
            ("http://a.example/\r\nX: y", "control characters"),
            ("http://a b.example/", "no usable host"),
            ("http://" + "ü" * 80 + ".example/", "cannot be read"),
        ],
    )
    def test_refused(self, url: str, words: str) -> None:
        with pytest.raises(ImageError, match=words) as caught:
            WebAddress.parse(url)
        assert "pass" not in str(caught.value).replace("password", "")

    @pytest.mark.parametrize(
        ("url", "header"),
        [
            ("https://a.example:443/", "a.example"),
            ("http://a.example:443/", "a.example:443"),
            ("http://[::1]:8080/", "[::1]:8080"),
        ],
    )
    def test_host_header(self, url: str, header: str) -> None:
        assert WebAddress.parse(url).host_header == header


class TestRedacted:
    @pytest.mark.parametrize(
        ("url", "expected"),
        [
            ("https://b.example/a.png?X-Amz-Signature=secret", "https://b.example/a.png?…"),
            ("https://user:secret@b.example/a.png", "https://…@b.example/a.png"),
            ("https://b.example/a.png#secret", "https://b.example/a.png"),
            ("https://user:sec/ret@b.example/a.png", "https://user:…"),
            ("https:/user:secret@b.example/a.png", "https:/…@b.example/a.png"),
            ("@ttp://user:secret@b.example/a.png", "…@b.example/a.png"),
            ("user:secret@b.example/a.png", "user:…@b.example/a.png"),
            ("https://user:secret#x@b.example/a.png", "https://user:…"),
            ("https://user:secret?x@b.example/a.png", "https://user:…?…"),
            ("https://user:secretb.example/a.png", "https://user:…"),
            ("https://b.example:8443/a.png", "https://b.example:8443/a.png"),
            ("https://[::1]/a.png", "https://[::1]/a.png"),
            ("/user:secret@b.example/a.png", "/…@b.example/a.png"),
            ("https://user:secret@b.example:8443/a.png", "https://…@b.example:8443/a.png"),
            ("https://user:secret@user:secret b.example/a.png", "https://…@user:…"),
            ("https://user:secret@http://user:secret b.example/a.png", "https://…@http://user:…"),
            ("https://b.example/@user/a.png", "https://b.example/@user/a.png"),
            ("data:image/png;base64,c2VjcmV0", "data:image/png;base64,… (30 characters)"),
            ("/data/local-files/?d=set/a.png", "/data/local-files/?d=set/a.png"),
            ("/data/local-files/?d=set/a.png&token=secret", "/data/local-files/?…"),
            ("/data/upload/8/a\n.png", "/data/upload/8/a?.png"),
        ],
    )
    def test_secrets_are_left_out(self, url: str, expected: str) -> None:
        assert redacted(url) == expected

    @given(st.text(max_size=600))
    def test_one_short_line(self, url: str) -> None:
        shown = redacted(url)
        assert len(shown) <= 200
        assert "\n" not in shown


class TestPolicy:
    def test_token_is_not_shown(self) -> None:
        assert "abc123" not in repr(FetchPolicy(label_studio_url=LABEL_STUDIO, token="abc123"))

    @pytest.mark.parametrize(
        ("values", "words"),
        [
            ({"token": "abc"}, "needs the address that it is for: set label_studio_url"),
            ({"label_studio_url": "labels.internal"}, "label_studio_url: expected an http or https address"),
            ({"label_studio_url": "http://me:abc@labels.internal"}, "label_studio_url: .*user name or password"),
            ({"local_root": Path("/")}, "local_files_root: expected an existing folder, and not the whole disk"),
            ({"local_root": Path("/no/such/folder")}, "local_files_root: expected an existing folder"),
            ({"max_bytes": 0}, "max_bytes: expected more than 0, got 0"),
            ({"total_timeout_s": float("nan")}, "total_timeout_s: expected more than 0"),
        ],
    )
    def test_what_cannot_work(self, values: dict[str, object], words: str) -> None:
        with pytest.raises(SettingsError, match=words):
            FetchPolicy(**values)  # type: ignore[arg-type]
