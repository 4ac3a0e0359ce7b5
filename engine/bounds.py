"""Upper bounds of the buckets in which an engine counts its steps; what lies above the last goes to one more bucket."""

#: what a step took, in seconds; a small model's take less than a millisecond
STEP_SECONDS = (
    0.00025, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0
)  # fmt: skip
#: tokens that went through a step: prompt tokens processed and tokens generated
ITERATION_TOKENS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
