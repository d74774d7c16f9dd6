"""From a task's stored examples to the batches of a compiled step."""
