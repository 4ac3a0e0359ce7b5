"""Training a TiDAR adapter on a frozen model's own answers."""
