"""One typed settings object for each kind of process.

The names are the same everywhere: the field `ping_period` is the key `ping_period` in `hub.toml`, the variable
`HUB_PING_PERIOD` and the option `--ping-period`. `hub.cli.config` fills the objects in that order of precedence.
Durations are seconds.

No module here has `from __future__ import annotations`: cyclopts reads the types of inherited fields in the module of the
class that inherits them, so they must be types, not their names.
"""
