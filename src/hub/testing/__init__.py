"""For the tests of programs that use hub: embedded fakes and injected faults. Not imported by the product."""
