"""From deltas to the bodies and chunks that clients read."""
