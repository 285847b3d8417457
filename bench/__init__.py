"""What the library costs beside raw requests: calls, bytes and time, as ratios within one run."""
