"""Where an instance says that it can be reached."""

from __future__ import annotations

import pytest

from hub.errors import ConfigurationError
from hub.model.instance.instance import advertised


def test_an_instance_advertises_where_it_listens_or_what_it_is_told() -> None:
    assert advertised("http://127.0.0.1:4000", "") == "http://127.0.0.1:4000"
    assert advertised("http://0.0.0.0:4000", "box.example") == "http://box.example:4000"
    assert advertised("https://[::]:4000", "fd00::7") == "https://[fd00::7]:4000"
    for everywhere in ("http://0.0.0.0:4000", "http://[::]:4000"):
        with pytest.raises(ConfigurationError, match="HUB_ADVERTISE_HOST"):
            advertised(everywhere, "")
