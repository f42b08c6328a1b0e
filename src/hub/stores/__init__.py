"""The result stores; see `hub.ports.ResultStore`."""

from hub.stores.opening import open_store as open_store
from hub.stores.options import StoreOptions as StoreOptions
