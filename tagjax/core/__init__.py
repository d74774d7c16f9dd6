"""What everything else is written in: methods, batches, losses, random keys, errors."""
