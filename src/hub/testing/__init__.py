"""Tools for tests of programs that use hub: `FaultProxy` injects network faults. The product does not import them."""
