"""Networks by name. `tables` says what they are, `alexnet` builds them."""
