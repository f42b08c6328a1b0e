"""Links to a Redis server: what the result store and the directory have in common.

`address` reads URLs, `script` builds commands, `link` is what a client library has to offer, `coredis_link` and
`redispy_link` are the two that do, and `client` keeps one link alive and carries commands over it.
"""
