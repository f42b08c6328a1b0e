"""The registry's databases; see `hub.ports.directory.Directory`."""

from hub.directories.opening import open_directory as open_directory
