"""What a run keeps on the disk: checkpoints, its folder, JSON files."""
