"""Training: the paper's losses, one loop, and the networks it trains."""
