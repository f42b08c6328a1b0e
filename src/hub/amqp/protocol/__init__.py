"""AMQP 0-9-1 from the client's side, without I/O: bytes go in, bytes and settled replies come out.

`ConnectionState` is the root. The order in which the modules build on each other: `reply`, `output` and `framing`;
`outgoing`, `incoming` and `contents` for messages; `calls`, `confirms` and `subscription` for what waits; `channel`; `handshake`;
`connection`.
"""
