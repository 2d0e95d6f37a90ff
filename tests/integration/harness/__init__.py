"""What the integration tests stand on: servers, a small RESP client, a replay checker, the runner's context."""
