"""What hub needs of the world behind it: a broker, a store for results, and the registry's database.

Each port has an embedded adapter (`memory://`) and real ones, and one contract suite that all of them pass
(`tests/brokers`, `tests/stores`, `tests/directories`). Rules that hold for every adapter:

* An adapter is opened as an async context manager (`hub.brokers.open_broker(url)`, ...) and is used inside that block,
  by any number of tasks at once. It reconnects by itself, except where a method says otherwise.
* When its server is out of reach a call raises `ConnectionLost`, never an error of the client library, and never an
  `ExceptionGroup`. What had been sent may or may not have been carried out; every call may be repeated.
* Every call may be cancelled at any checkpoint: nothing leaks, and no later call sees the answer of a cancelled one.
* No call takes a timeout; callers use `anyio.fail_after`.
* Calls that carry tasks take many at once and answer in the same order, so that one round trip serves them all.
"""
