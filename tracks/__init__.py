"""What the two engines share: folding a batch of records into activity, states and transitions."""
