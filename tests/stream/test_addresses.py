"""Addresses as they are printed: nothing of a user, a password or a query, however odd they are."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssd_edge.errors import SourceError
from ssd_edge.stream.addresses import shown, without_secrets
from ssd_edge.stream.sources import open_source


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("rtsp://host:554/live", "rtsp://host:554/live"),
        ("rtsp://me:secret@host:554/live", "rtsp://host:554/live"),
        ("rtsp://me:sec@ret@host/live", "rtsp://host/live"),
        ("rtsp://me:sec/ret@host/live", "rtsp://host/live"),
        ("rtsp://me:se%40cr%2Fet@host/live", "rtsp://host/live"),
        ("rtsp://me:secret%40host/live", "rtsp://host/live"),
        ("rtsp://me:sec?ret@host/live", "rtsp://…"),
        ("http://host/video?user=me&password=secret", "http://host/video?…"),
        ("http://host/video?password=sec@ret", "http://…"),
        ("http://host/video#secret", "http://host/video#…"),
        ("rtsp://host/user=me_password=secret_channel=1.sdp", "rtsp://host/…"),
        ("rtsp://[fe80::1]:554/live", "rtsp://[fe80::1]:554/live"),
        ("rtsp://", "rtsp://"),
        ("", ""),
    ],
)
def test_addresses(address: str, expected: str) -> None:
    assert shown(address) == expected


# Signs that no other part of the address has, beside those that separate its parts.
odd = st.text(alphabet="ZÄ9@/?#:%&= ;\\!$'()*+,[]~", min_size=1, max_size=12).map(lambda text: f"Q{text}Q")


@given(user=odd, password=odd, encoded=st.booleans(), query=st.booleans(), path=st.booleans())
def test_no_part_of_a_password_is_shown(user: str, password: str, encoded: bool, query: bool, path: bool) -> None:
    """All signs of user and password are ones that no other part of the address has, so one is enough to fail."""
    if encoded:
        user, password = quote(user, safe=""), quote(password, safe="")
    address = f"rtsp://{user}:{password}@host:554/live"
    if query:
        address = f"rtsp://host:554/live?user={user}&password={password}"
    if path:
        address = f"rtsp://host:554/user={user}&password={password}/live"
    text = shown(address)
    assert not set("QZÄ9%&=") & set(text)
    assert text.startswith("rtsp://")
    quoted = address.replace("'", "")
    assert not set("QZÄ9") & set(without_secrets(f"rtspsrc location='{quoted}' ! decodebin ! appsink"))


def test_addresses_and_passwords_in_a_text() -> None:
    text = without_secrets(
        'rtspsrc location=rtsp://me:se/cr@et@host/live user-id=me user-pw="s \\" t" latency=0 ! sink'
    )
    assert text == "rtspsrc location=rtsp://host/live user-id=… user-pw=… latency=0 ! sink"
    assert without_secrets("v4l2src ! video/x-raw,format=NV12 ! appsink") == (
        "v4l2src ! video/x-raw,format=NV12 ! appsink"
    )


@pytest.mark.parametrize("address", ["rtsp:/me:secret@127.0.0.1:9/live", "file://me:secret@gone/a.mp4"])
def test_an_address_that_is_mistaken_for_a_file(address: str) -> None:
    with pytest.raises(SourceError) as caught:
        open_source(address)
    assert "secret" not in str(caught.value)
