"""The result stores; see `hub.ports.result_store.ResultStore`."""

from hub.stores.opening import open_store as open_store
from hub.stores.options import StoreOptions as StoreOptions
