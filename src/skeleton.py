"""The hand's skeleton: joint names, the orders they come in, the kinematic tree. Constants only.

OP is the OpenPose order of 21 joints: wrist, then thumb, index, middle, ring, pinky, each from base to tip.
Everything outside converters and hand files uses it. MANO's own 16 joints (wrist, index, middle, pinky, ring,
thumb: three each) index the pose's rotations.
"""

NUM_JOINTS = 21
NUM_MANO_JOINTS = 16
NUM_VERTICES = 778
NUM_FACES = 1538
NUM_BETAS = 10
POSE_DIM = 3 * NUM_MANO_JOINTS

FINGERS = ("thumb", "index", "middle", "ring", "pinky")
WRIST = 0

# fmt: off
JOINT_NAMES = (
    "wrist",
    "thumb_1", "thumb_2", "thumb_3", "thumb_tip",
    "index_1", "index_2", "index_3", "index_tip",
    "middle_1", "middle_2", "middle_3", "middle_tip",
    "ring_1", "ring_2", "ring_3", "ring_tip",
    "pinky_1", "pinky_2", "pinky_3", "pinky_tip",
)
MANO_JOINT_NAMES = (
    "wrist",
    "index_1", "index_2", "index_3",
    "middle_1", "middle_2", "middle_3",
    "pinky_1", "pinky_2", "pinky_3",
    "ring_1", "ring_2", "ring_3",
    "thumb_1", "thumb_2", "thumb_3",
)
# Parent of each joint: of the 21 in OP order, and of MANO's 16.
PARENTS = (-1, 0, 1, 2, 3, 0, 5, 6, 7, 0, 9, 10, 11, 0, 13, 14, 15, 0, 17, 18, 19)
MANO_PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)
# Gather `op = mano21[MANO21_TO_OP]`, where mano21 is MANO's 16 joints and then the tips of thumb, index,
# middle, ring, pinky.
MANO21_TO_OP = (0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20)
# fmt: on
FINGER_BASES = (5, 9, 13)  # of index, middle and ring finger, OP order
FINGERTIPS = [4, 8, 12, 16, 20]  # OP order; a list, so that it indexes tensors

# Bones of the drawn skeleton and of bone lengths: (parent, child), OP order, without the root.
BONES = tuple((parent, child) for child, parent in enumerate(PARENTS) if parent >= 0)

# Fingertip vertices (thumb, index, middle, ring, pinky) differ between code bases; smplx's are this project's
# own.
TIP_VERTICES = {
    "smplx": (744, 320, 443, 554, 671),
    "manopth": (745, 317, 444, 556, 673),
    "freihand": (744, 320, 443, 555, 672),
    "ho3d": (744, 333, 444, 555, 672),
}

# Hand size: the summed length of the middle finger's three bones, joints 9-10-11-12 (norm_by_hand's unit).
# A slice: to index a tensor by numbers is to wait for a GPU.
HAND_SIZE_CHAIN = slice(9, 13)
MEAN_HAND_SIZE_MM = 87.0
# mm of hand across the longer edge of its box, in a typical pose, measured on synthetic data: a hand is about
# focal * PRIOR_EXTENT_MM / (px of the box) away. Networks predict depth as a factor around that.
PRIOR_EXTENT_MM = 140.0

# One colour a finger for overlays (RGB, 0-255); the wrist takes the first.
FINGER_COLOURS = {
    "wrist": (230, 230, 230),
    "thumb": (255, 96, 55),
    "index": (255, 200, 0),
    "middle": (80, 220, 80),
    "ring": (40, 170, 255),
    "pinky": (200, 90, 255),
}
