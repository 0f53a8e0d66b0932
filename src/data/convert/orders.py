"""The joint orders that data sets come in. Each gather makes the project's own (OpenPose's): `joints =
theirs[GATHER]`, for one hand's 21."""

# fmt: off
# InterHand2.6M and AssemblyHands: thumb, index, middle, ring, pinky, each from tip to base, then the wrist.
INTERHAND_TO_OP = (20, 3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12, 19, 18, 17, 16)
# RHD: the wrist, then thumb to pinky, each from tip to base.
RHD_TO_OP = (0, 4, 3, 2, 1, 8, 7, 6, 5, 12, 11, 10, 9, 16, 15, 14, 13, 20, 19, 18, 17)
# STB: the centre of the palm (not the wrist), then pinky to thumb, each from base to tip.
STB_TO_OP = (0, 17, 18, 19, 20, 13, 14, 15, 16, 9, 10, 11, 12, 5, 6, 7, 8, 1, 2, 3, 4)
# fmt: on
