"""The link to the server: transport, lanes and dispatch, reports. Knows the contract, no environment."""
