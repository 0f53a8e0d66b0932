"""The joint orders that data sets come in. Each gather makes the project's own, OpenPose's, of one hand's 21
joints: `joints = theirs[GATHER]`."""

from tempohand.skeleton import MANO21_TO_OP

OPENPOSE = "OpenPose (wrist, then thumb to pinky from base to tip)"

# fmt: off
# InterHand2.6M and AssemblyHands: thumb, index, middle, ring, pinky, each from tip to base, then the wrist.
INTERHAND_TO_OP = (20, 3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12, 19, 18, 17, 16)
# RHD: the wrist, then thumb to pinky, each from tip to base.
RHD_TO_OP = (0, 4, 3, 2, 1, 8, 7, 6, 5, 12, 11, 10, 9, 16, 15, 14, 13, 20, 19, 18, 17)
# STB: the centre of the palm (not the wrist), then pinky to thumb, each from base to tip.
STB_TO_OP = (0, 17, 18, 19, 20, 13, 14, 15, 16, 9, 10, 11, 12, 5, 6, 7, 8, 1, 2, 3, 4)
# FPHA: the wrist, the bases of thumb to pinky, then the other three joints of each finger.
FPHA_TO_OP = (0, 1, 6, 7, 8, 2, 9, 10, 11, 3, 12, 13, 14, 4, 15, 16, 17, 5, 18, 19, 20)
# Boukhayma et al. (CVPR 2019): the wrist, then index, middle, pinky, ring, thumb, each from base to tip.
HAND3D_TO_OP = (0, 17, 18, 19, 20, 1, 2, 3, 4, 5, 6, 7, 8, 13, 14, 15, 16, 9, 10, 11, 12)
# fmt: on

# The orders that a mistaken conversion may have left in a table, in words.
ORDERS = {
    OPENPOSE: tuple(range(21)),
    "MANO's 16 joints, then the fingertips (smplx, manopth, HO3D)": MANO21_TO_OP,
    "fingers from tip to base, the wrist last (InterHand2.6M)": INTERHAND_TO_OP,
    "the wrist, then fingers from tip to base (RHD)": RHD_TO_OP,
    "the wrist, then fingers from pinky to thumb (STB)": STB_TO_OP,
    "the wrist, then index, middle, pinky, ring, thumb (Boukhayma et al.)": HAND3D_TO_OP,
    "the wrist, the five knuckles, then the rest finger by finger (FPHA)": FPHA_TO_OP,
}
