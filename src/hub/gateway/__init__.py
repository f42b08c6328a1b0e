"""The front door: JSON or protobuf over HTTP in, tasks on the broker, outcomes back, and one live API description.

`catalog` knows what is alive, `dispatch` moves tasks (no web framework in either), `http_*` and `openapi_*` are the
surface, `service` is the process.
"""
