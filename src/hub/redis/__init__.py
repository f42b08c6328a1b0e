"""Connections to a Redis server: what the result store and the directory have in common.

`address` reads URLs, `script` builds commands, `connection` is what a client has to offer, `resp_connection` (with `wire`) and
`redispy_connection` are the two that do, and `client` keeps one connection alive and carries commands over it.
"""
