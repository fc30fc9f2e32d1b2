"""The reducers under test, each with an oracle that knows nothing of them."""
