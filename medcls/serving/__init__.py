"""A trained model on the network: an endpoint for programs, a page for people, and their limits."""
